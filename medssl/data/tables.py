"""Tables about scans: read as text, and matched to the rows of a manifest."""

import json
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pandas as pd

from medssl.data.delimited import check_names, check_zeros, read_table
from medssl.data.index.ids import beginnings, neutral_id, slug, stem
from medssl.data.manifest import Manifest
from medssl.data.paths import listed
from medssl.data.patients import pseudonym
from medssl.errors import UserError

IDS = ("id", "image_id", "scan_id", "seriesuid")
# Without case, spaces, dashes and underscores: PatientID, patient_id and Patient ID are one name.
PATIENTS = ("patient", "patientid", "pid", "subject", "subjectid", "mrn")
__all__ = [
    "IDENTIFYING", "IDS", "MASKS", "PATIENTS", "SPLIT_WORDS", "Places", "absolute", "existing",
    "identifying_columns", "label_name", "label_names", "mask_columns", "match", "name_of",
    "patient_columns", "plain_name", "read_table", "refuse_contradictions", "split_names",
]  # fmt: skip
SERIES = "seriesuid"
SHOWN = 3
IDENTIFYING = re.compile(
    r"(patient(en|in)?s?|subject|full|first|last|family|given|sur|fore|vor|nach|familien|zu)?names?"
    r"|p?re?nom|nom(dupatient|defamille)?|cognome|nombres?|apellidos?|.*geburt.*|.*naissance.*"
    r"|.*nacimiento.*|.*nascita.*|.*birth.*|dob|.*accession.*|.*address.*|.*adresse.*|.*phone.*"
    r"|telefon.*|e?mail|ssn|.*insurance.*|.*physician.*|radiolog(ist|e|ue)|arzt|operator|.*uid"
)
MASKS = ("seg", "mask", "label_path", "mask_path", "segmentation", "label", "labels")
SPLIT_WORDS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "dev": "val", "test": "test", "testing": "test", "": "",
}  # fmt: skip


def plain_name(column: str) -> str:
    """A column's name in lower case, letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", column.lower())


def label_name(column: str) -> str:
    """A label column's name in a manifest, without its `label_`: letters, digits and single _."""
    return re.sub(r"[\W_]+", "_", column.removeprefix("label_"))


def label_names(columns: Iterable[str], source: Path) -> dict[str, str]:
    """What label columns are called in a manifest. Raises UserError LABELS for two of one name."""
    names: dict[str, str] = {}
    for column in columns:
        name = label_name(column)
        if name in names:
            cause = f"{names[name]!r} and {column!r} would both be called {name}"
            raise UserError("LABELS", source, cause, "give one of them another name")
        names[name] = column
    return {column: name for name, column in names.items()}


def patient_columns(table: pd.DataFrame) -> list[str]:
    """Columns that say whose a scan is, the most telling first."""
    return [c for name in PATIENTS for c in table if plain_name(c) == name]


def identifying_columns(table: pd.DataFrame) -> list[str]:
    """Columns that by their name could tell who a patient is, and are therefore never carried on."""
    return [c for c in table if IDENTIFYING.fullmatch(plain_name(c))]


