"""The text headers of MetaImage and NRRD: which bytes hold the voxels, and how they are stored.

They are read here and not left to SimpleITK, which would follow a data file's name anywhere on the
disk, replace missing voxel sizes by 1 mm, and pass over a broken checksum.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medssl.data.index import checks
from medssl.data.index.row import join
from medssl.errors import UserError
from medssl.privacy import quoted

HEADER_LIMIT = 1 << 20
META_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
META_VECTORS = (
    "dimsize", "elementspacing", "elementsize", "offset", "position", "origin", "centerofrotation",
)  # fmt: skip
META_LOCAL = ("LOCAL", "Local", "local")  # other spellings are names of files, to MetaIO too
NRRD_TYPES = {
    "char": "i1", "int8": "i1", "short": "i2", "short int": "i2", "int16": "i2", "int": "i4",
    "int32": "i4", "longlong": "i8", "long long": "i8", "long long int": "i8", "int64": "i8",
}  # fmt: skip
NRRD_PACKINGS = {
    "raw": "raw", "gzip": "packed", "gz": "packed",
    "ascii": "digits", "txt": "digits", "text": "digits",
}  # fmt: skip


@dataclass
class Text:
    """What a header says. `data` holds the voxels from byte `start` on, to its end if negative.

    `packing` is raw, packed (zlib or gzip) or digits; `placed` says whether voxel sizes are given.
    """

    path: Path
    data: Path
    start: int
    sizes: tuple[int, ...]
    dtype: np.dtype
    packing: str
    placed: bool
    remarks: list[str] = field(default_factory=list)

    @property
    def expected(self) -> int:
        """Bytes of all voxels, unpacked."""
        return int(np.prod(self.sizes, dtype=object)) * self.dtype.itemsize


def read_text(path: Path) -> Text:
    """Parse and check a header, and compare it with the bytes that are there. Raises UserError."""
    with open(path, "rb") as stream:
        head = stream.read(HEADER_LIMIT)
    text = _nrrd(path, head) if head.startswith(b"NRRD") else _meta(path, head)
    if not text.sizes or min(text.sizes) < 1:
        raise UserError("HEADER", path, f"image sizes are {text.sizes}", "export it again")
    extra = [n for n in text.sizes[3:] if n > 1]
    if len(text.sizes) > 3 or len(text.sizes) < 2:
        cause = f"{len(text.sizes)}D data of shape {join(text.sizes)}, expected 2 or 3 axes"
        raise UserError("SERIES_4D" if extra else "GEOMETRY", path, cause, "split it into volumes")
    if not text.placed:
        raise UserError("GEOMETRY", path, "the voxel size is missing", "export it with voxel sizes")
    found = text.data.stat().st_size - max(text.start, 0)
    # Written as digits, a voxel takes at least one byte.
    expected = text.expected // (text.dtype.itemsize if text.packing == "digits" else 1)
    checks.size(expected, max(found, 0), text.packing == "packed", text.data)
    if text.packing == "raw" and text.start >= 0 and found > expected:
        text.remarks.append(f"{found - expected} bytes after the voxels ignored")
    return text


def _meta(path: Path, head: bytes) -> Text:
    fields, end = {}, 0
    for line in head.splitlines(keepends=True):
        end += len(line)
        name, value = _key(line, "=:")
        if not name:
            break
        _add(fields, name, value, path)
        if name.lower() == "elementdatafile":
            if name != "ElementDataFile":  # MetaIO would read on, this spelling it does not know
                raise UserError("HEADER", path, f"unknown key {name}", "write ElementDataFile")
            break
    where = fields.get("elementdatafile")
    if where is None:
        raise UserError("CUT", path, "the header has no ElementDataFile", "fetch it again")
    kind = fields.get("elementtype", "")
    if kind not in META_TYPES or fields.get("elementnumberofchannels", "1") != "1":
        cause = f"ElementType is {quoted(kind) or 'missing'}, expected one real number a voxel"
        raise UserError("DTYPE", path, cause, "save it as MET_SHORT or MET_FLOAT")
    sizes = tuple(_whole(n, path) for n in fields.get("dimsize", "").split())
    _check_vectors(fields, len(sizes), path)
    steps = _numbers(fields.get("elementspacing") or fields.get("elementsize") or "", path)
    _check_steps(steps, path)
    local = where in META_LOCAL
    skip = _whole(fields.get("headersize", "0"), path)
    big = _choice(fields, ("elementbyteordermsb", "binarydatabyteordermsb"), path)
    packing = "packed" if _choice(fields, ("compresseddata",), path) else "raw"
    if _choice(fields, ("binarydata",), path) is False:
        packing = "digits"
    dtype = np.dtype(META_TYPES[kind]).newbyteorder(">" if big else "<")
    remarks = []
    if big is None and dtype.itemsize > 1 and packing != "digits":
        remarks.append("the header gives no byte order; taken as little endian")
    if len(sizes) == 3 and not fields.keys() & {"transformmatrix", "orientation", "rotation"}:
        remarks.append("orientation unknown (the header has no TransformMatrix)")
    return Text(
        path, path if local else _data_file(path, where), skip if not local or skip < 0 else end,
        sizes, dtype, packing, bool(steps), remarks,
    )  # fmt: skip


def _check_vectors(fields: dict[str, str], dims: int, path: Path) -> None:
    """MetaIO writes beyond its arrays for other counts of axes or of numbers. Raises UserError."""
    counts = {"ndims": 1, **{name: dims for name in META_VECTORS}}
    counts |= {name: dims**2 for name in ("transformmatrix", "orientation", "rotation")}
    for name, count in counts.items():
        numbers = _numbers(fields.get(name, "0 " * count), path)
        if len(numbers) != count or not np.isfinite(numbers).all():
            cause = f"{name} is {quoted(fields[name])}, expected {count} finite numbers"
            raise UserError("HEADER", path, cause, "export it again")
    if fields.get("ndims", "") != str(dims):
        cause = f"NDims is {quoted(fields.get('ndims', 'missing'))}, DimSize has {dims} numbers"
        raise UserError("HEADER", path, cause, "export it again")


def _choice(fields: dict[str, str], names: tuple[str, ...], path: Path) -> bool | None:
    """True or False as a header says, None where it does not. Raises UserError."""
    found = next((fields[name].lower() for name in names if name in fields), None)
    if found not in (None, "true", "false", "1", "0"):
        cause = f"found {quoted(found)} for {names[0]}, expected True or False"
        raise UserError("HEADER", path, cause, "export it again")
    return None if found is None else found in ("true", "1")


def _nrrd(path: Path, head: bytes) -> Text:
    fields, end, remarks = {}, 0, []
    lines = head.split(b"\n")
    for line in lines:
        end += len(line) + 1
        if not line.strip(b"\r"):
            break
        name, value = _key(line, ":")
        if name and not line.startswith(b"#") and not value.startswith("="):
            _add(fields, name, value, path)
    else:
        if len(head) == HEADER_LIMIT:
            cause = f"the header does not end within {HEADER_LIMIT} bytes"
            raise UserError("HEADER", path, cause, "export it again")
    where = fields.get("data file") or fields.get("datafile")
    encoding = fields.get("encoding", "missing").lower()
    skipped = fields.get("line skip", "0")
    if encoding not in NRRD_PACKINGS or _whole(skipped, path):
        cause = f"encoding {quoted(encoding)} with line skip {quoted(skipped)} is not read"
        raise UserError("UNSUPPORTED", path, cause, "save it with encoding gzip or raw")
    dtype = _nrrd_dtype(fields.get("type", "missing"), path)
    steps = _numbers(fields.get("spacings", ""), path)
    _check_steps(steps, path)
    if "endian" not in fields and dtype.itemsize > 1 and NRRD_PACKINGS[encoding] != "digits":
        remarks.append("the header gives no byte order; taken as little endian")
    if fields.get("endian", "little").lower() not in ("little", "big"):
        cause = f"endian is {quoted(fields['endian'])}, expected little or big"
        raise UserError("HEADER", path, cause, "export it again")
    if not fields.get("space") and not fields.get("space dimension"):
        remarks.append("orientation unknown (the header has no space)")
    skip = _whole(fields.get("byte skip", "0"), path)
    return Text(
        path, _data_file(path, where) if where else path,
        skip if skip < 0 else skip + (0 if where else end),
        tuple(_whole(n, path) for n in fields.get("sizes", "").split()),
        dtype.newbyteorder(">" if fields.get("endian", "").lower() == "big" else "<"),
        NRRD_PACKINGS[encoding], bool(steps or fields.get("space directions")), remarks,
    )  # fmt: skip


def _nrrd_dtype(name: str, path: Path) -> np.dtype:
    if name in ("float", "double"):
        return np.dtype({"float": "f4", "double": "f8"}[name])
    words = name.removesuffix("_t").removeprefix("signed ")
    plain = words.removeprefix("unsigned ")
    plain = plain[1:] if plain.startswith("u") else plain
    if plain not in NRRD_TYPES:
        cause = f"type is {quoted(name)}, expected one real number a voxel"
        raise UserError("DTYPE", path, cause, "save it as short or float")
    kind = NRRD_TYPES[plain]
    return np.dtype(kind if plain == words else kind.replace("i", "u"))


def _key(line: bytes, between: str) -> tuple[str, str]:
    """Name and value of a header line, "" if it has no separator."""
    text = line.decode("latin-1").strip("\r\n")
    at = min((text.find(c) for c in between if c in text), default=-1)
    return ("", "") if at < 0 else (text[:at].strip(), text[at + 1 :].strip())


def _add(fields: dict[str, str], name: str, value: str, path: Path) -> None:
    """Two readers may not see two headers: the same name twice, in any case, is refused."""
    if name.lower() in fields:
        raise UserError("HEADER", path, f"{quoted(name)} is given twice", "export it again")
    fields[name.lower()] = value


def _numbers(text: str, path: Path) -> list[float]:
    try:
        return [float(word) for word in text.split()]
    except ValueError as error:
        raise UserError(
            "HEADER", path, f"found {quoted(text)}, expected numbers", "mend it"
        ) from error


def _whole(text: str, path: Path) -> int:
    try:
        return int(text)
    except ValueError as error:
        cause = f"found {quoted(text)}, expected a whole number"
        raise UserError("HEADER", path, cause, "mend it") from error


def _check_steps(steps: list[float], path: Path) -> None:
    if steps and (not np.isfinite(steps).all() or min(steps) <= 0):
        raise UserError("GEOMETRY", path, f"voxel size {steps} mm", "export it with voxel sizes")


def _data_file(path: Path, name: str) -> Path:
    """The detached data file: one plain file in the header's folder, else a UserError."""
    words = name.split()
    if words and (words[0].upper() == "LIST" or "%" in name):
        cause = f"the data is spread over several files ({name})"
        raise UserError("UNSUPPORTED", path, cause, "save it as one .mha or .nrrd file")
    data = path.parent / name
    folder = path.parent.resolve()
    if "\0" in name or "\\" in name or not data.resolve().is_relative_to(folder):
        cause = "the data file it names lies outside the header's folder"
        raise UserError("OUTSIDE", path, cause, "move it beside the header")
    if not data.is_file():
        raise UserError("MISSING", path, "the data file it names is missing", "add it")
    return data
