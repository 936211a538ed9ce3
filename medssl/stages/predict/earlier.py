"""What lies in the folder already: of the same model, which goes on, or of another, which is kept."""

from pathlib import Path

import pandas as pd

from medssl.data.files import without_formulas
from medssl.data.index import Row
from medssl.data.index.row import stamp
from medssl.errors import UserError
from medssl.stages.predict.rows import BOXES, SCORES

NAMES = Path("private/names.csv")
MASK_ENDINGS = (".nii.gz", ".png")


def earlier(path: Path, done: set[str]) -> list[dict]:
    """Rows of scans that were predicted before this sitting."""
    if not done or not path.is_file():
        return []
    table = pd.read_csv(path, dtype={"id": "str"}, keep_default_na=False)
    return table[table["id"].isin(done)].to_dict("records")


def names_of(root: Path, rows: list[Row], weights: str) -> pd.DataFrame:
    """Which file every id stands for, as it was, and which model is asked about it.

    For the owner's eyes, apart from what may be passed on.
    """
    found = [(r.id, r.record(root)["path"], stamp(r.files), weights) for r in rows]
    return pd.DataFrame(found, columns=["id", "path", "stamp", "weights"])


def done_before(out: Path, names: pd.DataFrame) -> set[str]:
    """Ids whose masks this model wrote already, from these files, before it was cut off."""
    if not (out / NAMES).is_file():
        return set()
    before = pd.read_csv(out / NAMES, dtype="str", keep_default_na=False)
    same = without_formulas(names).merge(before) if set(names) <= set(before) else names.iloc[:0]
    return {id for id in same["id"] if any((out / f"{id}{e}").exists() for e in MASK_ENDINGS)}


def refuse_existing(out: Path, ids: list[str]) -> None:
    names = [SCORES, BOXES, *(f"{i}{ending}" for i in ids for ending in MASK_ENDINGS)]
    there = [name for name in names if (out / name).exists()]
    if there:
        raise UserError(
            "EXISTS", out, f"holds {len(there)} earlier predictions ({', '.join(there[:3])})",
            "choose another out=, or replace them with overwrite=true",
        )  # fmt: skip
