"""Labels to scans: folders of masks, tables of classes, patients, splits and boxes, COCO boxes."""

import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd

from medssl.data import box_tables, boxes
from medssl.data.columns import typed, write
from medssl.data.delimited import check_labels, check_names
from medssl.data.index import identify
from medssl.data.index.ids import stem
from medssl.data.index.row import Row, relative
from medssl.data.index.walk import walk
from medssl.data.manifest import Manifest
from medssl.data.paths import inside, listed
from medssl.data.patients import pseudonym
from medssl.data.tables import (
    Places,
    absolute,
    existing,
    identifying_columns,
    label_names,
    mask_columns,
    match,
    patient_columns,
    read_table,
    refuse_contradictions,
    split_names,
)
from medssl.errors import UserError

MASK_ENDING = re.compile(r"[-_.](seg|label|labels|mask|gt)$", re.IGNORECASE)
CHANNEL_ENDING = re.compile(r"_0000$")
NO_LABELS = ("split", "id", "image_id")


@dataclass
class _Found:
    """What one source of labels says: values by column and manifest row, and files that are masks.

    `scans` are the manifest rows it speaks of, `lost` its entries that match none.
    """

    entries: str
    values: dict[str, dict[int, object]] = field(default_factory=dict)
    masks: dict[str, int | None] = field(default_factory=dict)
    scans: set[int] = field(default_factory=set)
    lost: list[str] = field(default_factory=list)

    def put(self, column: str, row: int, value: object) -> None:
        self.values.setdefault(column, {})[row] = value


def attach(manifest: Manifest, labels: list[Path] | Path, outside: bool = False) -> Manifest:
    """Write labels into the manifest's table and return it.

    A folder holds masks named like their scans; a CSV names scans by path or id and brings
    patients, splits, masks, boxes (`box_tables`) and `label_*` columns; a JSON brings COCO boxes.
    What matches nothing is counted in `manifest.notes`; mask files are no longer scans (code
    IS_MASK). Masks that a table names lie below its folder or the scans', or, where `outside` allows
    it, anywhere.
    Raises UserError LABELS for what is ambiguous, contradictory or missing, PATH for the rest.
    """
    for source in [labels] if isinstance(labels, (str, Path)) else labels:
        source = Path(source)
        found = _reader(source, outside)(manifest, source)
        manifest.mark_table(source)
        for column, values in found.values.items():
            write(manifest.table, column, values, source)
        _mark_masks(manifest, found.masks)
        without = len(set(manifest.used.index) - found.scans)
        note = f"{source.name}: {len(found.scans)} scans labelled, {without} used scans not named"
        if found.lost:
            note += f", {len(found.lost)} {found.entries} without a scan: {listed(found.lost, 5)}"
        manifest.notes.append(note)
    return manifest


def _reader(source: Path, outside: bool) -> Callable[[Manifest, Path], _Found]:
    if source.is_dir():
        return _from_folder
    if not source.is_file():
        raise UserError("LABELS", source, "there is no such file or folder", "check labels=")
    if source.suffix.lower() == ".json":
        return _from_coco
    if source.suffix.lower() in (".csv", ".tsv", ".txt"):
        return partial(_from_table, outside=outside)
    cause = f"a {source.suffix or 'nameless'} file holds no labels that can be read"
    raise UserError("LABELS", source, cause, "give a folder of masks, a CSV or a COCO JSON")


def _from_folder(manifest: Manifest, source: Path) -> _Found:
    files, refused = _images(source)
    _add_refused(manifest, refused)
    real = os.path.realpath(source)
    masks = {absolute(real, relative(path, source)): path for path in files}
    places = Places(manifest, source, set(masks))
    images = {}
    for name, rows in places.by_stem.items():
        images.setdefault(CHANNEL_ENDING.sub("", name), []).extend(rows)
    found = _Found("masks", masks=dict.fromkeys(masks))
    owner: dict[int, str] = {}
    for full, path in masks.items():
        rows = _scans_of(path, source, manifest, images)
        if len(rows) > 1:
            both = " and ".join(manifest.table.loc[rows[:2], "path"])
            cause = f"the mask could belong to {both}"
            raise UserError("LABELS", path, cause, "give a CSV with path and mask columns")
        for row in rows:
            if row in owner:
                cause = f"{manifest.table.at[row, 'path']} has two masks, this and {owner[row]}"
                raise UserError("LABELS", path, cause, "leave one of them")
            owner[row] = relative(path, source)
            found.masks[full] = row
            found.put("label_mask", row, relative(Path(full), manifest.root))
    found.scans = set(owner)
    found.lost = [relative(p, source) for full, p in masks.items() if found.masks[full] is None]
    return found


def _scans_of(path: Path, source: Path, manifest: Manifest, images: dict) -> list[int]:
    name = stem(path.name)
    rows = images.get(name) or images.get(MASK_ENDING.sub("", name)) or []
    if len(rows) > 1:
        inside = stem(relative(path, source))
        same = [row for row in rows if stem(manifest.table.at[row, "path"]) == inside]
        rows = same or rows
    return rows


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


