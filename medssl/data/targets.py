"""What a head is to learn: which items carry the label asked for, and its classes."""

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


def with_target(store: Store, target: str) -> pd.DataFrame:
    """The items that have a value in a label column. Raises UserError for any other column."""
    items = store.items
    if not target.startswith("label_") or target not in items:
        known = ", ".join(c for c in items if c.startswith("label_"))
        raise UserError(
            "CONFIG", "target", f"found {target!r}, the store has {known or 'no labels'}",
            "name one of them, or give labels= to `medssl index` and prepare again",
        )  # fmt: skip
    return items[items[target].notna() & (items[target].astype(str) != "")]


def mask_classes(store: Store, items: pd.DataFrame, names: dict[int, str]) -> dict[int, str]:
    """Mask values of some items and their names, class_1 and so on where `names` is empty.

    Raises UserError if the masks are empty or hold a value without a name, or names are alike.
    """
    found = sorted({int(k) for i in items.index for k in np.unique(store.foreground(i)[:, 0])})
    if not found:
        raise UserError("LABELS", store.folder, "all masks are empty", "check the label masks")
    if not names:
        return {k: f"class_{k}" for k in found}
    if 0 in names or len(set(names.values())) < len(names):
        raise UserError(
            "CONFIG", "classes", "names the background, or two values alike",
            "give every value above 0 a name of its own",
        )  # fmt: skip
    strange = sorted(set(found) - set(names))
    if strange:
        raise UserError(
            "LABELS", "classes", f"masks hold values {strange} that classes= does not name",
            "name every value, e.g. classes={1: liver, 2: spleen}",
        )  # fmt: skip
    return dict(sorted(names.items()))


def mask_remarks(
    store: Store, items: pd.DataFrame, classes: dict[int, str], strict: bool
) -> list[str]:
    """How many masks are empty, and how many hold values that are no class, in words.

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
    if strange:
        known = sorted({k for found in strange.values() for k in found})
        words = (
            f"{len(strange)} of {len(items)} masks hold {known}, of which no training mask has any"
        )
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
