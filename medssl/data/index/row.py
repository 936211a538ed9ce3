"""One line of the manifest in the making: a scan, or a file that is none and why."""

import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal, TypeVar

from medssl.data.patients import pseudonym
from medssl.data.processes import in_chunks
from medssl.errors import UserError, one_line
from medssl.privacy import PSEUDONYM, is_neutral, scrub, without_quotes
from medssl.progress import track

IMAGE_SUFFIXES = (
    ".nii.gz", ".nii", ".hdr", ".img", ".mha", ".mhd", ".nrrd", ".nhdr",
    ".png", ".jpeg", ".jpg", ".tiff", ".tif", ".dcm", ".dicom", ".ima",
)  # fmt: skip
LONGEST_ID = 120
T = TypeVar("T")
BURNED_IN = "text is burned into the pixels"
RESERVED = re.compile(r"(?i)con|prn|aux|nul|(com|lpt)\d")  # devices, on Windows
IDS = Literal["auto", "names", "pseudonyms"]


@dataclass
class Row:
    """What the manifest says about one scan; `files` are absolute and in slice order.

    `frames` are the numbers, from 1, of the frames of each file that belong to the scan, or none
    where whole files do.
    """

    files: list[Path]
    format: str = ""
    id: str = ""
    patient: str = ""
    study: str = ""
    modality: str = ""
    shape: str = ""
    spacing: str = ""
    orientation: str = ""
    remarks: list[str] = field(default_factory=list)
    verdict: str = "used"
    code: str = ""
    reason: str = ""
    frames: list[list[int]] = field(default_factory=list)

    @classmethod
    def refused(cls, files: list[Path], error: UserError, format: str = "", **known) -> "Row":
        """A row for files that are not used, with the error's code, cause and fix."""
        reason = f"{error.cause}. Fix: {error.fix}" if error.fix else error.cause
        return cls(files, format, verdict="refused", code=error.code, reason=reason, **known)

    @property
    def used(self) -> bool:
        return self.verdict == "used"

    def record(self, root: Path) -> dict[str, str]:
        """The manifest's columns: paths relative to `root`, with slashes."""
        files = [relative(file, root) for file in self.files]
        path = files[0]
        if len(files) > 1 and self.format == "dicom":
            path = relative(Path(os.path.commonpath([file.parent for file in self.files])), root)
        return {
            "id": self.id, "patient": self.patient, "study": self.study, "path": path,
            "files": json.dumps(files), "frames": json.dumps(self.frames) if self.frames else "",
            "format": self.format, "modality": self.modality,
            "shape": self.shape, "spacing": self.spacing, "orientation": self.orientation,
            "split": "", "label_mask": "", "boxes": "", "remarks": "; ".join(self.remarks),
            "verdict": self.verdict, "code": self.code, "reason": self.reason,
            "stamp": stamp(self.files) if self.used else "",
        }  # fmt: skip


def relative(path: Path, root: Path) -> str:
    """`path` seen from `root`, with slashes; bytes that are no UTF-8 come out escaped."""
    text, top = os.fspath(path), os.path.join(root, "")
    text = text[len(top) :] if text.startswith(top) else os.path.relpath(path, root)
    text = text.replace(os.sep, "/")
    return text.encode("utf-8", "backslashreplace").decode()


def stamp(files: list[Path]) -> str:
    """Sizes and times (in whole seconds, as copies keep them) of files, hashed to 16 hex digits.

    A file that is gone has neither.
    """
    found = [file.stat() if file.exists() else None for file in files]
    about = [(s.st_size, int(s.st_mtime)) if s else () for s in found]
    return hashlib.sha256(repr(about).encode()).hexdigest()[:16]


def join(numbers) -> str:
    """Sizes as text: 36x50x35, 0.5x0.5x1.25; lengths (floats) with four decimals at most."""
    return "x".join(str(round(n, 4)) if isinstance(n, float) else str(n) for n in numbers)


def each(
    paths: list[Path], format: str, look: Callable[[Path], T], workers: int = 0
) -> Iterator[T | Row]:
    """`look(path)` of every file, in order; whatever goes wrong in a file becomes its refusal."""
    found = in_chunks(partial(_looked, format, look), paths, workers)
    return track(found, f"{format} headers", len(paths), "files")


