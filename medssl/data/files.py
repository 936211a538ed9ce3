"""Writing files so that a reader sees the old one or the new one, never half of it."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from medssl.errors import UserError

FORMULA = re.compile(r"^([=+\-@\t\r])")


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Text that a spreadsheet would run as a formula gets a leading quote; numbers stay numbers."""
    table = table.copy()
    for column in table.select_dtypes(["str", "object"]):
        text = table[column].map(lambda value: isinstance(value, str))
        table.loc[text, column] = table.loc[text, column].str.replace(FORMULA, r"'\1", regex=True)
    return table


def write_csv(path: Path, table: pd.DataFrame, private: bool = False) -> None:
    """A table as CSV, without formulas."""
    safe = without_formulas(table)
    write_atomically(path, lambda p: safe.to_csv(p, index=False), private)


def refuse_inside(out: Path, scans: Path) -> None:
    """Raise UserError if `out` is `scans`, lies inside it, or is the folder of a single scan."""
    real, source = Path(out).resolve(), Path(scans).resolve()
    if real.is_relative_to(source) if source.is_dir() else real == source.parent:
        raise UserError(
            "CONFIG", f"out={out}", f"lies among the scans {scans}, which are never written to",
            "choose a folder elsewhere",
        )  # fmt: skip


def write_atomically(path: Path, write: Callable[[Path], object], private: bool = False) -> None:
    """Call `write(temporary path)`, flush it to disk, then give it its name.

    A `private` file is readable by its owner only, from its first byte on.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        if private:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        write(temporary)
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
