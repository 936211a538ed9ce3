"""Figures of a part of the cases: of each value of a column, such as sex, site or scanner."""

import pandas as pd

from medssl.evaluation.intervals import Interval
from medssl.evaluation.summary import summary

MOST = 8  # values that are told apart; numbers with more are parted into thirds
UNKNOWN = "not known"


def grouped(values: pd.Series) -> pd.Series:
    """Each case's group, as text: its value, or of numbers with more than MOST the third it lies in, or
    of names with more the MOST - 1 most frequent and "others". What is empty is UNKNOWN."""
    text = values.map(lambda v: "" if pd.isna(v) else f"{v:g}" if isinstance(v, float) else str(v))
    known = text[text != ""]
    if known.nunique() > MOST:
        numbers = pd.to_numeric(known, errors="coerce")
        if numbers.notna().all():
            parts = pd.qcut(numbers, 3, duplicates="drop")
            ends = numbers.groupby(parts, observed=True).agg(["min", "max"])
            known = parts.astype(object).map(
                lambda p: f"{ends.loc[p, 'min']:g} to {ends.loc[p, 'max']:g}"
            )
        else:
            frequent = known.value_counts().index[: MOST - 1]
            known = known.where(known.isin(frequent), "others")
    return known.reindex(values.index).fillna(UNKNOWN)


def by_group(
    cases: pd.DataFrame, groups: pd.Series, **bootstrapped
) -> dict[str, dict[str, Interval]]:
    """Every figure of the cases of each group; `groups` are by id, `bootstrapped` takes n and seed."""
    of_case = cases["id"].map(groups)
    return {name: summary(cases[of_case == name], **bootstrapped) for name in in_order(of_case)}


def in_order(groups: pd.Series) -> list[str]:
    """The groups that there are: numbers by size, then words, then what is not known."""
    return sorted(groups.unique(), key=_order)


def _order(name: str) -> tuple:
    first = name.split(" ")[0]
    try:
        return (0, float(first), name)
    except ValueError:
        return (2 if name == UNKNOWN else 1, 0.0, name)