def _looked(format: str, look: Callable[[Path], T], path: Path) -> T | Row:
    try:
        return look(path)
    except UserError as error:
        return Row.refused([path], error, format)
    except Exception as error:  # a hostile file can raise anything inside a peer library
        return Row.refused([path], unreadable(path, error), format)


def unreadable(path: Path, error: BaseException) -> UserError:
    """A peer library's exception as a user's error: its type and its text in one line.

    What it quotes are fields of the header, which may name people: that is left out.
    """
    if isinstance(error, PermissionError):
        cause = f"cannot be opened ({error.strerror})"
        return UserError("PERMISSION", path, cause, "mend its permissions")
    if isinstance(error, MemoryError):
        cause, fix = (
            "does not fit into the memory that is free",
            "use fewer workers, or more memory",
        )
        return UserError("MEMORY", path, cause, fix)
    said = one_line(error).replace(str(path), path.name)
    said = said if isinstance(error, OSError) else scrub(without_quotes(said))
    cause = f"cannot be read ({type(error).__name__}: {said})"
    return UserError("UNREADABLE", path, cause, "fetch or export the file again")


def stem(name: str) -> str:
    """A file name without its image suffix."""
    for suffix in IMAGE_SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def slug(text: str) -> str:
    """Text of [A-Za-z0-9._-] that may name a file, at most 120 characters."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".-") or "_"
    if RESERVED.fullmatch(plain.partition(".")[0]):
        plain = f"_{plain}"
    return plain if len(plain) <= LONGEST_ID else f"{plain[: LONGEST_ID - 7]}-{_short_hash(text)}"


def assign_ids(rows: list[Row], root: Path) -> None:
    """Give every row a unique id, used rows first.

    A file's id is its stem; equal stems get the names of as many parent folders as tell them
    apart, and a short hash of the path where even that fails. Ids differ in more than case.
    """
    taken: set[str] = set()
    for used in (True, False):
        alike = defaultdict(list)
        for row in rows:
            if row.used == used:
                alike[_base(row).casefold()].append(row)
        for group in alike.values():
            _name_group(group, root, taken)


def hide_names(rows: list[Row], ids: str) -> None:
    """Replace ids that could tell who a patient is by salted ones.

    `ids` is "names" (keep all), "pseudonyms" (replace all but salted ones) or "auto" (keep those of
    neutral words and short numbers). An id comes from the name it replaces: the same in every run.
    """
    taken = {row.id.casefold() for row in rows}
    for row in rows:
        keep = ids == "names" or (ids == "auto" and is_neutral(row.id))
        if not keep and not PSEUDONYM.fullmatch(row.id):
            numbers = (neutral_id(row.id, n) for n in count(1))
            row.id = next(id for id in numbers if id not in taken)
            taken.add(row.id)


def neutral_id(name: str, number: int = 1) -> str:
    """The salted id for a name; `number` parts names whose ids are alike by chance."""
    return pseudonym(f"name:{name}" + (f"|{number}" if number > 1 else ""), "s")


def _base(row: Row) -> str:
    return row.id or slug(stem(row.files[0].name) if row.format else row.files[0].name)


def _name_group(group: list[Row], root: Path, taken: set[str]) -> None:
    parts = {id(row): relative(row.files[0].parent, root).split("/") for row in group}
    deepest = max(len(p) for p in parts.values())
    for depth in range(deepest + 1):
        names = [slug("-".join([*parts[id(r)][-depth:], _base(r)] if depth else [_base(r)]))
                 for r in group]  # fmt: skip
        folded = {name.casefold() for name in names}
        if len(folded) == len(group) and not folded & taken:
            break
    else:
        names = [f"{slug(_base(r))}-{_short_hash(relative(r.files[0], root))}" for r in group]
        names = [name if names.count(name) == 1 else f"{name}-{i}" for i, name in enumerate(names)]
    for row, name in zip(group, names, strict=True):
        row.id = name
        taken.add(name.casefold())


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:6]
