"""What text headers of MetaImage and NRRD have in common: fields, numbers, a file of voxels."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medssl.errors import UserError
from medssl.privacy import quoted

HEADER_LIMIT = 1 << 20
LENGTHS = ("m", "cm", "um", "nm")
MILLIMETRES = ("mm", "millimeter", "millimeters", "millimetre", "", "?", "???")


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


def key(line: bytes, between: str) -> tuple[str, str]:
    """Name and value of a header line, "" if it has no separator."""
    text = line.decode("latin-1").strip("\r\n")
    at = min((text.find(c) for c in between if c in text), default=-1)
    return ("", "") if at < 0 else (text[:at].strip(), text[at + 1 :].strip())


def add(fields: dict[str, str], name: str, value: str, path: Path) -> None:
    """Two readers may not see two headers: the same name twice, in any case, is refused."""
    if name.lower() in fields:
        raise UserError("HEADER", path, f"{quoted(name)} is given twice", "export it again")
    fields[name.lower()] = value


def numbers(text: str, path: Path) -> list[float]:
    try:
        return [float(word) for word in text.split()]
    except ValueError as error:
        raise UserError(
            "HEADER", path, f"found {quoted(text)}, expected numbers", "mend it"
        ) from error


def whole(text: str, path: Path) -> int:
    try:
        return int(text)
    except ValueError as error:
        cause = f"found {quoted(text)}, expected a whole number"
        raise UserError("HEADER", path, cause, "mend it") from error


def check_steps(steps: list[float], path: Path) -> None:
    if steps and (not np.isfinite(steps).all() or min(steps) <= 0):
        raise UserError("GEOMETRY", path, f"voxel size {steps} mm", "export it with voxel sizes")


def unit_remarks(units: list[str]) -> list[str]:
    """A remark if a length unit is given that is not mm."""
    odd = [unit.strip('"') for unit in units if unit.strip('"').lower() not in MILLIMETRES]
    if not odd:
        return []
    word = odd[0].lower() if odd[0].lower() in LENGTHS else quoted(odd[0])
    return [f"the header's length unit is {word}; read as mm"]


def data_file(path: Path, name: str) -> Path:
    """The detached data file: one plain file in the header's folder, else a UserError."""
    words = name.split()
    if words and (words[0].upper() == "LIST" or "%" in name):
        cause = f"the data is spread over several files ({quoted(name)})"
        raise UserError("UNSUPPORTED", path, cause, "save it as one .mha or .nrrd file")
    data = path.parent / name
    folder = path.parent.resolve()
    if "\0" in name or "\\" in name or not data.resolve().is_relative_to(folder):
        cause = "the data file it names lies outside the header's folder"
        raise UserError("OUTSIDE", path, cause, "move it beside the header")
    if not data.is_file():
        raise UserError("MISSING", path, "the data file it names is missing", "add it")
    return data
