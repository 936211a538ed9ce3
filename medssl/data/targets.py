"""What a head is to learn: which items carry what is asked for, and its classes."""

from collections import Counter

import numpy as np
import pandas as pd

from medssl.data.store import Store
from medssl.errors import UserError
from medssl.privacy import MOST_CLASSES


def with_masks(store: Store) -> pd.DataFrame:
    """The items that have a label mask. Raises UserError if there is none."""
    if not store.items["has_mask"].any():
        raise UserError(
            "LABELS", store.folder, f"none of its {len(store.items)} scans has a label mask",
            "give labels=MASKS/ to `medssl index` and prepare again",
        )  # fmt: skip
    return store.items[store.items["has_mask"]]


def with_target(store: Store, *targets: str) -> pd.DataFrame:
    """The items that have a value in one of these label columns. Raises UserError for any other one."""
    items = store.items
    for target in targets or [""]:
        if target.startswith("label_") and target in items:
            continue
        known = ", ".join(c for c in items if c.startswith("label_"))
        raise UserError(
            "CONFIG", "target", f"found {target!r}, the store has {known or 'no labels'}",
            "name one of them, or give labels= to `medssl index` and prepare again",
        )  # fmt: skip
    known = [items[t].notna() & (items[t].astype(str) != "") for t in targets]
    return items[np.any(known, axis=0)]


def mask_classes(
    store: Store, items: pd.DataFrame, names: dict[int, str], others: bool = False
) -> dict[int, str]:
    """Mask values of some items and their names, class_1 and so on where `names` is empty.

    Raises UserError if the masks are empty or names are alike, and, unless `others` are background,
    if they hold a value without a name.
    """
    found = mask_values(store, items)
    if not found:
        raise UserError("LABELS", store.folder, "all masks are empty", "check the label masks")
    if not names:
        return {k: nameless(k) for k in found}
    if 0 in names or len(set(names.values())) < len(names):
        raise UserError(
            "CONFIG", "classes", "names the background, or two values alike",
            "give every value above 0 a name of its own; that several become one, such as both sides of an "
            "organ, is said when scans are indexed: `medssl index ... recode='{48: 47}'`",
        )  # fmt: skip
    strange = sorted(set(found) - set(names))
    if strange and not others:
        shown = ", ".join(map(str, strange[:10])) + (", ..." if len(strange) > 10 else "")
        raise UserError(
            "LABELS", "classes", f"masks hold values [{shown}] that classes= does not name",
            "name every value, e.g. classes='{1: liver, 2: spleen}', or let all others be background "
            "with others=true",
        )  # fmt: skip
    if not set(found) & set(names):
        raise UserError(
            "LABELS", "classes", "no mask holds a value that it names", "name values that are there"
        )
    return dict(sorted(names.items()))


def mask_values(store: Store, items: pd.DataFrame) -> list[int]:
    """The values above 0 that the masks of some items hold."""
    return sorted({int(k) for i in items.index for k in np.unique(store.foreground(i)[:, 0])})


def nameless(value: int) -> str:
    """What the class of a mask value is called that nobody has named."""
    return f"class_{value}"


def in_masks(store: Store, items: pd.DataFrame, names: dict[int, str], others: bool) -> Counter:
    """On how many masks each class is, by name; where `others` are background, of those named alone."""
    found = (k for i in items.index for k in {int(k) for k in store.foreground(i)[:, 0]})
    return Counter(names.get(k, nameless(k)) for k in found if k in names or not others)


def in_columns(reads: str, items: pd.DataFrame, columns: list[str]) -> Counter:
    """How many of the items are of each class or grade, or have each label; nothing of a number."""
    if reads in ("class", "grades"):
        return Counter(items[columns[0]].map(_word))
    if reads == "labels":
        there = {c: int((_numbers(items[c], binary=True) == 1).sum()) for c in columns}
        return Counter({c.removeprefix("label_"): n for c, n in there.items()})
    return Counter()


def mask_remarks(
    store: Store, items: pd.DataFrame, classes: dict[int, str], strict: bool, expected: bool = False
) -> list[str]:
    """How many masks are empty, and, unless that is `expected`, how many hold values that are no class, in
    words.

    `strict`: raises UserError LABELS for the latter instead, naming the first scan.
    """
    values = {i: {int(k) for k in np.unique(store.foreground(i)[:, 0])} for i in items.index}
    empty = [i for i, found in values.items() if not found]
    strange = {
        i: sorted(found - set(classes)) for i, found in values.items() if found - set(classes)
    }
    if strange and strict:
        first = next(iter(strange))
        cause = f"its mask holds {strange[first]}, which classes= does not name"
        cause += f" ({len(strange)} of {len(items)} masks do so)" if len(strange) > 1 else ""
        raise UserError(
            "LABELS", first, cause, "name every value, or mend the masks and prepare again"
        )
    remarks = []
    if empty:
        words = f"{len(empty)} of {len(items)} masks are empty: all background"
        remarks.append(f"{words} ({', '.join(empty[:3])})")
    if strange and not expected:
        known = sorted({k for found in strange.values() for k in found})
        shown = ", ".join(map(str, known[:10])) + (", ..." if len(known) > 10 else "")
        words = f"{len(strange)} of {len(items)} masks hold [{shown}], which are no class"
        remarks.append(f"{words}; they count as background ({', '.join([*strange][:3])})")
    return remarks


