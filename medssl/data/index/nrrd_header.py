"""The header of an NRRD file (.nrrd, .nhdr)."""

import re
from pathlib import Path

import numpy as np

from medssl.data.index.itk_fields import (
    HEADER_LIMIT,
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
    "char": "i1", "int8": "i1", "short": "i2", "short int": "i2", "int16": "i2", "int": "i4",
    "int32": "i4", "longlong": "i8", "long long": "i8", "long long int": "i8", "int64": "i8",
}  # fmt: skip
KINDS = ("domain", "space", "???", "none")
SPACES = (
    "right-anterior-superior", "ras", "left-anterior-superior", "las",
    "left-posterior-superior", "lps",
)  # fmt: skip
PACKINGS = {
    "raw": "raw", "gzip": "packed", "gz": "packed",
    "ascii": "digits", "txt": "digits", "text": "digits",
}  # fmt: skip


def parse(path: Path, head: bytes) -> Text:
    """Raises UserError: HEADER, UNSUPPORTED, DTYPE, GEOMETRY, SERIES_4D, OUTSIDE or MISSING."""
    fields, end, remarks = {}, 0, []
    lines = head.split(b"\n")
    for line in lines:
        end += len(line) + 1
        if not line.strip(b"\r"):
            break
        name, value = key(line, ":")
        if name and not line.startswith(b"#") and not value.startswith("="):
            add(fields, name.replace(" ", ""), value, path)  # both spellings are in use
    else:
        if len(head) == HEADER_LIMIT:
            cause = f"the header does not end within {HEADER_LIMIT} bytes"
            raise UserError("HEADER", path, cause, "export it again")
    where = fields.get("datafile")
    encoding = fields.get("encoding", "missing").lower()
    skipped = fields.get("lineskip", "0")
    if encoding not in PACKINGS or whole(skipped, path):
        cause = f"encoding {quoted(encoding)} with line skip {quoted(skipped)} is not read"
        raise UserError("UNSUPPORTED", path, cause, "save it with encoding gzip or raw")
    dtype = _dtype(fields.get("type", "missing"), path)
    steps = numbers(fields.get("spacings", ""), path)
    check_steps(steps, path)
    if "endian" not in fields and dtype.itemsize > 1 and PACKINGS[encoding] != "digits":
        remarks.append("the header gives no byte order; taken as little endian")
    if fields.get("endian", "little").lower() not in ("little", "big"):
        cause = f"endian is {quoted(fields['endian'])}, expected little or big"
        raise UserError("HEADER", path, cause, "export it again")
    sizes = tuple(whole(n, path) for n in fields.get("sizes", "").split())
    remarks += _axes(fields, len(sizes), path)
    skip = whole(fields.get("byteskip", "0"), path)
    if skip and PACKINGS[encoding] == "packed":
        cause = f"bytes to skip ({skip}) in a packed stream are not read"
        raise UserError("UNSUPPORTED", path, cause, "save it without byte skip")
    return Text(
        path, data_file(path, where) if where else path,
        skip if skip < 0 else skip + (0 if where else end),
        sizes,
        dtype.newbyteorder(">" if fields.get("endian", "").lower() == "big" else "<"),
        PACKINGS[encoding], bool(steps or fields.get("spacedirections")), remarks,
    )  # fmt: skip


def _axes(fields: dict[str, str], dims: int, path: Path) -> list[str]:
    """Remarks on space and units. Raises UserError for axes without a size, or that are no space."""
    kinds = fields.get("kinds", "").lower().split()
    odd = [kind for kind in kinds if kind not in KINDS]
    if odd:
        cause = f"an axis of kind {quoted(odd[0])}, expected those of space"
        code = "SERIES_4D" if "time" in odd else "GEOMETRY"
        raise UserError(code, path, cause, "split it into volumes")
    steps = re.findall(r"none|\([^)]*\)", fields.get("spacedirections", "").lower())
    if steps and (len(steps) != dims or "none" in steps):
        cause = f"space directions give {len(steps) - steps.count('none')} of {dims} axes a size"
        raise UserError("GEOMETRY", path, cause, "export it with voxel sizes")
    if steps and "spacings" in fields:
        cause = "both spacings and space directions give voxel sizes"
        raise UserError("HEADER", path, cause, "leave out spacings")
    remarks, space = [], fields.get("space", "").lower()
    if space not in SPACES:
        why = "does not say where the patient's sides are" if space else "has no space"
        remarks.append(f"orientation unknown (the header {why})")
    units = fields.get("spaceunits") or fields.get("units") or ""
    return remarks + unit_remarks(units.split())


def _dtype(name: str, path: Path) -> np.dtype:
    if name in ("float", "double"):
        return np.dtype({"float": "f4", "double": "f8"}[name])
    words = name.removesuffix("_t").removeprefix("signed ")
    plain = words.removeprefix("unsigned ")
    plain = plain[1:] if plain.startswith("u") else plain
    if plain not in TYPES:
        cause = f"type is {quoted(name)}, expected one real number a voxel"
        raise UserError("DTYPE", path, cause, "save it as short or float")
    kind = TYPES[plain]
    return np.dtype(kind if plain == words else kind.replace("i", "u"))
