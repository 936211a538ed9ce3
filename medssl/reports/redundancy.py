"""The page about a selection: what is kept, at which threshold, and what a copy of what."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from medssl.data.selection import Selection
from medssl.reports.charts import histograms, kept_curve
from medssl.reports.figures import gallery
from medssl.reports.html import Section
from medssl.reports.html import write as write_page
from medssl.reports.pairs import Pair

MOST_ROWS = 40
MOST_PATIENTS = 20
LONGEST = 26
NONE_SHOWN = (
    "Nothing of what was dropped may be shown: it is blank, or names may stand in its pixels."
)


def write(
    path: Path, selection: Selection, items: pd.DataFrame, unit: str,
    points: Sequence[tuple[float, float]], asked: int, pairs: Sequence[Pair],
    copies: pd.DataFrame | None, copied: Sequence[Pair],
    twins: pd.DataFrame | None, twinned: Sequence[Pair],
) -> Path:  # fmt: skip
    """Compose the page at `path`.

    items   the rows of the store that were chosen from
    unit    of distances, in words
    points  (threshold, share kept), estimated on `asked` slices or scans
    pairs   dropped ones beside what stands for them
    copies  scans that are copies of others (None: not looked for), and pictures of the first
    twins   scans that another store holds too
    """
    about, table = selection.about, selection.table
    sections = [
        _copies(copies, copied),
        *([_twins(twins, twinned)] if twins is not None else []),
        _kept(about, unit, points, asked),
        _pairs(about, unit, pairs),
        _blank(about, table),
        _patients(about, table, items),
    ]
    what = about["unit"]
    subtitle = (
        f"{about['kept']} of {about['items']} {what} kept, of {items['patient'].nunique()} patients"
    )
    return write_page(path, "Redundancy", subtitle, sections)


def _copies(copies: pd.DataFrame | None, pictures: Sequence[Pair]) -> Section:
    title = "Copies of scans, to look at first"
    if copies is None:
        return Section(title, "Not looked for (copies=none).")
    if copies.empty:
        return Section(title, "No scan of the store is a copy or a near copy of another.")
    torn = copies[copies["differ"] != ""]
    split = torn["differ"].str.contains("split").sum()
    label = torn["differ"].str.contains("label").sum()
    exact = copies["kind"] == "same pixels"
    facts = {
        "pairs of the same pixels": int(exact.sum()),
        "pairs of near copies": int((~exact).sum()),
        "pairs that cross a split": int(split),
        "pairs with other labels": int(label),
        "pairs of other patients": int(torn["differ"].str.contains("patient").sum()),
    }
    caution = ""
    if split or label:
        caution = (
            f"Pairs that cross a split: {split}; pairs that carry different labels: {label}. The first "
            "make test scores too high, the second cannot all be right."
        )
    shown = copies.head(MOST_ROWS)
    words = "copies.csv has all." if len(copies) > MOST_ROWS else "Each one."
    return Section(
        title, "The same pixels, whatever the format, header or orientation; or the same picture "
        "re-windowed, resampled, recompressed or a little moved. Pairs that contradict come first.",
        caution, facts, [(shown, f"Copies of scans. {words}")], {"alike": ".3f"},
        _gallery(pictures, "scan", "copy, {:.3f} alike", "Copies, side by side.", "pairs of copies"),
    )  # fmt: skip


def _twins(twins: pd.DataFrame, pictures: Sequence[Pair]) -> Section:
    title = "Scans that the other store holds too"
    if twins.empty:
        return Section(title, "None.")
    facts = {
        "scans here with a twin there": twins["scan"].nunique(),
        "of the same pixels": int((twins["kind"] == "same pixels").sum()),
    }
    caution = "What is learned on one store must not be tested on these scans of the other."
    shown = twins.drop(columns="differ").head(MOST_ROWS)
    return Section(
        title, "", caution, facts, [(shown, "scan: here; copy: there. twins.csv has all.")],
        {"alike": ".3f"},
        _gallery(pictures, "here", "there, {:.3f} alike", "Here, and there.", "pairs of scans in two stores"),
    )  # fmt: skip


def _kept(about: dict, unit: str, points: Sequence[tuple[float, float]], asked: int) -> Section:
    what = about["unit"]
    facts = {
        what: about["items"], "kept": about["kept"],
        "share kept": f"{about['kept'] / about['items']:.1%}",
        "rule": about["keep"],
    }  # fmt: skip
    if about["keep"] != "all":
        facts |= {"signature": about["signature"]["name"], "compared within": about["scope"]}
    facts |= {key: f"{about[key]:g}" for key in ("threshold", "budget") if about[key] is not None}
    if not points:
        return Section("What is kept", facts=facts, formats={})
    part = "" if asked == about["items"] else f", estimated on {asked} {what} evenly apart"
    before = ", before copies of scans are dropped" * (about["copies"] in ("same", "near"))
    caption = f"Share kept by the greedy cover at each threshold{before}{part}."
    figure = kept_curve(points, about["threshold"], f"threshold, {unit}")
    words = (
        "Where the curve falls steeply, a little more is dropped for a little more distance; where it "
        "is flat, the choice does not matter. Look at the pairs below before lowering or raising it."
    )
    return Section("What is kept", words, facts=facts, figures=[(figure, caption, "share kept")])


def _pairs(about: dict, unit: str, pairs: Sequence[Pair]) -> Section:
    title = "What was dropped, beside what stands for it"
    text = "The most distant pairs first: are they still copies of each other? Then some drawn by chance."
    if about["keep"] == "coreset":
        title = "Nearest to the target, and farthest from it"
        text = (
            "Of a scan each. Nothing stands for what is dropped: it is unlike the target, no copy."
        )
    if not pairs:
        everything = about["kept"] == about["items"]
        return Section(title, "Nothing was dropped." if everything else NONE_SHOWN)
    figures = _gallery(
        pairs, "kept", "dropped, {:.3g} " + unit, "Kept, and dropped.", "kept and dropped images"
    )
    return Section(title, text, figures=figures)


def _blank(about: dict, table: pd.DataFrame) -> Section:
    blank = table[table["blank"]]
    title = "Air and constant images"
    if blank.empty:
        return Section(title, "None.")
    facts = {
        "without content": len(blank), "share": f"{len(blank) / len(table):.1%}",
        "of them kept": int(blank["kept"].sum()), "in scans": blank["item"].nunique(),
    }  # fmt: skip
    text = (
        "Images with hardly any contrast beside the other slices of their scan. They are near copies "
        "of each other, and in contrastive learning false negatives."
    )
    return Section(title, text, facts=facts)


def _patients(about: dict, table: pd.DataFrame, items: pd.DataFrame) -> Section:
    by = table.assign(patient=table["item"].map(items["patient"])).groupby("patient")
    counts = by["kept"].agg(["size", "sum"]).rename(columns={"size": about["unit"], "sum": "kept"})
    counts["share kept"] = counts["kept"] / counts[about["unit"]]
    counts = counts.sort_values(
        ["share kept", about["unit"]], ascending=[True, False]
    ).reset_index()
    fewest = counts[counts["share kept"] < 1].head(MOST_PATIENTS)
    shown = [(fewest, "Patients of whom the smallest share is kept.")] if len(fewest) else []
    if counts[["kept", "share kept"]].nunique().max() == 1:
        share = counts["share kept"].iloc[0]
        return Section(
            "Patient by patient",
            f"Kept of each of {len(counts)} patients: {share:.1%}.",
            tables=shown,
        )
    panels = {"share kept of a patient": counts["share kept"], "kept of a patient": counts["kept"]}
    figure = (histograms(panels, "patients"), "Patients by what is kept of them.", "histograms")
    return Section("Patient by patient", tables=shown, figures=[figure])


def _gallery(pairs: Sequence[Pair], left: str, right: str, caption: str, alt: str) -> list[tuple]:
    """Pairs side by side, three a line; `right` holds a place for the number."""
    if not pairs:
        return []
    images = [image for pair in pairs for image in pair[:2]]
    names = [
        text for *_, one, other, far in pairs
        for text in (f"{_short(one)}\n{left}", f"{_short(other)}\n{right.format(far)}")
    ]  # fmt: skip
    return [(gallery(images, names, 6), caption, alt)]


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else "\N{HORIZONTAL ELLIPSIS}" + name[1 - LONGEST :]
