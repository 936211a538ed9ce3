"""Which scans or slices of a store are kept: a view on it, nothing is deleted.

A folder with `selection.parquet`, a row for each scan or slice in anatomical order, and `selection.json`,
how it was chosen and of which store.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.data.files import write_atomically
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
        text = json.dumps(about, indent=1)
        write_atomically(folder / "selection.json", lambda p: p.write_text(text))

    @classmethod
    def read(cls, folder: Path, store: Store) -> "Selection":
        """Raises UserError SELECTION if there is none, STALE if it is of another store's scans."""
        folder = Path(folder)
        try:
            about = json.loads((folder / "selection.json").read_text())
            table = pd.read_parquet(folder / "selection.parquet")
            if about["format"] != FORMAT or list(table.columns) != list(COLUMNS):
                raise ValueError(f"format {about['format']}, columns {', '.join(table.columns)}")
            known = about["store"]
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
        return cls(table, about)

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