def target_classes(column: pd.Series) -> dict[int, str]:
    """The classes of a label column by number, in order of their names.

    Raises UserError for one class only, and for numbers that are measured rather than named.
    """
    names = sorted(column.map(_word).unique())
    if len(names) < 2:
        raise UserError(
            "LABELS", column.name, f"the training scans hold one class only: {names}",
            "take more scans (labelled=), or another target",
        )  # fmt: skip
    if len(names) > MOST_CLASSES and 2 * len(names) > len(column):
        raise UserError(
            "LABELS", column.name,
            f"has {len(names)} values for {len(column)} training scans: too many to be classes",
            "sort them into a few classes in the table, and index again",
        )  # fmt: skip
    return dict(enumerate(names))


def target_numbers(column: pd.Series, classes: dict[int, str]) -> dict[str, int]:
    """The class number of every item whose label is one of `classes`."""
    number = {name: k for k, name in classes.items()}
    return {i: number[_word(v)] for i, v in column.items() if _word(v) in number}


def _word(value) -> str:
    """A class as text; 1.0, which a table makes of 1, is 1."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def answers(reads: str, train: pd.DataFrame, columns: list[str], names: dict) -> dict[int, str]:
    """What a head is to tell apart, by number.

    reads    class: the values of the column; grades: these in order; labels: the columns themselves;
             number: the one column
    columns  label columns, one, or for labels several
    names    the classes or grades in their order, where the user gives it: of two the second is what
             figures such as sensitivity are of

    Raises UserError.
    """
    if reads != "labels" and len(columns) != 1:
        raise UserError(
            "CONFIG", "target", f"found {len(columns)} columns, this task answers one",
            "name one label column, or fine-tune multilabel for several",
        )  # fmt: skip
    if reads in ("class", "grades"):
        column = train[columns[0]]
        if names:
            return _named(column, names)
        return target_classes(column) if reads == "class" else _grades(column)
    read_targets(reads, train, columns, dict(enumerate(columns)))  # refuses what is no such value
    return {k: column.removeprefix("label_") for k, column in enumerate(columns)}


def read_targets(
    reads: str, items: pd.DataFrame, columns: list[str], classes: dict[int, str]
) -> dict[str, object]:
    """By item what is true of it: a class number, 0/1/NaN a label (float32 array), or a number. Items
    of which it is not known are left out. Raises UserError LABELS."""
    if reads in ("class", "grades"):
        return target_numbers(items[columns[0]], classes)
    numbers = pd.DataFrame({c: _numbers(items[c], reads == "labels") for c in columns})
    known = numbers.dropna(how="all")
    if reads == "number":
        return known[columns[0]].astype(float).to_dict()
    return dict(zip(known.index, known.to_numpy(np.float32, copy=True), strict=True))


WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}


def _numbers(column: pd.Series, binary: bool) -> pd.Series:
    """A column as float, NaN where it is empty. Raises UserError LABELS for other words."""
    text = column.map(lambda v: "" if pd.isna(v) else _word(v).strip().lower())
    found = pd.to_numeric(text.map(lambda w: WORDS.get(w, w) if binary else w), errors="coerce")
    wrong = (text != "") & (~np.isfinite(found) | (binary & ~found.isin([0.0, 1.0])))
    if wrong.any():
        kind = "0, 1, yes or no" if binary else "a number"
        raise UserError(
            "LABELS", column.name, f"{wrong.sum()} of {len(column)} values are not {kind}, as "
            f"{column[wrong].iloc[0]!r} of {column.index[wrong][0]}",
            "correct them, or leave the cells empty where nothing is known",
        )  # fmt: skip
    return found


def _named(column: pd.Series, names: dict[int, str]) -> dict[int, str]:
    """Classes in the order that the user gives. Raises UserError LABELS for others."""
    strange = sorted(set(column.map(_word)) - set(names.values()))
    if strange or len(set(names.values())) < max(2, len(names)):
        cause = f"holds {strange}, which classes= does not name" if strange else "needs two classes"
        fix = "name every value once, lowest first, e.g. classes='{0: none, 1: mild, 2: severe}'"
        raise UserError("LABELS", column.name, cause, fix)
    return dict(enumerate(names[k] for k in sorted(names)))


def _grades(column: pd.Series) -> dict[int, str]:
    """Grades in the order of the numbers that they are. Raises UserError LABELS for words."""
    there = sorted(column.map(_word).unique())
    try:
        ordered = sorted(there, key=float)
    except ValueError:
        cause = f"holds words ({', '.join(there[:3])}), whose order is not known"
        fix = "give it, lowest first: classes='{0: none, 1: mild, 2: severe}'"
        raise UserError("LABELS", column.name, cause, fix) from None
    target_classes(column)  # refuses one class, and measured numbers
    return dict(enumerate(ordered))
