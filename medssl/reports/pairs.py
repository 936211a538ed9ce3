"""Pairs of images for the page about a selection: kept and dropped, a scan and its copy."""

from itertools import islice

import numpy as np
import pandas as pd

from medssl.data.selection import WHOLE
from medssl.data.store import Store
from medssl.seeding import generator

MOST = 12
# (kept, dropped, name of the one, of the other, distance or likeness)
Pair = tuple[np.ndarray, np.ndarray, str, str, float]


def dropped(store: Store, table: pd.DataFrame, seed: int) -> list[Pair]:
    """Of a selection: the most distant pairs, one a scan, then some drawn by chance.

    Of a coreset, where nothing stands for what is dropped: a kept one, and one farthest from the target.
    """
    known = [i for i in store.items["id"] if shown(store, i)]  # a kept image is drawn as well
    if (table.loc[~table["kept"], "representative"] == "").all():
        return _ends(store, table[table["item"].isin(known) & ~table["blank"]])
    drawable = table["item"].isin(known) & table["representative"].isin(known) & ~table["blank"]
    dropped = table[~table["kept"] & drawable]
    far = dropped.sort_values("distance", ascending=False, kind="stable")
    far = far.drop_duplicates("item").head(MOST // 2)
    rest = dropped.drop(far.index)
    drawn = generator(seed, "pairs").permutation(len(rest))[: MOST - len(far)]
    return [
        (
            picture(store, row.representative, row.representative_slice),
            picture(store, row.item, row.slice),
            _named(row.representative, row.representative_slice), _named(row.item, row.slice),
            float(row.distance),
        )
        for row in pd.concat([far, rest.iloc[np.sort(drawn)]]).itertuples()
    ]  # fmt: skip


def _ends(store: Store, table: pd.DataFrame) -> list[Pair]:
    """The nearest that is kept of each scan, beside the farthest that is dropped of each."""
    near, far = (
        part.sort_values("distance", ascending=up, kind="stable")
        .drop_duplicates("item")
        .itertuples()
        for part, up in ((table[table["kept"]], True), (table[~table["kept"]], False))
    )
    return [
        (
            picture(store, one.item, one.slice), picture(store, other.item, other.slice),
            _named(one.item, one.slice), _named(other.item, other.slice), float(other.distance),
        )
        for one, other in islice(zip(near, far, strict=False), MOST // 2)
    ]  # fmt: skip


def copied(store: Store, other: Store | None, copies: pd.DataFrame | None) -> list[Pair]:
    """Of copies, in their order: scans of one store, copies in the other."""
    if copies is None:
        return []
    apart = copies.drop_duplicates("scan").drop_duplicates("copy")  # no picture twice
    rows = [r for r in apart.itertuples() if shown(store, r.scan) and shown(other, r.copy)]
    return [
        (
            picture(store, r.scan, WHOLE), picture(other, r.copy, WHOLE),
            r.scan, r.copy, float(r.alike),
        )
        for r in rows[:MOST]
    ]  # fmt: skip


def shown(store: Store, item: str) -> bool:
    """Whether a report may show it: a name written into the pixels would be passed on with it."""
    return not ("burned_in" in store.items and store.items.at[item, "burned_in"])


def picture(store: Store, item: str, z: int) -> np.ndarray:
    """A film, an axial slice (the middle one of a whole scan), as a reader expects it: (rows, columns)."""
    if store.ndim == 2:
        return store.read(item).mean(0)
    depth = store.shape(item)[2]
    z = depth // 2 if z == WHOLE else z
    low, high = [0, 0, z], [*store.shape(item)[:2], z + 1]
    return store.read(item, low, high).mean(0)[::-1, ::-1, 0].T


def _named(item: str, z: int) -> str:
    return item if z == WHOLE else f"{item} slice {z}"
