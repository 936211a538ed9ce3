"""From what an exchange file says of its scans to a manifest: the index looks at the files."""

import os
import posixpath
from collections import Counter, defaultdict
from pathlib import Path

import pandas as pd

from medssl.data import splits
from medssl.data.columns import typed
from medssl.data.exchange import side as side_file
from medssl.data.exchange.entry import Entry, Reading
from medssl.data.exchange.side import Side
from medssl.data.index import Row, scan_files
from medssl.data.index.ids import hide_names, slug
from medssl.data.index.row import relative
from medssl.data.manifest import Manifest
from medssl.data.paths import all_there, listed, located
from medssl.data.patients import pseudonym
from medssl.errors import UserError


def gather(
    entries: list[Entry], base: Path, source: Path, how: Reading, notes: list[str] = ()
) -> Manifest:
    """Index the files that `entries` name and give the rows their ids, patients, splits, labels.

    Paths are relative to `base`. What a side file kept is given back. Raises UserError: EMPTY,
    DUPLICATE (ids, images), PATH, MISSING, SPLIT, LABELS.
    """
    side = side_file.read(source if source.is_dir() else source.parent)
    entries = side_file.restored(entries, side)
    if not entries:
        raise UserError("EMPTY", source, "names no scan", "give a dataset that holds scans")
    _refuse_twice(entries, source)
    places = _there(located([e.image for e in entries], base, source, how.outside), source, how)
    masks = located([e.mask for e in entries if e.mask], base, source, how.outside)
    all_there(masks, "masks", source)

    owner = {path: n for n, e in enumerate(entries) if (path := places[e.image])}
    _refuse_one_place(places, entries, source)
    rows = scan_files(list(owner), base, how.modality, how.ids, how.workers)
    said = _said_of(rows, owner)
    _refuse_shared(rows, owner, said, entries, source)
    _name(rows, said, entries, side, how)
    rows += [_missing(e, base, how) for e in entries if places[e.image] is None]
    looked_at = {*said.values()} | {owner[f] for row in rows for f in row.files if f in owner}
    for path, number in owner.items():
        if number not in looked_at:
            rows.append(_empty(entries[number], path, how))
    if len({row.id for row in rows}) < len(rows):
        _number_refused(rows)
    for row in rows:
        if id(row) in said:
            _describe(row, entries[said[id(row)]], side)
    manifest = Manifest.from_rows(_root(base, rows), rows)
    _label(manifest, [entries[said[id(r)]] if id(r) in said else None for r in rows], masks, side)
    manifest.notes += [f"{source.name}: {len(entries)} scans listed", *notes]
    splits.check(manifest.table)
    return manifest


def _refuse_twice(entries: list[Entry], source: Path) -> None:
    for what, name_of in {
        "id": lambda e: e.id,
        "image": lambda e: posixpath.normpath(e.image),
    }.items():
        places = defaultdict(list)
        for e in entries:
            if name_of(e):
                places[name_of(e)].append(e.where)
        twice = [f"{name} ({', '.join(w)})" for name, w in places.items() if len(w) > 1]
        if twice:
            cause = f"{len(twice)} {what}s are given more than once: {listed(twice)}"
            raise UserError("DUPLICATE", source, cause, f"keep one entry a scan, each {what} once")
    own = [e.where for e in entries if e.mask and e.mask == e.image]
    if own:
        cause = f"{len(own)} scans are given as their own mask: {listed(own)}"
        raise UserError("LABELS", source, cause, "name the masks, or take them out")


def _refuse_one_place(places: dict, entries: list[Entry], source: Path) -> None:
    """Two spellings, or a link, may lead to one file."""
    first: dict[str, Entry] = {}
    for entry in entries:
        path = places[entry.image]
        other = first.setdefault(os.path.realpath(path), entry) if path else entry
        if other is not entry:
            cause = f"{other.where} and {entry.where} name one file, {listed([entry.image])}"
            raise UserError("DUPLICATE", source, cause, "keep one entry a scan")


def _refuse_shared(
    rows: list[Row], owner: dict[Path, int], said: dict, entries: list[Entry], source: Path
) -> None:
    """What another entry says of a slice of the same scan would be lost."""
    for row in rows:
        numbers = {owner[f] for f in row.files if f in owner} - {said.get(id(row))}
        if row.used and numbers:
            one, other = entries[said[id(row)]], entries[min(numbers)]
            cause = f"{one.where} and {other.where} name files of one scan"
            raise UserError("DUPLICATE", source, cause, "keep one entry a scan: its folder")


def _there(places: dict, source: Path, how: Reading) -> dict[str, Path | None]:
    missing = sum(path is None for path in places.values())
    if missing > how.max_missing * len(places) or missing == len(places):
        all_there(places, "scans", source)
    return places


def _said_of(rows: list[Row], owner: dict[Path, int]) -> dict[int, int]:
    """The number of the entry that every row, by its id(), comes from: a file or a folder above."""
    found = {}
    for row in rows:
        for place in (row.files[0], *row.files[0].parents):
            if place in owner:
                found[id(row)] = owner[place]
                break
    return found


