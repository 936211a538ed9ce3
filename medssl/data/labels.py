"""Labels to scans: folders of masks, tables of classes, patients, splits and boxes, COCO boxes."""

import json
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path, PurePosixPath

import pandas as pd

from medssl.data import box_tables, boxes
from medssl.data.columns import typed, write
from medssl.data.delimited import check_labels, check_names
from medssl.data.index.row import relative
from medssl.data.label_source import Found
from medssl.data.manifest import Manifest
from medssl.data.mask_folders import from_folder, masks_in
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

SHOWN = 5
NO_LABELS = ("split", "id", "image_id")


def attach(manifest: Manifest, labels: list[Path] | Path, outside: bool = False) -> Manifest:
    """Write labels into the manifest's table and return it.

    A folder holds masks called like their scans, whole or with more behind one of `_-. ` (of two
    scans the longer name counts); a CSV names scans by path or id and brings patients, splits, masks,
    boxes (`box_tables`) and `label_*` columns; a JSON brings COCO boxes. What a table says of a mask
    counts more than the mask's name. What matches nothing is counted in `manifest.notes`; mask files
    are no longer scans (code IS_MASK). Masks that a table names lie below its folder or the scans',
    or, where `outside` allows it, anywhere.
    Raises UserError LABELS for what is ambiguous, contradictory or missing, and for a source that
    matches no scan at all, PATH for the rest.
    """
    sources = [Path(s) for s in ([labels] if isinstance(labels, (str, Path)) else labels)]
    masks = {source: masks_in(manifest, source) for source in sources if source.is_dir()}
    _mark_masks(manifest, {full: None for files in masks.values() for full in files})
    for source in sorted(sources, key=lambda source: source in masks):  # tables before folders
        if source in masks:
            found = from_folder(manifest, source, masks[source])
        else:
            found = _reader(source, outside)(manifest, source)
        manifest.mark_table(source)
        for column, values in found.values.items():
            write(manifest.table, column, values, source)
        _mark_masks(manifest, found.masks)
        manifest.notes.append(_note(manifest, source, found))
    return manifest


def _note(manifest: Manifest, source: Path, found: Found) -> str:
    without = len(set(manifest.used.index) - found.scans)
    note = f"{source.name}: {len(found.scans)} scans labelled, {without} used scans not named"
    if found.guessed:
        mask, scan = found.guessed[0]
        note += f", {len(found.guessed)} masks by the beginning of their name ({mask} for {scan})"
    if found.lost:
        note += f", {len(found.lost)} {found.entries} without a scan: {listed(found.lost, SHOWN)}"
    return note


def _reader(source: Path, outside: bool) -> Callable[[Manifest, Path], Found]:
    if not source.is_file():
        raise UserError("LABELS", source, "there is no such file or folder", "check labels=")
    if source.suffix.lower() == ".json":
        return _from_coco
    if source.suffix.lower() in (".csv", ".tsv", ".txt"):
        return partial(_from_table, outside=outside)
    cause = f"a {source.suffix or 'nameless'} file holds no labels that can be read"
    raise UserError("LABELS", source, cause, "give a folder of masks, a CSV or a COCO JSON")


def _from_table(manifest: Manifest, source: Path, outside: bool = False) -> Found:
    table, found_boxes = box_tables.taken(read_table(source), source)
    base, root = os.path.realpath(source.parent), str(manifest.root)
    found, mask_of = Found("lines"), {}
    masks = mask_columns(table, source.parent, manifest.root)
    if len(masks) > 1:
        cause = f"several columns hold masks: {', '.join(masks)}"
        raise UserError("LABELS", source, cause, "keep one of them")
    if masks:
        mask_of = _mask_paths(table[masks[0]], source, outside, base, root)
    found.masks = dict.fromkeys(mask_of.values())
    _mark_masks(manifest, found.masks)
    places = Places(manifest, source.parent)
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
        where = " and in ".join(dict.fromkeys(folders))
        cause = f"{len(missing)} masks of column {values.name!r} are missing: "
        cause += f"{listed(missing, SHOWN)}; looked for in {where}"
        raise UserError("LABELS", source, cause, "give paths relative to the table or the scans")
    away = [values.iloc[n] for n, p in paths.items() if not outside and not inside(p, *folders)]
    if away:
        cause = f"{len(away)} masks lie outside the folders of table and scans: "
        cause += listed(away, SHOWN)
        fix = "put them there, or, if you trust the table, allow it by outside=true"
        raise UserError("PATH", source, cause, fix)
    return paths


def _in_one_folder(path: str, other: str) -> bool:
    """Whether the folders of two paths agree as far up as both tell."""
    folders = (PurePosixPath(p.replace("\\", "/")).parent.parts[::-1] for p in (path, other))
    return all(a == b for a, b in zip(*folders, strict=False))


def _from_coco(manifest: Manifest, source: Path) -> Found:
    found, ignored, known = Found("images"), 0, {}
    places = Places(manifest, source.parent)
    for image in boxes.read_coco(source):
        named = places.named(image.file_name)
        rows = places.at(image.file_name) or [
            row for row in named if _in_one_folder(manifest.table.at[row, "path"], image.file_name)
        ]
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
            if known.setdefault(row, image.boxes) != image.boxes:
                cause = f"lists {image.file_name} more than once, with different boxes"
                raise UserError(
                    "LABELS", source, cause, "leave one entry of each image, with all boxes"
                )
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
    for index, files, format in zip(table.index, table["files"], table["format"], strict=True):
        full = [absolute(root, file) for file in json.loads(files)] if format else []
        for mask in masks.keys() & set(full):
            row = masks[mask]
            reason = "label mask without a scan"
            if row is not None:
                reason = f"label mask of {table.at[row, 'id']}"
            table.loc[index, ["verdict", "code", "reason"]] = ["refused", "IS_MASK", reason]
