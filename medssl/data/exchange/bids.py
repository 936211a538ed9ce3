"""BIDS: `sub-*/ses-*/anat/*.nii.gz` with sidecars, tables, and masks in `derivatives/labels`.

MR lies in `anat`; BIDS has no place for CT and films yet, so they lie in folders called after their
modality that `.bidsignore` names. Splits and labels are in the subjects' `*_scans.tsv`, a split that
a whole subject has also in `participants.tsv`.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from medssl import __version__
from medssl.data.delimited import check_labels, check_names, read_table
from medssl.data.exchange import side
from medssl.data.exchange.entry import (
    AS_LINKS,
    STRICT,
    Entry,
    Reading,
    Writing,
    modality,
    split_name,
)
from medssl.data.exchange.gather import gather
from medssl.data.exchange.json_file import read_json, write_json
from medssl.data.exchange.placing import REFUSED, Rule, empty_folder, place_all
from medssl.data.files import write_atomically
from medssl.data.index.ids import IMAGE_SUFFIXES, stem
from medssl.data.manifest import Manifest
from medssl.data.paths import listed
from medssl.data.tables import identifying_columns, label_names
from medssl.errors import UserError

NAME, PEOPLE = "dataset_description.json", "participants.tsv"
LABELS = "derivatives/labels"
VERSION = "1.9.0"
NOTHING = "n/a"
RULE = Rule((".nii.gz", ".nii"), (".png", ".jpg", ".jpeg", ".tif", ".tiff"))
MASK_FOLDER = re.compile(r"label|mask", re.IGNORECASE)
OF_MASKS = ("desc", "label", "space", "seg", "res", "atlas")
DATES = ("acq_time",)
README = "Written by medssl from a manifest. medssl.json holds what BIDS cannot.\n"


def write(manifest: Manifest, out: Path, how: Writing = AS_LINKS) -> None:
    """Write a BIDS tree; DICOM series are written as NIfTI."""
    empty_folder(out)
    names = _names(manifest, how)
    placed = place_all(
        manifest, out, RULE, how,
        lambda row: (
            out / names[row["id"]].path,
            out / LABELS / names[row["id"]].folder / f"{names[row['id']].entities}_dseg",
        ),
    )  # fmt: skip
    meant = side.entries(manifest, placed)
    tables: dict[str, list[Entry]] = defaultdict(list)
    for entry in meant:
        if entry.modality:
            sidecar = out / Path(entry.image).parent / f"{stem(Path(entry.image).name)}.json"
            write_json(sidecar, {"Modality": entry.modality})
        tables["/".join(Path(entry.image).parts[:-2])].append(entry)
    labels = [n.removeprefix("label_") for n in manifest.label_columns]
    for folder, entries in tables.items():
        rows = [
            [Path(e.image).relative_to(folder).as_posix(), e.split]
            + [e.labels.get(name, "") for name in labels]
            for e in entries
        ]
        columns = ["filename", "split", *(f"label_{n}" if _reserved(n) else n for n in labels)]
        _write_tsv(out / folder / f"{folder.replace('/', '_')}_scans.tsv", columns, rows)
    splits: dict[str, set[str]] = defaultdict(set)
    for entry in meant:
        splits[Path(entry.image).parts[0]].add(entry.split)
    people = [[name, found.pop() if len(found) == 1 else ""] for name, found in splits.items()]
    _write_tsv(out / PEOPLE, ["participant_id", "split"], people)
    about = {
        "Name": out.name, "BIDSVersion": VERSION,
        "GeneratedBy": [{"Name": "medssl", "Version": __version__}],
    }  # fmt: skip
    for folder, kind in ((out, "raw"), (out / LABELS, "derivative")):
        if folder.is_dir():
            write_json(folder / NAME, {**about, "DatasetType": kind})
    odd = sorted({Path(e.image).parent.name for e in meant} - {"anat"})
    ignored = [side.NAME, REFUSED, *(f"{name}/" for name in odd)]
    (out / ".bidsignore").write_text("\n".join(ignored) + "\n")
    (out / "README").write_text(README)
    side.write(out, manifest, meant, parse(out)[0])


def read(path: Path, how: Reading = STRICT) -> Manifest:
    """The manifest of a BIDS folder."""
    folder = path if path.is_dir() else path.parent
    entries, notes = parse(folder)
    return gather(entries, folder, folder, how, notes)


def recognises(path: Path) -> bool:
    folder = path if path.is_dir() else path.parent
    own = path.is_dir() or path.name in (NAME, PEOPLE)
    return own and folder.is_dir() and any(p.is_dir() for p in folder.glob("sub-*"))


def parse(folder: Path) -> tuple[list[Entry], list[str]]:
    people, notes = _table(folder / PEOPLE, "participant_id")
    entries = []
    for subject in sorted(p for p in folder.glob("sub-*") if p.is_dir()):
        sessions = sorted(p for p in subject.glob("ses-*") if p.is_dir())
        for place in [subject, *sessions]:
            entries += _scans(place, subject, folder, people, notes)
    unknown = sorted(set(people) - {Path(e.image).parts[0] for e in entries})
    if unknown:
        notes.append(f"{PEOPLE}: {len(unknown)} subjects without a scan: {listed(unknown)}")
    notes += _attach_masks(entries, folder)
    return entries, list(dict.fromkeys(notes))


@dataclass(frozen=True)
class _Name:
    """sub-01/ses-1/anat, sub-01_ses-1_run-01, T1w."""

    folder: str
    entities: str
    suffix: str

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.entities}_{self.suffix}"


def _names(manifest: Manifest, how: Writing) -> dict[str, _Name]:
    subjects, sessions = (_alphanumeric(manifest.used[c]) for c in ("patient", "study"))
    runs: dict[tuple, int] = defaultdict(int)
    names = {}
    for row in manifest.used.to_dict("records"):
        entities = [f"sub-{subjects[row['patient']]}"]
        entities += [f"ses-{sessions[row['study']]}"] if row["study"] else []
        kind = _letters(row["modality"]).lower() or "unknown"
        kind, suffix = ("anat", how.contrast or "MR") if kind == "mr" else (kind, kind)
        place = "/".join([*entities, kind])
        runs[place] += 1
        names[row["id"]] = _Name(place, "_".join([*entities, f"run-{runs[place]:02d}"]), suffix)
    return names


def _alphanumeric(values) -> dict[str, str]:
    """Labels of letters and digits, one for each value."""
    found: dict[str, str] = {}
    for value in values.unique():
        name, number = _letters(value) or "x", 2
        while name in found.values():
            name, number = f"{_letters(value)}x{number}", number + 1
        found[value] = name
    return found


def _letters(value: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", value)


def _scans(place: Path, subject: Path, root: Path, people: dict, notes: list[str]) -> list[Entry]:
    session = place.name if place != subject else ""
    prefix = "_".join(filter(None, [subject.name, session]))
    said, more = _table(place / f"{prefix}_scans.tsv", "filename")
    notes += more
    files = [
        path
        for kind in sorted(p for p in place.iterdir() if p.is_dir() and p.name[:4] != "ses-")
        for path in sorted(kind.rglob("*"))
        if path.name.lower().endswith(IMAGE_SUFFIXES) and path.name[:1] != "."
    ]
    entries = []
    for path in files:
        image = path.relative_to(root).as_posix()
        entry = Entry(image, image, patient=subject.name, study=session)
        entry.id = stem(path.name)
        entry.modality = _modality(path)
        for values in (people.get(subject.name, {}), said.get(_inside(path, place), {})):
            entry.split = values.get("split", "") or entry.split
            entry.labels |= {k: v for k, v in values.items() if k != "split"}
        entries.append(entry)
    lost = sorted(set(said) - {_inside(path, place) for path in files})
    if lost:
        cause = f"{prefix}_scans.tsv names {len(lost)} files that are missing: {listed(lost)}"
        raise UserError("MISSING", place, cause, "put the files there or take the lines out")
    return entries


def _inside(path: Path, place: Path) -> str:
    return path.relative_to(place).as_posix()


def _modality(path: Path) -> str:
    """What the sidecar says, or else what the folder and the suffix mean."""
    sidecar = path.with_name(f"{stem(path.name)}.json")
    said = modality(read_json(sidecar).get("Modality")) if sidecar.is_file() else ""
    by_folder = {"anat": "MR", "func": "MR", "dwi": "MR", "fmap": "MR", "perf": "MR", "pet": "PT"}
    folder = path.parent.name
    return said or by_folder.get(folder, "" if folder == "unknown" else modality(folder))


def _table(file: Path, key: str) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Split and labels by the key column of a TSV, and what was left out of it."""
    if not file.is_file():
        return {}, []
    table = read_table(file).replace(NOTHING, "")
    if key not in table:
        cause = f"has no column {key} (found {', '.join(table.columns)})"
        raise UserError("TABLE", file, cause, "separate columns by tabs and add it")
    check_names(table[key], file, mangled=True)
    twice = table[key][table[key].duplicated()].unique().tolist()
    if twice:
        raise UserError("DUPLICATE", file, f"gives {listed(twice)} twice", "keep one line each")
    private = [c for c in table if c in identifying_columns(table) or c in DATES]
    private = [c for c in private if c != key]
    kept = [c for c in table if c not in (key, *private)]
    for column in kept:
        check_labels(table[column], file)
    found, name_of = {}, label_names((c for c in kept if c != "split"), file)
    for line, row in zip(table.index, table.to_dict("records"), strict=True):
        words = {name_of[c]: row[c] for c in kept if row[c] and c != "split"}
        found[row[key]] = words | {"split": split_name(row.get("split", ""), f"line {line}", file)}
    note = f"{file.name}: columns left out, since they may tell who a patient is: "
    return found, [note + ", ".join(private)] if private else []