class Places:
    """Finds the manifest rows that a path, an id or a file stem means.

    Rows known to be label masks are left out. `base` is the folder of the table.
    """

    def __init__(self, manifest: Manifest, base: Path):
        self.root, self.base = str(manifest.root), os.path.realpath(base)
        self.by_path, self.by_id, self.by_stem = defaultdict(list), {}, defaultdict(list)
        table = manifest.table
        for index, row in zip(table.index, table.to_dict("records"), strict=True):
            if not row["format"] or row["code"] == "IS_MASK":
                continue
            files = [absolute(self.root, file) for file in json.loads(row["files"])]
            for path in {*files, absolute(self.root, row["path"])}:
                self.by_path[path].append(index)
            self.by_id[row["id"]] = index
            self.by_stem[name_of(row["path"])].append(index)

    @property
    def examples(self) -> str:
        """What the first scans are called, for messages."""
        return (
            f"scans are called {listed(list(self.by_stem), SHOWN)}" if self.by_stem else "no scan"
        )

    @property
    def names(self) -> set[str]:
        """All ids and file stems, and what stems begin with."""
        begun = (name for whole in self.by_stem for name in beginnings(whole))
        return {*self.by_id, *self.by_stem, *begun}

    def at(self, path: str) -> list[int]:
        """Rows of a path, relative to the table's folder or to the manifest's root."""
        path = path.replace("\\", "/")
        for folder in (self.base, self.root):
            if path and absolute(folder, path) in self.by_path:
                return self.by_path[absolute(folder, path)]
        return []

    def named(self, name: str) -> list[int]:
        """The row of an id, as it stands or as the name behind a salted one, or of a file stem."""
        for id in (name, neutral_id(slug(name))):
            if id in self.by_id:
                return [self.by_id[id]]
        return self.by_stem.get(name_of(name.replace("\\", "/")), [])

    def begun(self, names: Iterable[str]) -> dict[str, list[int]]:
        """Rows whose stems begin with a name and one of `_-. `, by the longest such of the names."""
        names, found = set(names), defaultdict(list)
        for whole, rows in self.by_stem.items():
            name = next((name for name in (whole, *beginnings(whole)) if name in names), whole)
            if name != whole:
                found[name] += rows
        return found


def name_of(path: str) -> str:
    """A path's file name without suffix; systems write accents as one character or as two."""
    return unicodedata.normalize("NFC", stem(PurePosixPath(path).name))


def absolute(folder: str, path: str) -> str:
    return os.path.normpath(os.path.join(folder, path))


def existing(path: str, *folders: str) -> str:
    """The first file of this name in one of the folders, or ""."""
    if "\0" in path:
        return ""
    candidates = [absolute(folder, path.replace("\\", "/")) for folder in folders]
    return next((c for c in candidates if os.path.isfile(c)), "")


def mask_columns(table: pd.DataFrame, base: Path, root: Path) -> list[str]:
    """Columns of mask paths: `label` and `labels` only if they hold names of files."""
    columns = [c for c in table if c.lower() in MASKS]
    plain = [c for c in columns if c.lower() in ("label", "labels")]
    for column in plain:
        given = next((v for v in table[column] if v), "")
        if not existing(given, os.path.realpath(base), str(root)) or not given:
            columns.remove(column)
    return columns


def match(
    table: pd.DataFrame, manifest: Manifest, places: Places, source: Path, skip: list[str]
) -> tuple[list[list[int]], list[str]]:
    """For every table row the manifest rows it speaks of, and the columns that told so.

    Columns of scan paths are looked for first, then ids and file stems, then patients and series,
    last beginnings of stems (`Places.begun`). Raises UserError LABELS if nothing matches, or a stem
    or beginning could mean two scans; a beginning may mean all scans of one patient.
    """
    columns = [c for c in table if c not in skip]
    paths = [c for c in columns if any(places.at(v) for v in table[c])]
    if paths:
        found = [
            sorted({i for c in paths for i in places.at(row[c])}) for _, row in table.iterrows()
        ]
        check_names(table[paths].agg("".join, axis=1).rename(" and ".join(paths)), source)
        for column in [c for name in IDS for c in columns if c.lower() == name]:
            _refuse_other_scan(found, table[column], paths[0], places, source)
        return found, paths
    ids = [c for name in IDS for c in columns if c.lower() == name]
    for column in ids:
        found = [places.named(value) for value in table[column]]
        if any(found):
            return _by_name(table[column], found, manifest, places, source), [column]
    known = [*patient_columns(table), *(c for c in table if plain_name(c) == SERIES)]
    for column in [c for c in known if c in columns]:
        series = plain_name(column) == SERIES
        prefix, against = ("s", "id") if series else ("p", "patient")
        rows = manifest.table.groupby(against).groups
        found = [list(rows.get(pseudonym(value, prefix), [])) for value in table[column]]
        if any(found):
            check_names(table[column], source, mangled=True, known=_names(table[column], found))
            return found, [column]
    for column in ids:
        found = _by_name(table[column], [[] for _ in table.index], manifest, places, source)
        if any(found):
            return found, [column]
    named = [c for c in table if c.lower() in (*IDS, "path")]
    if named:
        cause = f"nothing in the column {named[0]} names a scan of the manifest"
        cause += f" (line {table.index[0]}: {table[named[0]].iloc[0]!r})" if len(table) else ""
        cause += f"; {places.examples}"
        fix = "give paths relative to the table or to the scans, or what scans are called, whole or up "
        fix += "to one of `_`, `-`, `.` and space"
        raise UserError("LABELS", source, cause, fix)
    cause = f"no row names a scan of the manifest (columns {', '.join(table.columns)}); "
    cause += places.examples
    fix = "add a column `path` (relative to the table or to the scans) or `id`"
    raise UserError("LABELS", source, cause, fix)


