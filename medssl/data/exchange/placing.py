"""Scans and masks as files of a dataset's own: copied where the format fits, else written anew."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.data.exchange.scans import SHOWN, Scan, suffix
from medssl.data.files import write_csv
from medssl.data.volume import Volume
from medssl.data.writing import write_image
from medssl.errors import UserError
from medssl.privacy import scrub_names
from medssl.progress import say, track

VOLUME, FILM = ".nii.gz", ".png"


def kind(scan: Scan) -> str:
    """.nii.gz for a volume and .png for a film: what the scan's file will end in."""
    return VOLUME if scan.manifest.row(scan.id)["shape"].count("x") == 2 else FILM


def place(scan: Scan, image: Path, mask: Path) -> tuple[Path, Path | None]:
    """The scan's one file and its mask's, `image` and `mask` with an ending; both or neither.

    Raises UserError if one of them cannot be read, or the mask does not fit the scan.
    """
    ending, volume, placed = kind(scan), scan.manifest.volume, None
    if scan.mask:
        labels = scan.manifest.mask
        placed = _place([scan.mask], mask, ending, lambda: smallest(labels(scan.id)))
    try:
        return _place(scan.files, image, ending, lambda: volume(scan.id)), placed
    except UserError:
        if placed:
            placed.unlink()
        raise


def _place(files: list[Path], stem: Path, ending: str, read: Callable[[], Volume]) -> Path:
    stem.parent.mkdir(parents=True, exist_ok=True)
    if len(files) > 1 or suffix(files[0]) != ending:
        return write_image(read(), stem)
    target = stem.with_name(stem.name + ending)
    shutil.copyfile(files[0], target)
    return target


def smallest(mask: Volume) -> Volume:
    """The mask in the smallest unsigned type that holds its labels."""
    return replace(mask, array=mask.array.astype(np.min_scalar_type(int(mask.array.max()))))


def label_values(scans: list[Scan]) -> list[int]:
    """All values of all masks that fit their scans, 0 among them."""
    values = {0}
    for scan in track([s for s in scans if s.mask], "labels of masks", unit="masks"):
        with suppress(UserError):  # told when the scan's turn comes to be written
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


def place_all(scans: list[Scan], folder: Path, work: Callable[[Scan], None]) -> list[Scan]:
    """`work` on every scan; returns those that could be placed, the others go into refused.csv.

    Raises UserError EXCHANGE if none could.
    """
    kept, refused = [], []
    for scan in track(scans, "write", unit="scans"):
        try:
            work(scan)
            kept.append(scan)
        except UserError as error:
            names = [str(file) for file in scan.files]
            reason = scrub_names(f"{error.cause}. Fix: {error.fix}", names)
            refused.append({"id": scan.id, "code": error.code, "reason": reason})
    for row in refused[:SHOWN]:
        say(f"refused {row['id']}: {row['reason']}")
    if not kept:
        cause = f"none of {len(scans)} scans could be written"
        raise UserError("EXCHANGE", folder.parent, cause, "mend them as said above")
    if refused:
        write_csv(folder / "refused.csv", pd.DataFrame(refused))
        say(f"refused {len(refused)} of {len(scans)} scans, listed in refused.csv")
    return kept