def _name(rows: list[Row], said: dict, entries: list[Entry], side: Side, how: Reading) -> None:
    """Give rows the entries' ids; a folder of several series numbers them."""
    known = side.known("id")
    of = defaultdict(list)
    for row in rows:
        if id(row) in said:
            of[said[id(row)]].append(row)
    foreign, taken = [], {e.id.casefold() for e in entries if e.id in known}
    for number, group in of.items():
        entry, used = entries[number], [row for row in group if row.used]
        named = used or group[:1]
        for count, row in enumerate(named, 1):
            if not entry.id:
                continue
            guessed = row.patient == pseudonym(f"file:{row.id}", "p")
            row.id = entry.id if len(named) == 1 else f"{entry.id}-{count}"
            if entry.id not in known:
                row.id = slug(row.id)
                foreign.append(row)
            if guessed or not row.patient:
                row.patient = ""
    double = [n for n, c in Counter(row.id.casefold() for row in foreign).items() if c > 1]
    double += sorted({row.id.casefold() for row in foreign} & taken)
    if double:
        cause = f"ids that differ in case or signs only: {listed(double)}"
        raise UserError("DUPLICATE", "ids", cause, "give ids that differ in letters and digits")
    hide_names(foreign, how.ids)
    for row in rows:
        if row.used and not row.patient:
            row.patient = pseudonym(f"file:{row.id}", "p")


def _number_refused(rows: list[Row]) -> None:
    """Refused rows give way: ids of used scans stay as they are."""
    taken = {row.id for row in rows if row.used}
    for row in rows:
        if not row.used:
            name, number = row.id, 2
            while row.id in taken:
                row.id, number = f"{name}-{number}", number + 1
            taken.add(row.id)


def _describe(row: Row, entry: Entry, side: Side) -> None:
    """Patient, study and modality: what the files say of modality stands against the list."""
    if entry.patient:
        kept = entry.patient in side.known("patient")
        row.patient = entry.patient if kept else pseudonym(entry.patient, "p")
    if entry.study:
        kept = entry.study in side.known("study")
        row.study = entry.study if kept else pseudonym(f"{entry.patient}/{entry.study}", "st")
    if not row.used or not entry.modality:
        return
    if row.format == "dicom" and row.modality != entry.modality:
        row.remarks.append(f"listed as {entry.modality}, DICOM says {row.modality or 'nothing'}")
    else:
        row.modality = entry.modality


def _missing(entry: Entry, base: Path, how: Reading) -> Row:
    error = UserError("MISSING", entry.image, "the file is not there", "put it there")
    name = slug(entry.id or Path(entry.image).name)
    row = Row.refused([base / entry.image.replace("\\", "/")], error, id=name)
    hide_names([row], how.ids)
    return row


def _empty(entry: Entry, path: Path, how: Reading) -> Row:
    error = UserError("EMPTY", path, "the folder holds no file", "put the series there")
    row = Row.refused([path], error, id=slug(entry.id or path.name))
    hide_names([row], how.ids)
    return row


def _root(base: Path, rows: list[Row]) -> Path:
    """`base`, or the folder above all files where the list leads out of it."""
    base = Path(os.path.realpath(base))
    files = [os.path.normpath(base / file) for row in rows for file in row.files]
    return Path(os.path.commonpath([base, *files]))


def _label(
    manifest: Manifest, entries: list[Entry | None], masks: dict[str, Path], side: Side
) -> None:
    table = manifest.table
    said = [entry or Entry("", "") for entry in entries]
    table["split"] = pd.Series([e.split for e in said], index=table.index, dtype="str")
    table["boxes"] = pd.Series([e.boxes for e in said], index=table.index, dtype="str")
    paths = [relative(masks[e.mask], manifest.root) if e.mask else "" for e in said]
    table["label_mask"] = pd.Series(paths, index=table.index, dtype="str")
    names = dict.fromkeys([*side.kinds, *(name for e in said for name in e.labels)])
    if "mask" in names:
        cause = "a label called mask would stand for the label masks themselves"
        raise UserError("LABELS", "labels", cause, "give it another name")
    for name in names:
        values = pd.Series([e.labels.get(name, "") for e in said], index=table.index, dtype="str")
        table[f"label_{name}"] = _of_kind(values, side.kinds.get(name, ""))


def _of_kind(values: pd.Series, kind: str) -> pd.Series:
    """Values as the type that a manifest gave them, or else as what they look like."""
    if kind == "str":
        return values
    if not kind:
        return typed(values)
    numbers = pd.to_numeric(values.where(values != ""), errors="coerce")
    spoilt = numbers.isna() & (values != "")
    whole = kind == "Float64" or (numbers.dropna() % 1 == 0).all()
    return typed(values) if spoilt.any() or not whole else numbers.astype(kind)


def based(path: Path, name: str) -> tuple[Path, Path]:
    """A dataset's folder and its own file there, from either. Raises UserError DATASET."""
    path = Path(path)
    folder, file = (path, path / name) if path.is_dir() else (path.parent, path)
    if not file.is_file():
        raise UserError("DATASET", path, f"there is no {name}", "give the dataset's folder or file")
    return folder, file
