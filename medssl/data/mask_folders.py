"""Folders of masks: which files are masks, and to which scans they belong by their names."""

import json
import os
import re
from pathlib import Path, PurePosixPath

from medssl.data.index import identify
from medssl.data.index.ids import MASK_ENDING, beginnings, stem
from medssl.data.index.row import Row, relative
from medssl.data.index.walk import walk
from medssl.data.label_source import Found
from medssl.data.manifest import Manifest
from medssl.data.paths import listed
from medssl.data.tables import Places, absolute, name_of
from medssl.errors import UserError

CHANNEL_ENDING = re.compile(r"_0000$")
NUMBER = re.compile(r"_\d{4}")
SHOWN = 3


def masks_in(manifest: Manifest, source: Path) -> dict[str, Path]:
    """The images in a folder of masks by their real paths; its other files are listed as refused."""
    files, refused = _images(source)
    _add_refused(manifest, refused)
    real = os.path.realpath(source)
    return {absolute(real, relative(path, source)): path for path in files}


def from_folder(manifest: Manifest, source: Path, masks: dict[str, Path]) -> Found:
    places, told = Places(manifest, source), _told(manifest)
    images: dict[str, list[int]] = {}
    for name, rows in places.by_stem.items():
        images.setdefault(CHANNEL_ENDING.sub("", name), []).extend(rows)
    found = Found("masks", masks=dict.fromkeys(masks))
    owner: dict[int, str] = {}
    matched = {
        full: (told[full], False) if full in told else _scans_of(path, source, manifest, images)
        for full, path in masks.items()
    }
    exact = {row for rows, guessed in matched.values() if not guessed for row in rows}
    for full, path in masks.items():
        rows, guessed = matched[full]
        for row in rows:
            if guessed and row in exact:  # of another scan, say, that is not here
                continue
            if row in owner:
                cause = f"{manifest.table.at[row, 'path']} has two masks, this and {owner[row]}"
                fix = "leave one of them, or give a CSV with path and mask columns instead"
                raise UserError("LABELS", path, cause, fix)
            owner[row] = relative(path, source)
            found.masks[full] = row
            found.put("label_mask", row, relative(Path(full), manifest.root))
            if guessed:
                scan = PurePosixPath(manifest.table.at[row, "path"]).name
                found.guessed.append((path.name, scan))
    found.scans = set(owner)
    found.lost = [relative(p, source) for full, p in masks.items() if found.masks[full] is None]
    if not owner:
        cause = f"none of {len(masks)} masks is called like a scan: masks are called "
        cause += f"{listed([stem(p.name) for p in masks.values()], 3)}; {places.examples}"
        fix = "call each like its scan, with or without an ending such as _seg, "
        fix += "or give a CSV with path and mask columns (labels=)"
        raise UserError("LABELS", source, cause, fix)
    return found


def _told(manifest: Manifest) -> dict[str, list[int]]:
    """The scans of masks that other sources have named, by the masks' paths."""
    root, given = str(manifest.root), manifest.table["label_mask"]
    told: dict[str, list[int]] = {}
    for row, mask in given[given != ""].items():
        told.setdefault(absolute(root, mask), []).append(row)
    return told


def _scans_of(
    path: Path, source: Path, manifest: Manifest, images: dict[str, list[int]]
) -> tuple[list[int], bool]:
    """The scan that a mask is called after, if any, and whether its name only begins like that.

    Of equal names the one in the folder of the same name counts. Raises UserError LABELS if several
    remain.
    """
    whole = name_of(path.name)
    name = next((name for name in (whole, *beginnings(whole)) if name in images), "")
    rows, folder = images.get(name, []), PurePosixPath(relative(path, source)).parent
    if NUMBER.fullmatch(
        whole[len(name) :]
    ):  # scans are numbered so, and this is none of the channels
        rows = [row for row in rows if name_of(manifest.table.at[row, "path"]) in (name, whole)]
    if len(rows) > 1:
        of_scan = manifest.table.loc[rows, "path"].map(lambda scan: PurePosixPath(scan).parent)
        rows = [row for row in rows if of_scan[row] == folder] or rows
    if len(rows) > 1:
        both = " and ".join(manifest.table.loc[rows[:2], "path"])
        cause = f"the mask could belong to {both}"
        raise UserError("LABELS", path, cause, "give a CSV with path and mask columns")
    exact = (whole, MASK_ENDING.sub("", whole), CHANNEL_ENDING.sub("", whole))
    return rows, bool(rows) and name not in exact


def _images(source: Path) -> tuple[list[Path], list[Row]]:
    """Files that can be masks, and a row for each that cannot be read, or is none.

    Raises UserError LABELS if there is no file that can be a mask.
    """
    files, closed = walk(source)
    images, refused = [], [Row.refused([path], error) for path, error in closed]
    for path in files:
        try:
            if identify(path) in ("nifti", "itk", "image2d"):
                images.append(path)
        except UserError as error:
            refused.append(Row.refused([path], error))
    if not images:
        cause, fix = "holds no NIfTI, MetaImage, NRRD, PNG or TIFF file", "check labels="
        if refused and refused[0].files == [source]:
            cause, _, fix = refused[0].reason.partition(". Fix: ")
        raise UserError("LABELS", source, cause, fix)
    return images, refused


def _add_refused(manifest: Manifest, rows: list[Row]) -> None:
    """List files that are not in the manifest yet."""
    root = str(manifest.root)
    known = {absolute(root, f) for files in manifest.table["files"] for f in json.loads(files)}
    manifest.add_refused(
        [r for r in rows if absolute(root, relative(r.files[0], root)) not in known]
    )
