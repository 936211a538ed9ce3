"""Writing files so that a reader sees the old one or the new one, never half of it."""

import os
from collections.abc import Callable
from pathlib import Path

from medssl.errors import UserError


def refuse_inside(out: Path, scans: Path) -> None:
    """Raise UserError if `out` is `scans`, lies inside it, or is the folder of a single scan."""
    real, source = Path(out).resolve(), Path(scans).resolve()
    if real.is_relative_to(source) if source.is_dir() else real == source.parent:
        raise UserError(
            "CONFIG", f"out={out}", f"lies among the scans {scans}, which are never written to",
            "choose a folder elsewhere",
        )  # fmt: skip


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary path)`, flush it to disk, then give it its name."""
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(temporary)
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
