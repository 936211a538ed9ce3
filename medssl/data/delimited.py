"""CSV files of any spreadsheet, read as text, and the traces that spreadsheets leave in them."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from medssl.errors import UserError

SEPARATORS = ",;\t"
NO_VALUE = re.compile(r"[+-]?(nan|inf|infinity)|#(n/?a|ref!?|name\?|value!|div/0!?|num!?)", re.I)
PERHAPS_NO_VALUE = re.compile(r"na|n/a|null|none|<na>|-|\?", re.I)  # in a column of numbers
SCIENTIFIC = re.compile(r"[+-]?\d+([.,]\d+)?[eE][+-]?\d+")
MONTH = r"(jan|feb|mar|mrz|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)"
DATE = re.compile(
    rf"\d{{1,4}}([-/.])\d{{1,2}}\1\d{{1,4}}|\d{{1,2}}[-. /]{MONTH}([-. /]\d+)?|{MONTH}[-. /]\d{{1,4}}",
    re.I,
)
DAY_OF_MONTH = re.compile(rf"\d{{1,2}}-{MONTH}|{MONTH}-\d{{1,2}}", re.I)
SHOWN = 20


def read_table(path: Path) -> pd.DataFrame:
    """A CSV with commas, semicolons or tabs: all cells stripped text, the index their line numbers.

    UTF-8, with a mark or without, or UTF-16 with one; lines that are empty are left out, and so is
    an unnamed first column that only counts lines. Raises UserError TABLE that says what to mend.
    """
    text = text_of(path)
    first, _, rest = text.partition("\n")
    if re.fullmatch(rf"sep=[{SEPARATORS}]", first.strip(), re.I):  # Excel's own first line
        separator, text, skipped = first.strip()[-1], rest, 1
    else:
        separator, skipped = max(SEPARATORS, key=first.count), 0
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    lines, cells, begin = [], [], 1
    try:
        for row in reader:
            row = [cell.strip() for cell in row]
            if any(row):
                lines.append(begin + skipped)
                cells.append(row)
            begin = reader.line_num + 1
    except csv.Error as error:
        cause = f"is no table (line {begin + skipped}: {error})"
        fix = "close every quote, and give a CSV with one header line"
        raise UserError("TABLE", path, cause, fix) from error
    if not cells:
        raise UserError("TABLE", path, "is empty", "give a CSV with one header line")
    header, *cells = cells
    cells = [_fitted(row, header, line, path) for row, line in zip(cells, lines[1:], strict=True)]
    table = pd.DataFrame(cells, columns=header, index=lines[1:], dtype="str")
    return _named(table, path)


def check_names(
    values: pd.Series, source: Path, empty: bool = True, mangled: bool = False, known=()
) -> None:
    """Raise UserError TABLE for cells that name no scan or patient.

    That is empty ones (`empty`), errors of a spreadsheet, and (`mangled`) what a spreadsheet made of
    an id: 1.00E+05, or dates where not all are dates. What is among the `known` names is right.
    """
    if empty and (values == "").any():
        cause = f"{_lines(values == '')}: {values.name} is empty"
        raise UserError("TABLE", source, cause, "fill these cells or take the lines out")
    wrong = values.map(lambda v: bool(NO_VALUE.fullmatch(v)) and v not in known)
    if mangled:
        given = values[values != ""]
        dates = given.map(lambda v: bool(DATE.fullmatch(v)))
        odd = given.map(lambda v: bool(SCIENTIFIC.fullmatch(v)))
        wrong |= (odd | (dates & (not dates.all()))).reindex(values.index, fill_value=False)
        wrong &= ~values.isin(list(known))
    if wrong.any():
        cause = f"{_lines(wrong)}: {values.name} is {values[wrong].iloc[0]!r}"
        cause += ", which looks like what a spreadsheet made of an id"
        fix = "import the column as text, type the ids again, and save as CSV UTF-8"
        raise UserError("TABLE", source, cause, fix)


def check_zeros(values: pd.Series, names: Iterable[str], source: Path) -> None:
    """Raise UserError TABLE for ids that are no names, but are with zeros in front of them."""
    bare = {name.lstrip("0"): name for name in names if name.isdigit()}
    cut = values.map(lambda v: v.isdigit() and v.lstrip("0") in bare).astype(bool)
    if cut.any():
        first = values[cut].iloc[0]
        cause = f"{_lines(cut)}: {values.name} is {first!r}, a scan is called "
        cause += f"{bare[first.lstrip('0')]!r}: a spreadsheet took the zeros away"
        fix = "import the column as text, type the ids again, and save as CSV UTF-8"
        raise UserError("TABLE", source, cause, fix)


def check_labels(values: pd.Series, source: Path) -> None:
    """Raise UserError LABELS for cells that say NaN, infinite or an error instead of a label.

    Words such as NA or none count as that only in a column whose other cells are numbers. Also for
    days of a month among other words.
    """
    wrong = values.map(lambda v: bool(NO_VALUE.fullmatch(v)))
    perhaps = values.map(lambda v: bool(PERHAPS_NO_VALUE.fullmatch(v)))
    others = values[~(wrong | perhaps) & (values != "")]
    if len(others) and pd.to_numeric(others, errors="coerce").notna().all():
        wrong |= perhaps
    if wrong.any():
        cause = f"{_lines(wrong)}: {values.name} is {values[wrong].iloc[0]!r}"
        raise UserError("LABELS", source, cause, "leave a cell empty where the label is unknown")
    months = values.map(lambda v: bool(DAY_OF_MONTH.fullmatch(v)))
    if months.any() and (~months & (values != "")).any():
        cause = f"{_lines(months)}: {values.name} is {values[months].iloc[0]!r}, a date among words"
        fix = "a spreadsheet makes dates of names such as MARCH2: import the column as text"
        raise UserError("LABELS", source, cause, fix)


def text_of(path: Path) -> str:
    """A text file's content. Raises UserError TABLE for what is no UTF-8 or UTF-16."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        cause = f"cannot be read ({error.strerror})"
        raise UserError("TABLE", path, cause, "check the path") from error
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        cause = f"is not {encoding.removesuffix('-sig').upper()} (byte {error.start}, line {line}; Latin-1?)"
        fix = "save it as UTF-8, or convert it: iconv -f LATIN1 -t UTF-8"
        raise UserError("TABLE", path, cause, fix) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        cause = f"holds NUL characters (line {line}; UTF-16 without a mark?)"
        raise UserError("TABLE", path, cause, "save it as CSV UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _fitted(row: list[str], header: list[str], line: int, path: Path) -> list[str]:
    """A line cut of empty cells beyond the header. Raises UserError TABLE for another length."""
    while len(row) > len(header) and not row[-1]:
        row = row[:-1]
    if len(row) != len(header):
        cause = f"line {line} has {len(row)} cells, the header {len(header)}"
        fix = "check the separators (comma, semicolon or tab), and quote text that holds one"
        raise UserError("TABLE", path, cause, fix)
    return row


def _named(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    names = list(table.columns)
    keep = [True] * len(names)
    for place, name in enumerate(names):
        if not name:
            column = table.iloc[:, place]
            counts = column.tolist() == [str(n) for n in range(len(column))] and place == 0
            keep[place] = not (counts or (column == "").all())
            if keep[place]:
                cause = f"column {place + 1} has no name in the header"
                raise UserError("TABLE", path, cause, "name it or take it out")
    table = table.loc[:, keep]
    twice = [name for name, count in Counter(table.columns).items() if count > 1]
    if twice:
        cause = f"several columns are called {', '.join(twice)}"
        raise UserError("TABLE", path, cause, "give every column a name of its own")
    return table


def _lines(which: pd.Series) -> str:
    numbers = [str(line) for line in which.index[which]]
    more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
    return f"line{'s' if len(numbers) > 1 else ''} {', '.join(numbers[:SHOWN])}{more}"
