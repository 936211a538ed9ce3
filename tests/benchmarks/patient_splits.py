"""Does the guard leave real splits by patient alone?

    python -m tests.benchmarks.patient_splits patient_splits.csv STORE...

Of every store the training part is put on record as a fine-tuning does, and its validation and test parts
are asked for, as a fine-tuning and an evaluation ask. Where patients are really apart nobody may be
refused. Writes, a row a store and part, how many scans and patients it has, how many patients the guard
refuses (known by id, by files, by pixels), and how many scans it lists as look-alikes.

Measured on five public sets whose splits part patients or groups of near copies (MR of the hippocampus and
of heads, films of tumours and of chests, CT slices): nobody of 769 patients is refused. Of 1,299 held-out
scans 5 are listed, and all 5 are a scan of the training in another contrast or from another print. Of a set
that is known to share scans between its splits, all 251 byte-identical ones are refused, of 394.
"""

import sys
from pathlib import Path

import pandas as pd

from medssl.data.leakage import look_alikes, overlap, record, refuse_overlap
from medssl.data.store import Store
from medssl.data.subset import of_splits
from medssl.errors import UserError


def main(out: Path, folders: list[Path]) -> pd.DataFrame:
    table = pd.DataFrame([row for folder in folders for row in judged(folder)])
    table.to_csv(out, index=False)
    return table


def judged(folder: Path) -> list[dict]:
    items = Store.read_from(folder).items
    train, rows = of_splits(items, ["train"]), []
    card = record({}, train=train)
    for part in ("val", "test"):
        held_out = of_splits(items, [part])
        known = {
            name: int(held_out.loc[held_out[column].isin(train[column]), "patient"].nunique())
            for name, column in (("id", "patient"), ("files", "source"), ("pixels", "pixels"))
        }
        found = overlap(card, held_out)
        alike = look_alikes(card, held_out)
        rows.append({
            "store": str(folder), "part": part, "trained on": len(train), "scans": len(held_out),
            "patients": held_out["patient"].nunique(), "refused": len(found.get("train", [])),
            "raised": raised(found, folder),
            **{f"known by {name}": n for name, n in known.items()},
            "look-alikes": alike["scan"].nunique(),
        })  # fmt: skip
    return rows


def raised(found: dict, folder: Path) -> str:
    try:
        refuse_overlap(found, folder, allow=False)
    except UserError as error:
        return error.code
    return ""


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), list(map(Path, sys.argv[2:]))).to_string(index=False))
