"""MetaImage (.mha, .mhd + raw) and NRRD (.nrrd, .nhdr + raw) through SimpleITK.

The text header is read here first: SimpleITK would follow a data file's name anywhere on the disk
and replace missing voxel sizes by 1 mm.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medssl.data.index import checks
from medssl.data.index.row import Row, each, join
from medssl.data.volume import Volume
from medssl.errors import UserError
from medssl.privacy import quoted

HEADER_LIMIT = 1 << 20
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
META_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4,
    "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8,
    "MET_LONG": 8, "MET_ULONG": 8,
}  # fmt: skip
NRRD_BYTES = {"char": 1, "int8": 1, "short": 2, "int16": 2, "int": 4, "int32": 4, "long": 8,
              "longlong": 8, "int64": 8, "float": 4, "double": 8}  # fmt: skip


@dataclass
class Text:
    """The text header: keys in lower case, where it ends, and the file with the voxels."""

    path: Path
    fields: dict[str, str]
    end: int
    data: Path
    sizes: tuple[int, ...] = ()
    itemsize: int = 0
    packed: bool = False
    placed: bool = True
    remarks: list[str] = field(default_factory=list)


def inspect(paths: list[Path]) -> list[Row]:
    """One row a file, from headers only; these formats do not know their modality."""
    return each(paths, "itk", _inspect_one)


def read(paths: list[Path]) -> Volume:
    """One volume (1, X, Y, Z), or a film (1, rows, columns) from a 2D file. Raises UserError."""
    import SimpleITK as sitk

    path = paths[0]
    _text(path)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _from_itk(path, error) from error
    array = checks.compact(sitk.GetArrayFromImage(image), path)
    checks.finite(array, path)
    affine = _affine(image.GetDirection(), image.GetSpacing(), image.GetOrigin())
    if image.GetDimension() == 3:
        array = array.transpose(2, 1, 0)
    return Volume(array[None], affine)


def _inspect_one(path: Path) -> Row:
    import SimpleITK as sitk

    text = _text(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _from_itk(path, error) from error
    if reader.GetNumberOfComponents() > 1:
        cause = f"{reader.GetNumberOfComponents()} values a voxel, expected 1"
        raise UserError("DTYPE", path, cause, "save one channel a file")
    affine = _affine(reader.GetDirection(), reader.GetSpacing(), reader.GetOrigin())
    remarks = text.remarks + checks.affine(affine, path)
    size, spacing = reader.GetSize(), reader.GetSpacing()
    files = [path] if text.data == path else [path, text.data]
    if len(size) == 2:
        return Row(
            files, "itk", shape=join(size[::-1]), spacing=join(spacing[::-1]), remarks=remarks
        )
    return Row(files, "itk", shape=join(size), spacing=join(spacing),
               orientation=checks.orientation(affine), remarks=remarks)  # fmt: skip


def _affine(direction, spacing, origin) -> np.ndarray:
    """RAS affine from ITK's LPS frame; rows and columns' sizes only for a 2D image."""
    affine = np.eye(4)
    if len(spacing) == 2:
        affine[[0, 1], [0, 1]] = spacing[::-1]
        return affine
    affine[:3, :3] = np.reshape(direction, (3, 3)) * np.asarray(spacing)
    affine[:3, 3] = origin
    return LPS_TO_RAS @ affine


def _from_itk(path: Path, error: RuntimeError) -> UserError:
    # ITK's own words repeat paths and fields of the header.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    where = re.match(r"ITK ERROR: (\w+)", lines[-1]) or re.search(
        r"(itk\w+|\w+ImageIO)", str(error)
    )
    cause = f"ITK refuses it ({where.group(1) if where else 'no reason given'})"
    return UserError("UNREADABLE", path, cause, "export it again")


def _text(path: Path) -> Text:
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
    expected = int(np.prod(text.sizes, dtype=object)) * text.itemsize
    stored = text.data.stat().st_size - (text.end if text.data == path else 0)
    checks.size(expected, stored, text.packed, text.data)
    return text


def _meta(path: Path, head: bytes) -> Text:
    fields, end = {}, 0
    for line in head.splitlines(keepends=True):
        end += len(line)
        name, equals, value = line.decode("latin-1").partition("=")
        if not equals:
            break
        fields[name.strip().lower()] = value.strip()
        if name.strip().lower() == "elementdatafile":
            break
    where = fields.get("elementdatafile")
    if where is None:
        raise UserError("CUT", path, "the header has no ElementDataFile", "fetch it again")
    data = path if where.upper() == "LOCAL" else _data_file(path, where)
    kind = fields.get("elementtype", "")
    if kind not in META_BYTES:
        cause = f"ElementType is {quoted(kind) or 'missing'}, expected one real number a voxel"
        raise UserError("DTYPE", path, cause, "save it as MET_SHORT or MET_FLOAT")
    steps = _numbers(fields.get("elementspacing") or fields.get("elementsize") or "", path)
    _check_steps(steps, path)
    return Text(
        path, fields, end, data, tuple(int(n) for n in _numbers(fields.get("dimsize", ""), path)),
        META_BYTES[kind] * int(fields.get("elementnumberofchannels", 1)),
        fields.get("compresseddata", "").lower() == "true", bool(steps),
    )  # fmt: skip


def _nrrd(path: Path, head: bytes) -> Text:
    fields, end, remarks = {}, 0, []
    for line in head.splitlines(keepends=True):
        end += len(line)
        if not line.strip():
            break
        name, colon, value = line.decode("latin-1").partition(":")
        if colon and not line.startswith(b"#") and not value.startswith("="):
            fields[name.strip().lower()] = value.strip()
    where = fields.get("data file") or fields.get("datafile")
    kind = re.sub(r"^(unsigned |signed |u(?!ns))", "", fields.get("type", "")).removesuffix("_t")
    kind = {"long long": "longlong", "long long int": "longlong", "short int": "short"}.get(
        kind, kind
    )
    if kind not in NRRD_BYTES:
        cause = f"type is {quoted(fields.get('type', '')) or 'missing'}, expected one real number a voxel"
        raise UserError("DTYPE", path, cause, "save it as short or float")
    steps = _numbers(fields.get("spacings", ""), path)
    _check_steps(steps, path)
    if not fields.get("space") and not fields.get("space dimension"):
        remarks.append("orientation unknown (the header has no space)")
    encoding = fields.get("encoding", "raw").lower()
    text = Text(
        path, fields, end, _data_file(path, where) if where else path,
        tuple(int(n) for n in _numbers(fields.get("sizes", ""), path)), NRRD_BYTES[kind],
        encoding in ("gzip", "gz", "bzip2", "bz2"),
        bool(steps or fields.get("space directions")), remarks,
    )  # fmt: skip
    if encoding in ("ascii", "txt", "text", "hex"):
        text.itemsize = 1  # at least a digit a voxel
    return text


def _numbers(text: str, path: Path) -> list[float]:
    try:
        return [float(word) for word in text.split()]
    except ValueError as error:
        raise UserError(
            "HEADER", path, f"found {quoted(text)}, expected numbers", "mend it"
        ) from error


def _check_steps(steps: list[float], path: Path) -> None:
    if steps and (not np.isfinite(steps).all() or min(steps) <= 0):
        raise UserError("GEOMETRY", path, f"voxel size {steps} mm", "export it with voxel sizes")


def _data_file(path: Path, name: str) -> Path:
    """The detached data file: one plain file in the header's folder, else a UserError."""
    words = name.split()
    if words and (words[0].upper() == "LIST" or "%" in name):
        cause = "the data is spread over several files"
        raise UserError("UNSUPPORTED", path, cause, "save it as one .mha or .nrrd file")
    data = path.parent / name
    folder = path.parent.resolve()
    if "\0" in name or "\\" in name or not data.resolve().is_relative_to(folder):
        cause = "the data file it names lies outside the header's folder"
        raise UserError("OUTSIDE", path, cause, "move it beside the header")
    if not data.is_file():
        raise UserError("MISSING", path, "the data file it names is missing", "add it")
    return data
