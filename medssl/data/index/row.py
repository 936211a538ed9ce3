"""One line of the manifest in the making: a scan, or a file that is none and why."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from medssl.data.processes import in_chunks
from medssl.errors import UserError, one_line
from medssl.privacy import scrub, without_quotes
from medssl.progress import track

T = TypeVar("T")
BURNED_IN = "text is burned into the pixels"
NO_SPACING = "pixel spacing unknown"
MAY_BE_MASK = "may be a mask"


@dataclass
class Row:
    """What the manifest says about one scan; `files` are absolute and in slice order.

    `frames` are the numbers, from 1, of the frames of each file that belong to the scan, or none
    where whole files do. `place` is the affine's upper rows (see `checks.place`), `whole` whether the
    header promises whole numbers; neither is kept in the manifest.
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
    place: tuple[float, ...] = ()
    whole: bool = False

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
