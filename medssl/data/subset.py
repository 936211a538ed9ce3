"""Choosing scans out of a store: by split, and a few labelled ones for label-efficiency."""

import hashlib

import pandas as pd

from medssl.errors import UserError
from medssl.seeding import generator


def of_splits(items: pd.DataFrame, splits: list[str]) -> pd.DataFrame:
    """Items whose split is one of `splits`; "", or none at all, stands for scans without a split."""
    return items[items["split"].isin(splits or [""])]


def few(items: pd.DataFrame, n: int, draw: int, by: str = "") -> pd.DataFrame:
    """`n` items by drawing patients; 0 means all. Draw d with n is contained in draw d with n + 1.

    With `by`, the classes in that column take turns, so that few labels still show every class.
    Raises UserError when there are fewer than `n`.
    """
    if not n:
        return items
    if n > len(items):
        raise UserError(
            "CONFIG", "labelled", f"{n} scans were asked for, {len(items)} are labelled",
            f"ask for at most {len(items)}",
        )  # fmt: skip
    patients = sorted(items["patient"].unique())
    rank = dict(zip(patients, generator(draw, "few").permutation(len(patients)), strict=True))
    ordered = items.assign(_rank=items["patient"].map(rank)).sort_values(["_rank", "id"])
    if by:
        ordered["_turn"] = ordered.groupby(by).cumcount()
        ordered = ordered.sort_values(["_turn", "_rank", "id"])
    return ordered.head(n)[items.columns]


def digest(items: pd.DataFrame) -> str:
    """Stands for a set of scans, and names none."""
    return hashlib.sha256("\n".join(sorted(items.index)).encode()).hexdigest()[:12]
