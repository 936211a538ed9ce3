"""Splits into train, val and test, always by patient."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from medssl.data.delimited import check_names
from medssl.data.manifest import Manifest
from medssl.data.manifest_checks import SPLITS
from medssl.data.patients import pseudonym
from medssl.data.tables import (
    IDS,
    Places,
    identifying_columns,
    label_name,
    mask_columns,
    match,
    patient_columns,
    read_table,
    refuse_contradictions,
    split_names,
)
from medssl.errors import UserError
from medssl.seeding import generator


def attach_splits(manifest: Manifest, source: Path) -> Manifest:
    """Take the `split` of every scan, and its patient, from a CSV that names scans by path or id.

    It overrides splits from label tables. Raises UserError SPLIT or LABELS.
    """
    source = Path(source)
    table = read_table(source)
    column = next((c for c in table if c.lower() == "split"), None)
    if column is None:
        cause = f"there is no column `split` (found {', '.join(table.columns)})"
        raise UserError("SPLIT", source, cause, "add it: train, val or test")
    masks = mask_columns(table, source.parent, manifest.root)
    places = Places(manifest, source.parent)
    matched, ways = match(table, manifest, places, source, [*masks, column])
    told = [c for c in table if c == column or c in patient_columns(table)]
    refuse_contradictions(table[told], matched, manifest, source)
    names = split_names(table[column], source)
    for patient in patient_columns(table)[:1]:
        check_names(table[patient], source, empty=False, mangled=True)
    patients = next((table[c] for c in patient_columns(table)), [""] * len(table))
    for name, patient, rows in zip(names, patients, matched, strict=True):
        manifest.table.loc[rows, "split"] = name
        if patient:
            manifest.table.loc[rows, "patient"] = pseudonym(patient, "p")
    manifest.mark_table(source)
    known = sum(manifest.table["verdict"].eq("used") & manifest.table["split"].ne(""))
    lost = sum(not rows for rows in matched)
    manifest.notes.append(
        f"{source.name}: {known} used scans have a split, {lost} lines are of no scan here"
    )
    known = {*masks, *told, *ways, *identifying_columns(table)}
    known |= {
        c for c in table if f"label_{label_name(c)}" in manifest.label_columns
    }  # in labels=, too
    if unread := [c for c in table if c not in known and c.lower() not in IDS]:
        names = ", ".join(unread[:3]) + ", ..." * (len(unread) > 3)
        words = "are not read: give a table to labels= for what it says beside splits"
        manifest.notes.append(f"{source.name}: columns {names} {words}")
    return manifest


def draw_splits(manifest: Manifest, shares: Sequence[float], seed: int, stratify: str = "") -> None:
    """Write drawn splits into a manifest without any; `stratify` names a label column.

    Raises UserError SPLIT or LABELS.
    """
    used = manifest.used
    if (used["split"] != "").any():
        cause = "some scans have a split already, by splits= or labels="
        raise UserError("SPLIT", "shares", cause, "leave out shares=, or those splits")
    column = label_column(manifest, stratify, "stratify")
    manifest.table.loc[used.index, "split"] = split_by_patient(used, shares, seed, column)


def label_column(manifest: Manifest, name: str, key: str) -> str | None:
    """The column of a label as the user's table calls it, none for "". Raises UserError LABELS."""
    if not name:
        return None
    column = f"label_{name.removeprefix('label_')}"
    if column not in manifest.label_columns:
        there = ", ".join(c.removeprefix("label_") for c in manifest.label_columns)
        cause = f"found {name!r}, the labels are {there or 'none'}"
        raise UserError("LABELS", key, cause, "name one of them")
    return column


def split_by_patient(
    table: pd.DataFrame,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    stratify: str | None = None,
) -> pd.Series:
    """train, val or test for every row, whole patients together; a function of seed and patients.

    `stratify` names a column whose values are kept in proportion; a patient counts for the highest.
    Every split of a positive fraction gets a patient if there are enough. Raises UserError SPLIT.
    """
    if len(fractions) != len(SPLITS) or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        cause = f"fractions {list(fractions)} are not three shares that add up to 1"
        raise UserError("SPLIT", "fractions", cause, "write for example 0.7,0.1,0.2")
    stratum = table[stratify] if stratify else pd.Series("", index=table.index)
    patients = stratum.groupby(table["patient"]).max().astype("str").sort_index()
    order = generator(seed, "split.patient").permutation(len(patients))
    shuffled = patients.iloc[order].sort_values(kind="stable")
    counts, of = dict.fromkeys(SPLITS, 0), {}
    for number, patient in enumerate(shuffled.index, start=1):
        owed = {n: f * number - counts[n] for n, f in zip(SPLITS, fractions, strict=True) if f}
        name = max(owed, key=owed.get)
        of[patient] = name
        counts[name] += 1
    _fill_empty(of, counts, [n for n, f in zip(SPLITS, fractions, strict=True) if f])
    return table["patient"].map(of).rename("split")


def check(table: pd.DataFrame) -> None:
    """Raises UserError SPLIT if a patient's used scans lie in more than one split."""
    used = table[(table["verdict"] == "used") & (table["split"] != "")]
    places = used.groupby("patient")["split"].agg(lambda s: "+".join(sorted(set(s))))
    torn = places[places.str.contains("+", regex=False)]
    if len(torn):
        scans = used.groupby("patient")["id"].agg(lambda ids: ", ".join(sorted(ids)[:2]))
        names = "; ".join(f"{p} ({where}: {scans[p]})" for p, where in torn.head(3).items())
        cause = f"{len(torn)} of {len(places)} patients are in several splits, such as {names}"
        raise UserError(
            "SPLIT", "patients", cause,
            "put all scans of a patient, and copies of each other if copies= is given, into one split, or "
            "leave splits out and draw them with shares=0.7,0.1,0.2",
        )  # fmt: skip


def _fill_empty(of: dict[str, str], counts: dict[str, int], wanted: list[str]) -> None:
    for name in wanted:
        largest = max(counts, key=counts.get)
        if not counts[name] and counts[largest] > 1:
            patient = next(p for p, n in reversed(of.items()) if n == largest)
            of[patient] = name
            counts[name] += 1
            counts[largest] -= 1
