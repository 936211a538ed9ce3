"""Which scans or slices of a store are kept: a view on it, nothing is deleted.

A folder with `selection.parquet`, a row for each scan or slice in anatomical order, and `selection.json`,
how it was chosen and of which store.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.data.crops import SLICE_AXIS
from medssl.data.files import write_atomically, write_json
from medssl.data.store import Store
from medssl.errors import UserError, one_line

FORMAT = 1
WHOLE = -1  # instead of a slice's number: the whole scan
COLUMNS = ("item", "slice", "kept", "representative", "representative_slice", "distance", "blank")


@dataclass
class Selection:
    """table  item, slice (-1: the whole scan), kept, representative and representative_slice (the kept
           one that stands for it; itself if kept; empty and -1: none), distance, blank (no content)
    about  how it was chosen
    """

    table: pd.DataFrame
    about: dict

    def write(self, folder: Path, store: Store) -> None:
        about = {"format": FORMAT, **self.about, "store": fingerprint(store)}
        write_atomically(
            folder / "selection.parquet", lambda p: self.table.to_parquet(p, index=False)
        )
        write_json(folder / "selection.json", about)

    @classmethod
    def read(cls, folder: Path, store: Store) -> "Selection":
        """Raises UserError SELECTION if there is none, STALE if it is of another store's scans."""
        folder = Path(folder)
        try:
            about = json.loads((folder / "selection.json").read_text())
            table = pd.read_parquet(folder / "selection.parquet")
            if about["format"] != FORMAT or list(table.columns) != list(COLUMNS):
                raise ValueError(f"format {about['format']}, columns {', '.join(table.columns)}")
            known, whole = about["store"], cls(table, about)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                "SELECTION", folder, f"holds no readable selection ({one_line(error)})",
                "make one with `medssl reduce`",
            ) from error  # fmt: skip
        if known != fingerprint(store):
            raise UserError(
                "STALE", folder, f"was made of other scans than {store.folder} now holds",
                "run `medssl reduce` on this store",
            )  # fmt: skip
        if cause := whole._wrong(store):
            raise UserError(
                "SELECTION", folder / "selection.parquet", cause, "run `medssl reduce` again"
            )
        return whole

    def _wrong(self, store: Store) -> str:
        """What of the table the store cannot give, as after an edit by hand; "" if it fits."""
        table = self.table
        if table["kept"].dtype != bool or not pd.api.types.is_integer_dtype(table["slice"]):
            return "kept is not true or false throughout, or slice is no whole number"
        if strange := sorted(set(table["item"].map(str)) - set(store.items["id"])):
            return f"the store has no scan {strange[0]}"
        if table.duplicated(["item", "slice"]).any():
            return "a scan or slice stands there twice"
        if (table["slice"] == WHOLE).all():
            return ""
        depth = {
            i: store.shape(i)[SLICE_AXIS] if store.ndim == 3 else 0 for i in set(table["item"])
        }
        beyond = table[(table["slice"] < 0) | (table["slice"] >= table["item"].map(depth))]
        told = (f"{r.item} has no slice {r.slice}" for r in beyond.itertuples())
        return next(told, "")

    def words(self, items: pd.DataFrame) -> str:
        """How much of `items` is used, and how many of them were never chosen from."""
        mine = self.table[self.table["item"].isin(items["id"])]
        what = "scans" if self.slices is None else "slices"
        text = f"the selection keeps {mine['kept'].sum()} of {len(mine)} {what}"
        if missing := len(items) - mine["item"].nunique():
            text += f"; {missing} of {len(items)} scans were not among what it chose from, and are left out"
        return text

    def of(self, items: pd.DataFrame) -> pd.DataFrame:
        """The items of which something is kept. Raises UserError EMPTY when it is nothing."""
        kept = items[items["id"].isin(self.table["item"][self.table["kept"]])]
        if kept.empty:
            raise UserError(
                "EMPTY", "selection", "keeps nothing of the scans asked for",
                "run `medssl reduce` on the same splits",
            )  # fmt: skip
        return kept

    @property
    def summary(self) -> dict:
        """What a card keeps: how it was chosen, and which rows were kept, exactly."""
        import xxhash

        kept = self.table.loc[self.table["kept"], ["item", "slice"]].to_csv(index=False)
        return {**self.about, "fingerprint": xxhash.xxh3_128(kept.encode()).hexdigest()}

    @property
    def slices(self) -> dict[str, np.ndarray] | None:
        """Kept slices of each item, rising; None where whole scans were chosen."""
        if (self.table["slice"] == WHOLE).all():
            return None
        kept = self.table[self.table["kept"]]
        return {item: np.sort(rows.to_numpy()) for item, rows in kept.groupby("item")["slice"]}


def fingerprint(store: Store) -> str:
    """32 hex digits of which prepared arrays a store holds, under which ids."""
    import xxhash

    pairs = sorted(zip(store.items["id"], store.items["key"], strict=True))
    return xxhash.xxh3_128(json.dumps(pairs).encode()).hexdigest()
