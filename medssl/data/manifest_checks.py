"""Whether a manifest that was read can be trusted: somebody may have edited it, or made it."""

import json
import os
import re
from pathlib import Path

import pandas as pd

from medssl.data.paths import listed
from medssl.data.patients import PATIENT
from medssl.errors import UserError

SPLITS = ("train", "val", "test")
LARGEST_LABEL = 65535
ID = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,249}"  # ids become names of files
FORMS = {
    "files": r'(?s)\[".*"\]',
    "format": "(dicom|nifti|itk|image2d)?", "verdict": "used|refused", "shape": r"(\d+(x\d+)*)?",
    "spacing": r"([\d.e+-]+(x[\d.e+-]+)*)?", "orientation": "([LRAPIS]{3})?",
}  # fmt: skip
# Only what may be a path upwards is worth parsing: `files` can hold hundreds of names a row.
UPWARDS = re.compile(r'"/|\.\.[/"]|\\')


def checked_about(content: bytes, schema: int, path: Path) -> dict:
    """What a manifest says of itself: root, notes and recoded values. Raises UserError MANIFEST."""
    fix = "make it anew with `medssl index`"
    try:
        about = json.loads(content)
        found = about.get("schema", "missing")
    except (ValueError, AttributeError, RecursionError) as error:
        raise UserError("MANIFEST", path, "what it says of itself is damaged", fix) from error
    if found != schema:
        cause = f"schema {found}, this version reads {schema}"
        raise UserError("MANIFEST", path, cause, fix)
    root, notes = about.get("root"), about.get("notes")
    whole = isinstance(root, str) and "\0" not in root and isinstance(notes, list)
    if not whole or not all(isinstance(note, str) for note in notes):
        raise UserError("MANIFEST", path, "its root or its notes are damaged", fix)
    recode = about.get("recode", {})
    numbers = [*map(str, recode), *map(str, recode.values())] if isinstance(recode, dict) else ["-"]
    if not all(re.fullmatch(r"\d{1,5}", n, re.ASCII) and int(n) <= LARGEST_LABEL for n in numbers):
        raise UserError("MANIFEST", path, "its recoded values are damaged", fix)
    return about


def check_table(table: pd.DataFrame, columns: tuple[str, ...], path: Path) -> None:
    """Raise UserError MANIFEST, SPLIT or PATH for a table that `medssl index` would not write.

    Files of scans lie below the root; masks may lie beside it but are never absolute.
    """
    fix = "make it anew with `medssl index`"
    lost = [column for column in columns if column not in table]
    if lost:
        raise UserError("MANIFEST", path, f"columns are missing: {', '.join(lost)}", fix)
    for column in columns:
        if not all(isinstance(value, str) for value in table[column]):
            raise UserError("MANIFEST", path, f"the column {column} is not all text", fix)
        form = re.compile(FORMS.get(column, r"(?s).*"))
        odd = [v for v in table[column].unique() if not form.fullmatch(v)]
        if odd:
            cause = f"{column} of {listed(table['id'][table[column].isin(odd)].tolist(), 5)} is "
            raise UserError("MANIFEST", path, cause + f"{odd[0][:40]!r}", fix)
    good = table["id"].map(lambda id: isinstance(id, str) and bool(re.fullmatch(ID, id)))
    if not good.all():
        rows = [str(n) for n, fine in enumerate(good, 1) if not fine]
        cause = f"rows without an id of letters, digits, '.', '_' and '-': {listed(rows)}"
        raise UserError("MANIFEST", path, cause, fix)
    twice = table["id"][table["id"].duplicated()].unique().tolist()
    if twice:
        raise UserError("MANIFEST", path, f"ids given more than once: {listed(twice)}", fix)
    odd = table[~table["split"].isin([*SPLITS, ""])]
    if len(odd):
        cause = f"split of {listed(odd['id'].tolist())} is {odd['split'].iloc[0]!r}"
        raise UserError("SPLIT", path, cause, "write train, val, test or nothing")
    # What has no format is never opened: it is listed only, such as a broken mask beside the scans.
    suspects = table[(table["format"] != "") & table["files"].str.contains(UPWARDS)]
    away = [
        id for id, files in zip(suspects["id"], suspects["files"], strict=True) if _leads_out(files)
    ]
    masks = table["label_mask"].str.match(r"/") | table["label_mask"].str.contains(
        "\0", regex=False
    )
    away += table["id"][masks].tolist()
    if away:
        cause = f"files of {listed(away)} lie outside the folder of the scans"
        raise UserError("PATH", path, cause, fix)


def check_pseudonyms(scans: pd.DataFrame) -> None:
    """Raise UserError PATIENT if a patient of these rows goes by a name that is not a salted id."""
    raw = ~scans["patient"].str.fullmatch(PATIENT)
    if raw.any():
        raise UserError(
            "PATIENT", scans["id"][raw.idxmax()],
            f"its patient and those of {raw.sum() - 1} more scans are not named by salted ids",
            "give patients to `medssl index` by labels=, splits= or patient_pattern=",
        )  # fmt: skip


def _leads_out(files: str) -> bool:
    """Whether any path of a JSON list does, or the list is none."""
    try:
        plain = [os.path.normpath(file) for file in json.loads(files)]
    except (ValueError, TypeError):
        return True
    return any(os.path.isabs(p) or p.split("/")[0] == ".." or "\0" in p for p in plain)
