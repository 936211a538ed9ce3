"""How large the classes of masks are in a cohort, and in which masks they are unusual.

Sizes are in ml, of films in % of the picture, where a pixel's size is seldom known.
"""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from medssl.data.outliers import FEWEST, MAD_TO_SD
from medssl.data.volume import Volume

SPREADS = 5.0  # robust standard deviations of the logarithm beyond which a size is unusual
LEAST_SPREAD = 0.05  # so that classes of nearly one size are not unusual within a quarter of it
NEARLY_ALL = 0.9  # share of the masks that have a class, from which on it is missing in the others
ML = 1000.0  # cubic mm


def class_sizes(mask: Volume) -> pd.Series:
    """The size of every value above 0 of an integer mask (1, *shape), by value."""
    most = int(mask.array.max()) + 1
    # A plane at a time: bincount makes 8 bytes of every voxel.
    counts = sum(np.bincount(plane.ravel(), minlength=most) for plane in mask.array[0])
    counts[0] = 0
    values = np.flatnonzero(counts)
    one = math.prod(mask.spacing) / ML if mask.ndim == 3 else 100 / math.prod(mask.shape)
    return pd.Series(counts[values] * one, values, dtype=float)


def tabulated(sizes: Mapping[str, pd.Series], units: Mapping[str, str]) -> pd.DataFrame:
    """A line a mask and class (id, value, size, unit), of what `class_sizes` says of each mask."""
    if not sizes:
        return pd.DataFrame({"id": [], "value": [], "size": [], "unit": []})
    table = pd.concat(sizes, names=["id", "value"]).rename("size").reset_index()
    return table.assign(unit=table["id"].map(units))


def class_table(sizes: pd.DataFrame) -> pd.DataFrame:
    """A line a class: value, masks that have it, and their median, smallest and largest size."""
    classes = sizes.groupby(["value", "unit"])["size"]
    table = classes.agg(masks="size", median="median", smallest="min", largest="max")
    table = table.round(6).reset_index()
    return table[["value", "masks", "median", "smallest", "largest", "unit"]]


def unusual_sizes(sizes: pd.DataFrame, units: Mapping[str, str]) -> pd.DataFrame:
    """Classes that are far larger or smaller in a mask than in others, or missing where nearly all
    have them (size 0): id, value, size, usual (the median), unit; the farthest off first.

    `units` holds every mask, also those without any class. Among fewer than `FEWEST` nothing is usual.
    """
    classes = sizes.groupby(["value", "unit"])["size"]
    logs = np.log(sizes["size"])
    by = [sizes["value"], sizes["unit"]]
    off = logs - logs.groupby(by).transform("median")
    spread = MAD_TO_SD * off.abs().groupby(by).transform("median")
    spreads = off.abs() / spread.clip(lower=LEAST_SPREAD)
    odd = (spreads > SPREADS) & (classes.transform("size") >= FEWEST)
    found = sizes.assign(usual=classes.transform("median"), spreads=spreads)[odd]
    found = pd.concat([found, _missing(sizes, pd.Series(units, dtype=object))])
    found = found.sort_values("spreads", ascending=False, kind="stable")
    return found[["id", "value", "size", "usual", "unit"]].reset_index(drop=True)


def of_scans(unusual: pd.DataFrame) -> dict[str, list[dict]]:
    """What `unusual_sizes` found of every mask, masks with most such classes first."""
    found = {
        id: rows.drop(columns="id").to_dict("records")
        for id, rows in unusual.groupby("id", sort=False)
    }
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def _missing(sizes: pd.DataFrame, units: pd.Series) -> pd.DataFrame:
    rows = []
    for (value, unit), those in sizes.groupby(["value", "unit"]):
        all_of_unit = units.index[units == unit]
        if len(all_of_unit) >= FEWEST and NEARLY_ALL <= len(those) / len(all_of_unit) < 1:
            rows += [
                {"id": id, "value": value, "size": 0.0, "usual": those["size"].median(),
                 "unit": unit, "spreads": math.inf}
                for id in all_of_unit.difference(those["id"], sort=False)
            ]  # fmt: skip
    return pd.DataFrame(rows, columns=["id", "value", "size", "usual", "unit", "spreads"])
