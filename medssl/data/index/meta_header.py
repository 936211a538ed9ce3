"""The header of a MetaImage file (.mha, .mhd)."""

from pathlib import Path

import numpy as np

from medssl.data.index.itk_fields import (
    Text,
    add,
    check_steps,
    data_file,
    key,
    numbers,
    unit_remarks,
    whole,
)
from medssl.errors import UserError
from medssl.privacy import quoted

TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
VECTORS = (
    "dimsize", "elementspacing", "elementsize", "offset", "position", "origin", "centerofrotation",
)  # fmt: skip
SCALES = {
    "elementtointensityfunctionslope": "1", "elementtointensityfunctionoffset": "0",
}  # fmt: skip
LOCAL = ("LOCAL", "Local", "local")  # other spellings are names of files, to MetaIO too


def parse(path: Path, head: bytes) -> Text:
    """Raises UserError: CUT, HEADER, DTYPE, GEOMETRY, SCALE, OUTSIDE, MISSING or UNSUPPORTED."""
    fields, end = {}, 0
    for line in head.splitlines(keepends=True):
        end += len(line)
        name, value = key(line, "=:")
        if not name:
            break
        add(fields, name, value, path)
        if name.lower() == "elementdatafile":
            if name != "ElementDataFile":  # MetaIO would read on, this spelling it does not know
                raise UserError("HEADER", path, f"unknown key {name}", "write ElementDataFile")
            break
    where = fields.get("elementdatafile")
    if where is None:
        raise UserError("CUT", path, "the header has no ElementDataFile", "fetch it again")
    kind = fields.get("elementtype", "")
    if kind not in TYPES or fields.get("elementnumberofchannels", "1") != "1":
        cause = f"ElementType is {quoted(kind) or 'missing'}, expected one real number a voxel"
        raise UserError("DTYPE", path, cause, "save it as MET_SHORT or MET_FLOAT")
    sizes = tuple(whole(n, path) for n in fields.get("dimsize", "").split())
    _check_vectors(fields, len(sizes), path)
    steps = numbers(fields.get("elementspacing") or fields.get("elementsize") or "", path)
    check_steps(steps, path)
    local = where in LOCAL
    skip = whole(fields.get("headersize", "0"), path)
    if local and skip not in (0, -1, end):
        cause = f"HeaderSize is {skip}, the header itself ends at byte {end}"
        raise UserError("HEADER", path, cause, "export it again")
    for name, neutral in SCALES.items():
        if numbers(fields.get(name, neutral), path) != [float(neutral)]:
            cause = f"{name} is {quoted(fields[name])}: values that would have to be scaled"
            raise UserError("SCALE", path, cause, "save the scaled values")
    big = _choice(fields, ("elementbyteordermsb", "binarydatabyteordermsb"), path)
    packing = "packed" if _choice(fields, ("compresseddata",), path) else "raw"
    if _choice(fields, ("binarydata",), path) is False:
        packing = "digits"
    dtype = np.dtype(TYPES[kind]).newbyteorder(">" if big else "<")
    remarks = []
    if big is None and dtype.itemsize > 1 and packing != "digits":
        remarks.append("the header gives no byte order; taken as little endian")
    if len(sizes) == 3 and not fields.keys() & {"transformmatrix", "orientation", "rotation"}:
        remarks.append("orientation unknown (the header has no TransformMatrix)")
    remarks += unit_remarks([fields.get("distanceunits", "mm")])
    return Text(
        path, path if local else data_file(path, where), skip if not local or skip < 0 else end,
        sizes, dtype, packing, bool(steps), remarks,
    )  # fmt: skip


def _check_vectors(fields: dict[str, str], dims: int, path: Path) -> None:
    """MetaIO writes beyond its arrays for other counts of axes or of numbers. Raises UserError."""
    counts = {"ndims": 1, **{name: dims for name in VECTORS}}
    counts |= {name: dims**2 for name in ("transformmatrix", "orientation", "rotation")}
    for name, count in counts.items():
        given = numbers(fields.get(name, "0 " * count), path)
        if len(given) != count or not np.isfinite(given).all():
            cause = f"{name} is {quoted(fields[name])}, expected {count} finite numbers"
            raise UserError("HEADER", path, cause, "export it again")
    if fields.get("ndims", "") != str(dims):
        cause = f"NDims is {quoted(fields.get('ndims', 'missing'))}, DimSize has {dims} numbers"
        raise UserError("HEADER", path, cause, "export it again")


def _choice(fields: dict[str, str], names: tuple[str, ...], path: Path) -> bool | None:
    """True or False as a header says, None where it does not. Raises UserError."""
    given = [fields[name].lower() for name in names if name in fields]
    if not set(given) <= {"true", "false", "1", "0"}:
        cause = (
            f"found {quoted(', '.join(given))} for {' and '.join(names)}, expected True or False"
        )
        raise UserError("HEADER", path, cause, "export it again")
    said = {word in ("true", "1") for word in given}
    if len(said) > 1:
        raise UserError("HEADER", path, f"{' and '.join(names)} differ", "export it again")
    return said.pop() if said else None