def _from_table(manifest: Manifest, source: Path, outside: bool = False) -> _Found:
    table, found_boxes = box_tables.taken(read_table(source), source)
    base, root = os.path.realpath(source.parent), str(manifest.root)
    found, mask_of = _Found("lines"), {}
    masks = mask_columns(table, source.parent, manifest.root)
    if len(masks) > 1:
        cause = f"several columns hold masks: {', '.join(masks)}"
        raise UserError("LABELS", source, cause, "keep one of them")
    if masks:
        mask_of = _mask_paths(table[masks[0]], source, outside, base, root)
    found.masks = dict.fromkeys(mask_of.values())
    places = Places(manifest, source.parent, set(mask_of.values()))
    matched, told_by = match(table, manifest, places, source, masks)
    refuse_contradictions(table, matched, manifest, source)
    patients, private = patient_columns(table), identifying_columns(table)
    if patients:  # one number for all would make them one patient
        check_names(table[patients[0]], source, empty=False, mangled=True)
    if private:
        manifest.notes.append(
            f"{source.name}: columns left out, since they may tell who a patient is: "
            + ", ".join(private)
        )
    columns = [c for c in table if c not in {*told_by, *masks, *patients, *private}]
    for column in columns:
        check_labels(table[column], source)
    values = _label_columns(table[[c for c in columns if c.lower() not in NO_LABELS]], source)
    split = [split_names(table[c], source) for c in columns if c.lower() == "split"]
    for line, rows in enumerate(matched):
        for row in rows:
            for column, series in values.items():
                found.put(column, row, series.iloc[line])
            if split:
                found.put("split", row, split[0].iloc[line])
            if patients and table[patients[0]].iloc[line]:
                found.put("patient", row, pseudonym(table[patients[0]].iloc[line], "p"))
            if line in mask_of:
                found.masks[mask_of[line]] = row
                found.put("label_mask", row, relative(Path(mask_of[line]), manifest.root))
    if found_boxes is not None:
        lines = zip(table.index, found_boxes, matched, strict=True)
        for row, of_scan in _gathered(lines, manifest, source).items():
            found.put("boxes", row, json.dumps(of_scan))
    found.scans = {row for rows in matched for row in rows}
    found.lost = [str(n) for n, rows in zip(table.index, matched, strict=True) if not rows]
    return found


def _gathered(lines: Iterable[tuple], manifest: Manifest, source: Path) -> dict[int, list]:
    """The boxes of each scan out of (line, box or None, scans). Raises UserError LABELS for one outside."""
    gathered: dict[int, list] = {}
    for line, box, rows in lines:
        for row in rows:
            of_scan = gathered.setdefault(row, [])
            if box is not None:
                boxes.check_inside(box, manifest.table.loc[row], source, f"line {line}")
                of_scan.append(box)
    return gathered


def _label_columns(table: pd.DataFrame, source: Path) -> dict[str, pd.Series]:
    """The columns of a table by what they are called in a manifest."""
    names = label_names((f"label_{column}" for column in table), source)
    return {f"label_{names[f'label_{c}']}": typed(table[c]) for c in table}


def _mask_paths(values: pd.Series, source: Path, outside: bool, *folders: str) -> dict[int, str]:
    paths = {line: existing(v, *folders) for line, v in enumerate(values) if v}
    missing = [values.iloc[line] for line, path in paths.items() if not path]
    if missing:
        cause = f"{len(missing)} masks of column {values.name!r} are missing: "
        cause += listed(missing)
        raise UserError("LABELS", source, cause, "give paths relative to the table or the scans")
    away = [values.iloc[n] for n, p in paths.items() if not outside and not inside(p, *folders)]
    if away:
        cause = f"{len(away)} masks lie outside the folders of table and scans: {listed(away)}"
        fix = "put them there, or, if you trust the table, allow it by outside=true"
        raise UserError("PATH", source, cause, fix)
    return paths


def _from_coco(manifest: Manifest, source: Path) -> _Found:
    found, ignored = _Found("images"), 0
    places = Places(manifest, source.parent)
    for image in boxes.read_coco(source):
        rows = places.at(image.file_name) or places.named(image.file_name)
        if len(rows) > 1:
            both = " and ".join(manifest.table.loc[rows[:2], "path"])
            raise UserError(
                "LABELS", source, f"{image.file_name} could mean {both}", "give its path"
            )
        found.lost += [] if rows else [image.file_name]
        for row in rows:
            boxes.check_size(image, manifest.table.loc[row], source)
            for box, where in zip(image.boxes, image.sources, strict=True):
                boxes.check_inside(box, manifest.table.loc[row], source, where)
            found.scans.add(row)
            found.put("boxes", row, json.dumps(image.boxes))
            ignored += sum("ignored" in box for box in image.boxes)
            if image.split is not None:
                name = split_names(
                    pd.Series([image.split], pd.Index([image.file_name], name="image")), source
                ).iloc[0]
                found.put("split", row, name)
            if image.patient:
                found.put("patient", row, pseudonym(image.patient, "p"))
    if ignored:
        manifest.notes.append(
            f"{source.name}: {ignored} regions are to be ignored (iscrowd=1): neither learnt as a box or as "
            "background, nor is what is found there right or false"
        )
    if not found.scans:
        cause = "no file_name is a scan of the manifest"
        raise UserError(
            "LABELS", source, cause, "give file names relative to this file or the scans"
        )
    return found


def _mark_masks(manifest: Manifest, masks: dict[str, int | None]) -> None:
    """A file that serves as mask is no scan."""
    table, root = manifest.table, str(manifest.root)
    for index, path, format in zip(table.index, table["path"], table["format"], strict=True):
        full = absolute(root, path)
        if format and full in masks:
            row = masks[full]
            reason = "label mask without a scan"
            if row is not None:
                reason = f"label mask of {table.at[row, 'id']}"
            table.loc[index, ["verdict", "code", "reason"]] = ["refused", "IS_MASK", reason]
