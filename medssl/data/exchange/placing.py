"""Scans and masks as files of a dataset's own: copied where the format fits, else written anew."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from medssl.data.exchange.scans import Scan, suffix
from medssl.data.volume import Volume
from medssl.data.writing import write_image
from medssl.errors import UserError
from medssl.progress import track

VOLUME, FILM = ".nii.gz", ".png"


def kind(scan: Scan) -> str:
    """.nii.gz for a volume and .png for a film: what the scan's file will end in."""
    return VOLUME if scan.manifest.row(scan.id)["shape"].count("x") == 2 else FILM


def place(scan: Scan, stem: Path) -> Path:
    """The scan's one file, `stem` with its ending. Raises UserError if it cannot be read."""
    ending = kind(scan)
    if len(scan.files) == 1 and suffix(scan.files[0]) == ending:
        return _copy(scan.files[0], stem, ending)
    stem.parent.mkdir(parents=True, exist_ok=True)
    return write_image(scan.manifest.volume(scan.id), stem)


def place_mask(scan: Scan, stem: Path) -> Path:
    """The mask's file, with the ending of the scan's. Raises UserError if it does not fit the scan."""
    ending = kind(scan)
    if suffix(scan.mask) == ending:
        return _copy(scan.mask, stem, ending)
    mask = scan.manifest.mask(scan.id)
    stem.parent.mkdir(parents=True, exist_ok=True)
    return write_image(smallest(mask), stem)


def smallest(mask: Volume) -> Volume:
    """The mask in the smallest unsigned type that holds its labels."""
    return replace(mask, array=mask.array.astype(np.min_scalar_type(int(mask.array.max()))))


def label_values(scans: list[Scan]) -> list[int]:
    """All values of all masks, 0 among them."""
    values = {0}
    for scan in track([s for s in scans if s.mask], "labels of masks", unit="masks"):
        values.update(np.unique(scan.manifest.mask(scan.id).array).tolist())
    return sorted(int(value) for value in values)


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its name when the block ends well, and goes otherwise.

    Raises UserError EXISTS if `out` holds anything.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError("EXISTS", out, "is there already", "choose another out=, or delete it")
    temporary = out.with_name(f".{out.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if out.exists():
        out.rmdir()
    temporary.rename(out)


def each(scans: list[Scan], work: Callable[[Scan], None]) -> None:
    """`work` on every scan, with progress."""
    for scan in track(scans, "write", unit="scans"):
        work(scan)


def _copy(source: Path, stem: Path, ending: str) -> Path:
    stem.parent.mkdir(parents=True, exist_ok=True)
    target = stem.with_name(stem.name + ending)
    shutil.copyfile(source, target)
    return target
