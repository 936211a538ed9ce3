"""One scan as a dataset lists it, between a manifest and the formats."""

import json
import os
import re
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path

import pandas as pd

from medssl.data.index import IDS, inspect
from medssl.data.index.row import IMAGE_SUFFIXES, Row, hide_names, relative, slug, stem
from medssl.data.index.walk import walk
from medssl.data.labels import typed
from medssl.data.manifest import Manifest
from medssl.data.patients import pseudonym
from medssl.data.tables import split_names
from medssl.errors import UserError

SHOWN = 5
SALTED = re.compile(r"(?:p|st)-[0-9a-f]{10}")
TEXTS = ("id", "patient", "study", "modality", "split", "boxes")


@dataclass
class Options:
    """name: of the dataset; suffix: what BIDS calls the contrast of MR, such as T1w."""

    name: str = "scans"
    suffix: str = ""


@dataclass
class Scan:
    """Paths are absolute once `found`; a folder stands for all files in it.

    `labels` are the manifest's label_* columns by their whole names. `row` is the manifest's, when
    the scan comes from one.
    """

    id: str
    files: list[Path]
    patient: str = ""
    study: str = ""
    modality: str = ""
    split: str = ""
    boxes: str = ""
    mask: Path | None = None
    labels: dict[str, str] = field(default_factory=dict)
    manifest: Manifest | None = None

    @property
    def about(self) -> dict[str, str]:
        """All that is said of the scan in words, without what is empty."""
        texts = {name: getattr(self, name) for name in TEXTS}
        return {name: text for name, text in {**texts, **self.labels}.items() if text}

    def tell(self, about: dict[str, object]) -> None:
        """Take over what `about` says; fields of other names that are no labels are left alone."""
        for name, value in about.items():
            text = "" if value is None else str(value).strip()
            if name in TEXTS and text:
                setattr(self, name, text)
            elif name.startswith("label_") and text:
                self.labels[name] = text


assert {f.name for f in fields(Scan)} >= set(TEXTS)


def scans_of(manifest: Manifest) -> list[Scan]:
    """The used scans of a manifest. Raises UserError EXCHANGE if there is none."""
    scans = []
    for row in manifest.used.astype(object).fillna("").to_dict("records"):
        scan = Scan(
            row["id"], [manifest.root / file for file in json.loads(row["files"])],
            mask=manifest.root / row["label_mask"] if row["label_mask"] else None,
            labels={name: str(row[name]) for name in manifest.label_columns if str(row[name])},
            manifest=manifest,
        )  # fmt: skip
        scan.tell({name: row[name] for name in TEXTS})
        scans.append(scan)
    if not scans:
        raise UserError("EXCHANGE", manifest.root, "no scan is used", "index other scans")
    return scans


def found(scans: list[Scan], source: Path, top: Path, root: Path | None) -> list[Scan]:
    """The same with absolute paths, every one of which exists in `root` (or `top`).

    Paths of a listing are relative to `top`, its folder. Raises UserError OUTSIDE, MISSING or
    EXCHANGE, each with all that it concerns.
    """
    allowed = Path(os.path.realpath(root or top))
    outside, missing = [], []

    def place(path: Path, id: str) -> Path:
        text = os.fspath(path).replace("\\", "/")
        full = Path(os.path.normpath(os.path.join(os.path.realpath(top), text)))
        if "\0" in text or not Path(os.path.realpath(full)).is_relative_to(allowed):
            outside.append(f"{text!r} of {id!r}")
        elif not full.exists():
            missing.append(f"{text!r} of {id!r}")
        return full

    for scan in scans:
        scan.files = [place(file, scan.id) for file in scan.files]
        scan.mask = place(scan.mask, scan.id) if scan.mask else None
    _refuse(outside, "OUTSIDE", source, f"lead outside {allowed.name}/", "give the folder that "
            "holds all files as root=")  # fmt: skip
    _refuse(missing, "MISSING", source, "name no file", "restore them, or take them off the list")
    _check_ids(scans, source)
    splits = split_names(pd.Series([scan.split for scan in scans], dtype=object), source)
    for scan, split in zip(scans, splits, strict=True):
        scan.split = split
    return scans