def split_names(values: pd.Series, source: Path) -> pd.Series:
    """train, val, test or ""; the index says which line, or what, a word stands for.

    Raises UserError SPLIT for any other word.
    """
    names = values.str.lower().map(SPLIT_WORDS)
    if names.isna().any():
        line = names.index[names.isna().to_numpy().argmax()]
        cause = f"{names.index.name or 'line'} {line} says {values[line]!r}"
        raise UserError("SPLIT", source, cause, "write train, val or test")
    return names


def refuse_contradictions(
    table: pd.DataFrame, matched: list[list[int]], manifest: Manifest, source: Path
) -> None:
    """Raise UserError LABELS if two lines say different things of one scan."""
    seen: dict[int, int] = {}
    for line, rows in enumerate(matched):
        for row in rows:
            first = seen.setdefault(row, line)
            if first != line and not table.iloc[first].equals(table.iloc[line]):
                path = manifest.table.at[row, "path"]
                cause = f"lines {table.index[first]} and {table.index[line]} both speak of {path}"
                raise UserError("LABELS", source, cause, "keep one line a scan")


def _refuse_other_scan(
    found: list[list[int]], ids: pd.Series, by: str, places: Places, source: Path
) -> None:
    """Raise UserError LABELS if a line's id is that of another scan than its path."""
    for line, rows in zip(ids.index, found, strict=True):
        named = places.by_id.get(ids[line])
        if rows and named is not None and named not in rows:
            cause = f"line {line}: {ids.name} {ids[line]!r} and {by} mean different scans"
            raise UserError(
                "LABELS", source, cause, f"correct it, or take out the column {ids.name}"
            )


def _by_name(
    names: pd.Series, found: list[list[int]], manifest: Manifest, places: Places, source: Path
) -> list[list[int]]:
    """The rows found for ids or stems, and for those without any what begins like them.

    Raises UserError TABLE for names that a spreadsheet changed, LABELS for ambiguous ones.
    """
    table, begun = manifest.table, places.begun(names)
    taken = {row for rows in found for row in rows}
    filled = []
    for name, rows in zip(names, found, strict=True):
        begins = [] if rows else [row for row in begun.get(name, []) if row not in taken]
        begins = [row for row in begins if table.at[row, "verdict"] == "used"] or begins
        one_patient = len(set(table.loc[begins, "patient"])) == 1
        if len(rows or begins) > 1 and not (begins and one_patient):
            both = " and ".join(table.loc[(rows or begins)[:2], "path"])
            fix = "add a column `path`"
            if begins:
                fix += "; or, if the id is a patient's, call the column patient_id and give "
                fix += "patient_pattern=, as a regular expression for it in the paths"
            raise UserError("LABELS", source, f"{name!r} could mean {both}", fix)
        filled.append(rows or begins)
    if any(filled):
        check_names(names, source, mangled=True, known=_names(names, filled))
    check_zeros(names[[not rows for rows in filled]], places.names, source)
    return filled


def _names(values: pd.Series, found: list[list[int]]) -> set[str]:
    """The cells that do name a scan, however odd they look."""
    return {value for value, rows in zip(values, found, strict=True) if rows}