def _attach_masks(entries: list[Entry], root: Path) -> list[str]:
    """Give scans the masks of the same entities; raises UserError LABELS for several of one scan."""
    folders = [p for p in sorted(root.glob("derivatives/*")) if MASK_FOLDER.search(p.name)]
    by_entities: dict[tuple, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_entities[_entities(entry.image)].append(entry)
    lost = 0
    for mask in (m for folder in folders for m in sorted(folder.glob("sub-*/**/*"))):
        if not mask.name.lower().endswith(IMAGE_SUFFIXES):
            continue
        name = mask.relative_to(root).as_posix()
        found = by_entities.get(_entities(name), [])
        said = re.search(r"_space-([A-Za-z0-9]+)", mask.name)
        beside = [e for e in found if Path(e.image).parent.name == mask.parent.name] or found
        owners = [e for e in beside if said and e.image.find(f"_{said[1]}.") > 0] or beside
        if len(owners) > 1 or owners and owners[0].mask:
            other = owners[0].mask or " and ".join(e.image for e in owners[:2])
            cause = f"{mask.name} is one of several: {other}"
            fix = "keep one mask a scan, of the scan's entities, as labels numbered from 1 up"
            raise UserError("LABELS", mask.parent, cause, fix)
        lost += not owners
        for entry in owners:
            entry.mask = name
    return [f"derivatives: {lost} masks without a scan"] * bool(lost)


def _entities(path: str) -> tuple[str, ...]:
    """sub-01, ses-1, run-01, ... of a file name, without those that only masks have."""
    parts = stem(Path(path).name).split("_")
    return tuple(sorted(p for p in parts if "-" in p and p.split("-")[0] not in OF_MASKS))


def _reserved(name: str) -> bool:
    import pandas as pd

    return name in ("filename", "split", *DATES) or bool(
        identifying_columns(pd.DataFrame(columns=[name]))
    )


def _write_tsv(path: Path, columns: list[str], rows: list[list[str]]) -> None:
    lines = [columns, *([cell or NOTHING for cell in row] for row in rows)]
    text = "".join("\t".join(_cell(c) for c in line) + "\n" for line in lines)
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))


def _cell(text: str) -> str:
    """Text of one cell: no tabs or line breaks, quoted where it holds quotes."""
    plain = " ".join(text.split())
    return '"' + plain.replace('"', '""') + '"' if '"' in plain else plain