def _refuse(entries: list[str], code: str, source: Path, what: str, fix: str) -> None:
    if entries:
        shown = ", ".join(entries[:SHOWN]) + (", ..." if len(entries) > SHOWN else "")
        raise UserError(code, source, f"{len(entries)} paths {what}: {shown}", fix)


def _check_ids(scans: list[Scan], source: Path) -> None:
    count = Counter(scan.id.casefold() for scan in scans)
    twice = sorted({scan.id for scan in scans if count[scan.id.casefold()] > 1})
    odd = [scan.id for scan in scans if not scan.id or slug(scan.id) != scan.id]
    for ids, what in ((twice, "ids stand for several scans"), (odd, "ids cannot name a file")):
        if ids:
            shown = ", ".join(repr(id) for id in ids[:SHOWN])
            cause = f"{len(ids)} {what}: {shown}"
            raise UserError("EXCHANGE", source, cause, "give every scan an id of its own")


def manifest_of(scans: list[Scan], source: Path, root: Path, ids: IDS) -> Manifest:
    """Index the files of the scans and write what the listing says over what headers say."""
    owner: dict[Path, int] = {}
    for n, scan in enumerate(scans):
        for file in _files(scan):
            if owner.setdefault(file, n) != n:
                cause = f"{file.name} is listed for {scans[owner[file]].id!r} and {scan.id!r}"
                raise UserError("EXCHANGE", source, cause, "take one of them off the list")
    rows, claimed = inspect(sorted(owner)), {}
    for row in rows:
        owners = {owner[file] for file in row.files if file in owner}
        n = min(owners)
        if len(owners) > 1 or (row.used and n in claimed):
            other = min(owners - {n}, default=None)
            cause = f"the files of {scans[n].id} hold more than one scan"
            if other is not None:
                cause = f"{scans[n].id} and {scans[other].id} are parts of one series"
            fix = "list the files of each scan, or index the folder instead"
            raise UserError("EXCHANGE", source, cause, fix)
        if row.used:
            claimed[n] = row
        _describe(row, scans[n])
    rows.sort(key=lambda row: str(row.files[0]))
    hide_names(rows, ids)
    named = {id(row): scans[n] for n, row in claimed.items()}
    top = Path(os.path.realpath(root))
    manifest = Manifest.from_rows(top, rows)
    for index, row in enumerate(rows):
        row_scan = named.get(id(row))
        if row_scan is None:
            continue
        table = manifest.table
        table.at[index, "split"], table.at[index, "boxes"] = row_scan.split, row_scan.boxes
        if row_scan.mask:
            table.at[index, "label_mask"] = relative(row_scan.mask, top)
        for name, value in row_scan.labels.items():
            if name not in table:
                table[name] = ""
            table.at[index, name] = value
    for name in manifest.label_columns:
        manifest.table[name] = typed(manifest.table[name])
    return manifest


def _files(scan: Scan) -> list[Path]:
    return [file for path in scan.files for file in (walk(path)[0] if path.is_dir() else [path])]


def _describe(row: Row, scan: Scan) -> None:
    row.id = scan.id if row.used else f"{scan.id}.{stem(row.files[0].name)}"
    row.modality = row.modality or scan.modality.upper()
    row.study = _salted(scan.study, "st") or row.study
    row.patient = _salted(scan.patient, "p") or row.patient or pseudonym(f"file:{row.id}", "p")


def _salted(text: str, prefix: str) -> str:
    return text if not text or SALTED.fullmatch(text) else pseudonym(text, prefix)


def plain_stem(path: Path) -> str:
    return stem(Path(path).name)


def suffix(path: Path) -> str:
    """The suffix of an image file, .nii.gz whole, in lower case."""
    name = path.name.lower()
    return next((s for s in IMAGE_SUFFIXES if name.endswith(s)), path.suffix.lower())
