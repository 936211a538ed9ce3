"""Label columns: of which type they are, and how a second table adds to one."""

import re
from numbers import Integral
from pathlib import Path

import pandas as pd

from medssl.errors import UserError

NAME_OF_DIGITS = re.compile(r"[+-]?(0\d|\d{19})")  # led by zeros, or more than numbers hold


def typed(values: pd.Series) -> pd.Series:
    """Whole numbers or numbers if every given value is one, else text.

    "01" is a name and not 1, and so are more digits than a number holds.
    """
    given = values[values != ""]
    if given.empty or given.str.match(NAME_OF_DIGITS).any():
        return values
    numbers = pd.to_numeric(given, errors="coerce")
    if numbers.isna().any():
        return values
    whole = (numbers % 1 == 0).all() and given.str.fullmatch(r"[+-]?\d{1,18}").all()
    return numbers.astype("Int64" if whole else "Float64").reindex(values.index)


def write(table: pd.DataFrame, column: str, values: dict[int, object], source: Path) -> None:
    """Put values by row into a manifest's column; a second source may fill gaps of the first.

    Raises UserError LABELS where it contradicts it (but for patients, which the last source names).
    """
    new = pd.Series(values)
    if column not in table:
        text = any(isinstance(v, str) for v in values.values())
        whole = all(isinstance(v, Integral) or v is pd.NA for v in values.values())
        kind = "str" if text else "Int64" if whole else "Float64"
        table[column] = pd.Series("" if text else pd.NA, index=table.index, dtype=kind)
    old = table.loc[new.index, column]
    clash = ~_same(old, new) & old.notna() & (old.astype("str") != "")
    if column != "patient" and clash.any():
        row = clash.idxmax()
        cause = f"{table.at[row, 'id']} has {column} {old[row]} already, not {new[row]}"
        raise UserError("LABELS", source, cause, "leave out one of the two sources")
    table[column] = _wide_enough(table[column], new)
    table.loc[new.index, column] = new.astype(table[column].dtype)


def _same(old: pd.Series, new: pd.Series) -> pd.Series:
    """Where values are alike: as numbers, if all are numbers (1 is 1.0), or else as text."""
    if not pd.api.types.is_numeric_dtype(old) or any(isinstance(value, str) for value in new):
        return old.astype("str") == new.astype("str")
    a, b = (pd.to_numeric(values).astype("Float64") for values in (old, new))
    return (a == b).fillna(False).astype(bool)


def _wide_enough(column: pd.Series, new: pd.Series) -> pd.Series:
    """A column that can hold other values: of numbers with decimals, or of text."""
    if pd.api.types.is_string_dtype(column):
        return column
    given = new.dropna()
    if any(isinstance(value, str) for value in given):
        return column.astype("object").where(column.notna(), "").astype("str")
    whole = all(isinstance(value, Integral) for value in given)
    return column if whole else column.astype("Float64")
