"""The scans and masks of a manifest in a folder of their own: linked, copied, or written anew."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.data.exchange.entry import Writing
from medssl.data.files import write_csv
from medssl.data.index import stored
from medssl.data.index.ids import IMAGE_SUFFIXES
from medssl.data.manifest import Manifest
from medssl.data.writing import affine_code, write_volume
from medssl.errors import UserError
from medssl.privacy import scrub_names
from medssl.progress import say, track

REFUSED = "refused.csv"
OF_THE_FOLDER = ("LINK", "DISK")
READ_OTHERWISE = ("read as one grey channel", "turned as EXIF says")


Targets = tuple[Path, Path]  # where a scan and its mask go, without their endings


@dataclass(frozen=True)
class Rule:
    """Endings of the files that a format takes as they are; None takes all, DICOM folders too.

    All other scans are written anew, and with `plain` also those that other tools would read
    otherwise (in colour, or not turned). `no_films` says why a format holds no films.
    """

    volumes: tuple[str, ...] | None = None
    films: tuple[str, ...] | None = None
    no_films: str = ""
    plain: bool = False


def empty_folder(out: Path) -> Path:
    """Make the folder of an export. Raises UserError EXISTS if it holds something."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError("EXISTS", out, "holds something already", "choose an empty or new folder")
    out.mkdir(parents=True, exist_ok=True)
    return out


def is_film(row: dict) -> bool:
    return row["shape"].count("x") == 1


def place_scan(
    manifest: Manifest, row: dict, target: Path, rule: Rule, how: Writing, tree: Path
) -> str:
    """Put a scan at `target` plus its ending and return its path inside `tree`.

    A DICOM series becomes a folder of its files in slice order, or a NIfTI file. Raises UserError.
    """
    films = is_film(row)
    if films and rule.no_films:
        raise UserError("UNSUPPORTED", row["id"], rule.no_films, "export volumes only")
    files = manifest.current_files(row["id"])
    endings = rule.films if films else rule.volumes
    target.parent.mkdir(parents=True, exist_ok=True)
    otherwise = rule.plain and any(words in row["remarks"] for words in READ_OTHERWISE)
    shared = bool(row["frames"])  # the file holds other scans too
    as_it_is = len(files) == 1 and not otherwise and not shared
    as_it_is &= endings is None or ending(files[0], row) in endings
    if endings is None and row["format"] == "dicom" and len(files) > 1 and not shared:
        for number, file in enumerate(files, 1):
            put(file, target / f"{number:05d}.dcm", how)
    elif as_it_is:
        target = target.with_name(target.name + ending(files[0], row))
        put(files[0], target, how)
    else:
        code = affine_code(files, row["format"])
        target = write_volume(manifest.volume(row["id"]), target, code)
    return target.relative_to(tree).as_posix()


def place_mask(
    manifest: Manifest, row: dict, target: Path, rule: Rule, how: Writing, tree: Path
) -> str:
    """The same for a scan's mask; a film's, and one with recoded values, is always written anew."""
    path = manifest.root / row["label_mask"]
    target.parent.mkdir(parents=True, exist_ok=True)
    suffix = next((s for s in IMAGE_SUFFIXES if path.name.lower().endswith(s)), "")
    alone = suffix not in (".hdr", ".img", ".mhd", ".nhdr", "")
    as_it_is = not is_film(row) and not manifest.recode and alone
    if as_it_is and (rule.volumes is None or suffix in rule.volumes):
        target = target.with_name(target.name + suffix)
        put(path, target, how)
    else:
        mask = manifest.mask(row["id"])
        kind = np.uint8 if mask.array.max() < 256 else np.uint16
        target = write_volume(mask.with_array(mask.array.astype(kind)), target)
    return target.relative_to(tree).as_posix()


def put(file: Path, target: Path, how: Writing) -> None:
    """A link to, or a copy of, one file. Raises UserError LINK where there are no links."""
    if how.files == "copy":
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        times = file.stat()
        os.utime(target, (times.st_atime, times.st_mtime))
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.symlink(os.path.relpath(os.path.realpath(file), os.path.realpath(target.parent)), target)
    except OSError as error:
        cause = f"no link can be made there ({error.strerror})"
        raise UserError("LINK", target.parent, cause, "give files=copy") from error


def ending(file: Path, row: dict) -> str:
    """The ending that a file's content needs, such as .nii.gz."""
    name = file.name.lower()
    known = next((s for s in IMAGE_SUFFIXES if name.endswith(s)), "")
    if row["format"] == "nifti":
        return ".nii.gz" if stored.is_gzip(file) else ".nii"
    if row["format"] == "dicom":
        return ".dcm"
    return known


def check_classes(classes: dict[int, str], values: list[int]) -> None:
    """Raise UserError CONFIG for names of no value in the masks, of the background, or given twice."""
    lost = sorted(set(classes) - set(values))
    cause = ""
    if lost:
        cause = f"no mask holds {', '.join(map(str, lost))}"
    elif 0 in classes or "background" in classes.values():
        cause = "0 is the background, and no other value is"
    elif len(set(classes.values())) < len(classes):
        cause = "names two values alike"
    if cause:
        raise UserError("CONFIG", "classes", cause, "name every value above 0, each otherwise")


def label_values(manifest: Manifest, rows: list[dict]) -> list[int]:
    """Every label that occurs in the masks, in order; 0 is background. Raises UserError."""
    found: set[int] = set()
    for row in rows:
        found |= {int(v) for v in np.unique(manifest.mask(row["id"]).array)}
    return sorted(found | {0})


def place_all(
    manifest: Manifest, out: Path, rule: Rule, how: Writing, targets: Callable[[dict], Targets]
) -> dict[str, tuple[str, str]]:
    """Place the used scans and masks: {id: (image, mask)} inside `out`.

    A scan that cannot be read or held is listed in `refused.csv` with the reason, without the names
    of its files. Raises UserError EMPTY if none is left.
    """
    placed, refused = {}, []
    for row in track(manifest.used.to_dict("records"), "place scans", unit="scans"):
        scan, mask_target = targets(row)
        mask = ""
        try:
            if row["label_mask"]:
                mask = place_mask(manifest, row, mask_target, rule, how, out)
            placed[row["id"]] = place_scan(manifest, row, scan, rule, how, out), mask
        except UserError as error:
            if error.code in OF_THE_FOLDER:
                raise
            if mask:
                (out / mask).unlink()
            reason = scrub_names(f"{error.cause}. Fix: {error.fix}", _names(row))
            refused.append((row["id"], error.code, reason))
    if not placed:
        code, reason = refused[0][1:] if refused else ("EMPTY", "no scan is used")
        cause, _, fix = reason.partition(". Fix: ")
        raise UserError(code, out, f"no scan can be passed on: {cause}", fix or "index again")
    if refused:
        write_csv(out / REFUSED, pd.DataFrame(refused, columns=["id", "code", "reason"]))
        say(f"{len(refused)} scans could not be passed on, listed in {out / REFUSED}")
    return placed


def _names(row: dict) -> list[str]:
    return [*json.loads(row["files"]), row["label_mask"]]
