"""Cross-validation: folds of patients, or of whole sites, as files that other tools read too."""

import json
from pathlib import Path

import pandas as pd

from medssl.data.delimited import read_table
from medssl.data.files import write_atomically, write_csv
from medssl.data.tables import split_names
from medssl.errors import UserError
from medssl.seeding import generator

JSON = "an nnU-Net splits_final.json: a list of {train: [...], val: [...]}"


def folds(
    table: pd.DataFrame, n: int, seed: int = 0, stratify: str | None = None, site: str | None = None
) -> pd.Series:
    """The fold 0..n-1 of every row, whole patients together; a function of seed and patients.

    stratify  a column whose values every fold holds in proportion; a patient counts for its highest
    site      a column whose values stay together, the largest dealt first, so that every fold is tested on
              sites that its training has not seen

    Raises UserError SPLIT for fewer patients or sites than folds, and for a patient of two sites.
    """
    whole = table[site].astype("str") if site else table["patient"]
    if site and (torn := whole.groupby(table["patient"]).nunique().gt(1)).any():
        raise UserError(
            "SPLIT", site, f"patient {torn.idxmax()} has scans of several",
            "mend the column, or make folds of patients",
        )  # fmt: skip
    rows = whole.value_counts().sort_index()
    if n < 2 or n > len(rows):
        kind = "sites" if site else "patients"
        raise UserError(
            "SPLIT", "folds", f"found {n}, there are {len(rows)} {kind}",
            f"ask for 2 to {max(2, len(rows))}",
        )  # fmt: skip
    rows = rows.iloc[generator(seed, "folds").permutation(len(rows))]
    if site:
        rows, filled, of = rows.sort_values(ascending=False, kind="stable"), [0] * n, {}
        for name, count in rows.items():
            of[name] = filled.index(min(filled))
            filled[of[name]] += count
    else:
        values = table[stratify].astype("str") if stratify else pd.Series("", index=table.index)
        stratum = values.groupby(whole).max()[rows.index].sort_values(kind="stable")
        of = {patient: place % n for place, patient in enumerate(stratum.index)}
    return whole.map(of).rename("fold")


def nested(fold: pd.Series, test: int) -> pd.Series:
    """Splits in which fold `test` is tested and the next one validates; the others train."""
    n = int(fold.max()) + 1
    place = (fold - test) % n
    return place.map(lambda p: "test" if p == 0 else "val" if p == 1 and n > 2 else "train")


def write(table: pd.DataFrame, fold: pd.Series, out: Path) -> None:
    """fold_K.csv (id, split) of each fold; splits_final.json as nnU-Net reads it; datalist_folds.json
    as MONAI's Auto3DSeg does."""
    out.mkdir(parents=True, exist_ok=True)
    n = int(fold.max()) + 1
    for k in range(n):
        write_csv(
            out / f"fold_{k}.csv", pd.DataFrame({"id": table["id"], "split": nested(fold, k)})
        )
    pairs = [
        {"train": list(table["id"][fold != k]), "val": list(table["id"][fold == k])}
        for k in range(n)
    ]
    listed = {
        "training": [{"image": i, "fold": int(f)} for i, f in zip(table["id"], fold, strict=True)]
    }
    for name, content in (("splits_final.json", pairs), ("datalist_folds.json", listed)):
        text = json.dumps(content, indent=1)
        write_atomically(out / name, lambda p, t=text: p.write_text(t))


def read(path: Path, fold: int = 0) -> dict[str, str]:
    """Split by id, from a CSV of id and split, or from fold `fold` of nnU-Net's splits_final.json, whose
    `val` is what it tests on: it is taken as test and, for want of another, chooses nothing.

    Raises UserError SPLIT.
    """
    path = Path(path)
    named = _of_json(path, fold) if path.suffix == ".json" else read_table(path)
    if not {"id", "split"} <= set(named):
        cause = f"has no columns id and split (found {', '.join(named)})"
        raise UserError("SPLIT", path, cause, f"give a CSV with both, or {JSON}")
    if (twice := named["id"][named["id"].duplicated()]).any():
        raise UserError("SPLIT", path, f"names {twice.iloc[0]} twice", "name every scan once")
    found = dict(zip(named["id"], split_names(named["split"], path), strict=True))
    return found


def _of_json(path: Path, fold: int) -> pd.DataFrame:
    try:
        one = json.loads(path.read_text(encoding="utf-8-sig"))[fold]
        sides = {"train": one["train"], "test": one["val"]}
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        cause = f"holds no fold {fold} ({type(error).__name__}: {error})"
        raise UserError("SPLIT", path, cause, f"give {JSON}") from error
    rows = [(id, split) for split, ids in sides.items() for id in ids]
    return pd.DataFrame(rows, columns=["id", "split"], dtype="str")


def resplit(items: pd.DataFrame, path: Path, fold: int = 0) -> pd.DataFrame:
    """A store's items with the splits of a file; those that it does not name have none.

    Raises UserError SPLIT if it names none of them, or parts a patient's scans.
    """
    of = read(path, fold)
    split = items["id"].map(of).fillna("")
    if not split.ne("").any():
        raise UserError(
            "SPLIT", path, f"names none of the {len(items)} scans", "use the ids of this store"
        )
    named = items.assign(split=split)[split != ""]
    torn = named.groupby("patient")["split"].nunique().gt(1)
    if torn.any():
        raise UserError(
            "SPLIT", path, f"{torn.sum()} patients are in several splits, as {torn.idxmax()}",
            "put all scans of a patient into one split",
        )  # fmt: skip
    return items.assign(split=split)
