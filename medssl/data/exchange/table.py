"""A plain CSV: id, path, patient, study, modality, split, mask, and a column a label."""

import re
from pathlib import Path

import pandas as pd

from medssl.data.delimited import check_labels, check_names
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
from medssl.data.exchange.gather import based, gather
from medssl.data.exchange.placing import Rule, empty_folder, place_all
from medssl.data.files import write_csv
from medssl.data.index.ids import IMAGE_SUFFIXES
from medssl.data.manifest import Manifest
from medssl.data.tables import (
    IDS,
    MASKS,
    identifying_columns,
    label_names,
    patient_columns,
    plain_name,
    read_table,
)
from medssl.errors import UserError

NAME = "scans.csv"
COLUMNS = ("id", "path", "patient", "study", "modality", "split", "mask")
PATHS = ("path", "image", "imagepath", "file", "filename", "filepath", "scan", "volume", "series")
STUDIES = ("study", "studyid", "session", "sessionid", "visit")
FORMULA = re.compile(r"^'(?=[=+\-@])")  # our own CSVs keep a spreadsheet from running text


def write(manifest: Manifest, out: Path, how: Writing = AS_LINKS) -> None:
    """Write the table, and links to or copies of scans and masks beside it."""
    empty_folder(out)
    placed = place_all(
        manifest, out, Rule(), how,
        lambda row: (out / "images" / row["id"], out / "labels" / row["id"]),
    )  # fmt: skip
    meant = side.entries(manifest, placed)
    names = [n.removeprefix("label_") for n in manifest.label_columns]
    lines = [
        (e.id, e.image, e.patient, e.study, e.modality, e.split, e.mask)
        + tuple(e.labels.get(name, "") for name in names)
        for e in meant
    ]
    columns = [*COLUMNS, *(f"label_{n}" if _reserved(n) else n for n in names)]
    write_csv(out / NAME, pd.DataFrame(lines, columns=columns))
    side.write(out, manifest, meant, parse(out / NAME)[0])


def read(path: Path, how: Reading = STRICT) -> Manifest:
    """The manifest of a CSV; paths are relative to its folder, or to `how.scans`."""
    folder, file = based(path, NAME)
    entries, notes = parse(file)
    return gather(entries, how.scans or folder, file, how, notes)


def recognises(path: Path) -> bool:
    file = path / NAME if path.is_dir() else path
    return file.is_file() and file.suffix.lower() in (".csv", ".tsv")


def parse(file: Path) -> tuple[list[Entry], list[str]]:
    table = read_table(file)
    table = table.apply(lambda column: column.str.replace(FORMULA, "", regex=True))
    images = _column(table, PATHS) or _images(table)
    if not images:
        cause = f"has no column of paths (found {', '.join(table.columns)})"
        raise UserError("TABLE", file, cause, "add a column `path`")
    ids, patients = _column(table, [plain_name(i) for i in IDS]), patient_columns(table)
    check_names(table[images], file)
    for column in filter(None, [ids, *patients[:1]]):
        check_names(table[column], file, empty=column == ids, mangled=True)
    roles = {
        "id": ids, "patient": patients[0] if patients else "", "study": _column(table, STUDIES),
        "mask": _masks(table), "modality": _column(table, ("modality",)),
        "split": _column(table, ("split",)),
    }  # fmt: skip
    private = identifying_columns(table)
    taken = {images, *roles.values(), *patients, *private}
    labels = [c for c in table if c not in taken]
    for column in labels:
        check_labels(table[column], file)
    entries, name_of = [], label_names(labels, file)
    for line, row in zip(table.index, table.to_dict("records"), strict=True):
        said = {role: row[column] for role, column in roles.items() if column}
        where = f"line {line}"
        said["modality"] = modality(said.get("modality", ""))
        said["split"] = split_name(said.get("split", ""), where, file)
        words = {name_of[c]: row[c] for c in labels if row[c]}
        entries.append(Entry(row[images], where, **said, labels=words))
    notes = []
    if private:
        notes.append(f"{file.name}: columns left out, since they may tell who a patient is: "
                     + ", ".join(private))  # fmt: skip
    return entries, notes


def _column(table: pd.DataFrame, names) -> str:
    return next((c for name in names for c in table if plain_name(c) == name), "")


def _images(table: pd.DataFrame) -> str:
    """The first column all of whose cells are called as scans are."""
    return next((c for c in table if c.lower() not in MASKS and len(table)
                 and table[c].str.lower().str.endswith(IMAGE_SUFFIXES).all()), "")  # fmt: skip


def _masks(table: pd.DataFrame) -> str:
    for column in (c for c in table if c.lower() in MASKS):
        given = table[column][table[column] != ""]
        files = given.str.lower().str.endswith(IMAGE_SUFFIXES)
        if column.lower() not in ("label", "labels") or (len(given) and files.all()):
            return column
    return ""


def _reserved(name: str) -> bool:
    plain = plain_name(name)
    table = pd.DataFrame(columns=[name])
    return bool(
        plain in (*COLUMNS, *PATHS, *STUDIES, *(plain_name(i) for i in IDS))
        or name.lower() in MASKS or patient_columns(table) or identifying_columns(table)
    )  # fmt: skip
