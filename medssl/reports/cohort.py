"""The page about a cohort: what is there, what was refused, what to look at before training."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from medssl.data.manifest_checks import SPLITS
from medssl.data.mask_sizes import NEARLY_ALL, SPREADS
from medssl.data.outliers import FEWEST
from medssl.reports.charts import histograms
from medssl.reports.figures import gallery
from medssl.reports.html import Section
from medssl.reports.html import write as write_page

MOST_DRAWN = 12  # refused scans, and masks that are unusual
MOST_CLASSES = 30  # in a table; classes.csv has all
MOST_NAMED = 6
LEAVE_OUT = (
    "`medssl index ... leave_out={id}` goes on without a scan, where its mask turns out to be wrong"
)
MOST_ROWS = 200
LONGEST = 20
FEWEST_COUNTED = 5  # with fewer scans a histogram says less than the table


@dataclass(frozen=True)
class Picture:
    """A slice or film (rows, columns) of a scan, and the values of its mask there."""

    id: str
    image: np.ndarray
    mask: np.ndarray | None = None


def write(
    path: Path, table: pd.DataFrame, findings: dict, classes: pd.DataFrame,
    pictures: Sequence[Picture], odd_pictures: Sequence[Picture] = (),
    refused_pictures: Sequence[Picture] = (), hidden: int = 0,
) -> Path:  # fmt: skip
    """Compose the page at `path`.

    table             the manifest's
    findings          what findings.json of `medssl qc` holds
    classes           what classes.csv holds: value, masks, median, smallest, largest, unit
    pictures          some used scans
    odd_pictures      scans of `unusual_masks`, through the most unusual class of each
    refused_pictures  some refused scans
    hidden            how many scans are not drawn, since text is burned into them
    """
    used, refused = table[table["verdict"] == "used"], table[table["verdict"] != "used"]
    sections = [
        _look_first(findings),
        _glance(used, refused),
        *([_masks(findings, classes, odd_pictures)] if findings["n_masks"] else []),
        *([_pictures(pictures, classes, hidden)] if pictures or hidden else []),
        _refused(refused, refused_pictures),
        _copies(findings["copies"], used),
        _doubts(findings),
    ]
    patients = used["patient"].nunique()
    subtitle = f"Used scans: {len(used)}, of patients: {patients}; refused entries: {len(refused)}"
    return write_page(path, "Quality of the cohort", subtitle, sections)


def by_split(used: pd.DataFrame) -> pd.DataFrame:
    """Scans and patients of each split, train, val and test first."""
    of_split = used.assign(split=used["split"].replace("", "none")).groupby("split")
    table = of_split.agg(scans=("id", "size"), patients=("patient", "nunique"))
    known = [s for s in SPLITS if s in table.index]
    return table.loc[known + [s for s in table.index if s not in SPLITS]].reset_index()


def _look_first(findings: dict) -> Section:
    torn = [c for c in findings["copies"] if c["differ"]]
    counts = {
        "scans that cannot be read": len(findings["unreadable"]),
        "copies that contradict": len(torn),
        "groups of copies": len(findings["copies"]),
        "scans that may be masks": len(findings["likely_masks"]),
        "doubtful modality": len(findings["modality_doubts"]),
        "unusual voxel size": len(findings["unusual_spacing"]),
    }
    if findings["n_masks"]:
        counts["masks that cannot be used"] = len(findings["unusable_masks"])
        counts["masks with unusual classes"] = len(findings["unusual_masks"])
        counts["masks without any class"] = len(findings["empty_masks"])
    caution = ""
    if torn:
        words = {d for c in torn for d in c["differ"]}
        caution = f"Scans whose copies contradict: {len(torn)}, in {', '.join(sorted(words))}."
        if "split" in words:
            caution += " A copy in another split makes every test score too high."
    return Section("To look at first", caution=caution, facts=counts)


def _glance(used: pd.DataFrame, refused: pd.DataFrame) -> Section:
    kinds = used.assign(modality=used["modality"].replace("", "not said"))
    by_kind = kinds.groupby(["modality", "format"]).agg(
        scans=("id", "size"), patients=("patient", "nunique")
    )
    tables = [(by_kind.reset_index(), "Used scans by modality and format.")]
    if used["split"].ne("").any():
        tables.append((by_split(used), "Used scans by split."))
    spacing = used["spacing"].str.split("x").map(lambda s: sorted(map(float, filter(None, s))))
    panels = {
        "in-plane voxel size, mm": [s[0] for s in spacing if s],
        "largest voxel size, mm": [s[-1] for s in spacing if len(s) > 2],
        "largest side, voxels": [max(map(int, s.split("x"))) for s in used["shape"] if s],
        "scans of a patient": used["patient"].value_counts().tolist(),
    }
    drawn, alike = [], ""
    if len(used) >= FEWEST_COUNTED:
        same = [f"{name}: {v[0]:g}" for name, v in panels.items() if len(set(v)) == 1]
        alike = f"The same throughout: {'; '.join(same)}." if same else ""
        if any(len(set(v)) > 1 for v in panels.values()):
            drawn = [(histograms(panels), "The cohort in numbers of scans.", "histograms")]
    facts = {
        "scans": len(used),
        "patients": used["patient"].nunique(),
        "modalities": ", ".join(sorted(m for m in used["modality"].unique() if m)) or "not said",
        "with masks": int((used["label_mask"] != "").sum()),
        "refused": len(refused),
    }
    return Section("At a glance", alike, facts=facts, tables=tables, figures=drawn)


def _masks(findings: dict, classes: pd.DataFrame, pictures: Sequence[Picture]) -> Section:
    unusual, unusable = findings["unusual_masks"], findings["unusable_masks"]
    text = (
        f"A class is unusual in a mask where it is missing though {NEARLY_ALL:.0%} of the masks have it, or "
        f"where the logarithm of its size lies more than {SPREADS:g} robust standard deviations (of the "
        f"median absolute deviation) off the median. Among fewer than {FEWEST} masks nothing is unusual."
    )
    tables, figures = [], []
    if unusual:
        rows = [_told(id, found) for id, found in list(unusual.items())[:MOST_ROWS]]
        words = f"Masks with unusual classes, those with most first. {LEAVE_OUT.format(id='ID')}."
        tables.append((pd.DataFrame(rows), words))
    if unusable:
        rows = list(unusable.items())[:MOST_ROWS]
        words = "Masks that cannot be used, and are refused when scans are prepared."
        tables.append((pd.DataFrame(rows, columns=["scan", "reason"]), words))
    if empty := findings["empty_masks"][:MOST_ROWS]:
        tables.append((pd.DataFrame({"scan": empty}), "Masks without any class."))
    if len(classes):
        tables.append(_class_table(classes, unusual))
    if pictures:
        notes = [_size(unusual[p.id][0]) for p in pictures]
        words = "The masks with most unusual classes; above each the farthest off."
        figures.append((_sheet(pictures, classes["value"], notes), words, "unusual masks"))
    facts = {
        "masks": findings["n_masks"],
        "classes": len(classes),
        "masks without any class": len(findings["empty_masks"]),
    }
    return Section("Masks", text, facts=facts, tables=tables, figures=figures)


def _class_table(classes: pd.DataFrame, unusual: dict[str, list[dict]]) -> tuple[pd.DataFrame, str]:
    odd = pd.Series([row["value"] for rows in unusual.values() for row in rows], dtype=int)
    times = classes["value"].map(odd.value_counts()).fillna(0).astype(int)
    table = classes.assign(**{"unusual in": times})
    farthest = {value: place for place, value in reversed([*enumerate(odd)])}
    table["place"] = table["value"].map(farthest).fillna(len(odd))
    order = ["unusual in", "place", "masks"]
    first = table.sort_values(order, ascending=[False, True, False], kind="stable")
    table, first = (t.drop(columns="place") for t in (table, first))
    shown = first.head(MOST_CLASSES).sort_values("value", kind="stable")
    if len(shown) == len(table):
        return shown, "Size of every class in the masks that have it."
    return shown, (
        f"Size of {len(shown)} of {len(table)} classes in the masks that have them: those that are "
        "unusual in most masks and farthest off, then the most frequent. classes.csv has all."
    )


def _told(id: str, found: list[dict]) -> dict:
    missing = [str(row["value"]) for row in found if not row["size"]]
    sized = [f"{_size(row)}, usually {row['usual']:.3g}" for row in found if row["size"]]
    return {
        "scan": id,
        "unusual": len(found),
        "missing": _first(missing, ", "),
        "of unusual size": _first(sized, "; "),
    }


def _first(words: list[str], by: str) -> str:
    left = len(words) - MOST_NAMED
    return by.join([*words[:MOST_NAMED], *([f"{left} more"] if left > 0 else [])])


def _size(row: dict) -> str:
    size = f": {row['size']:.3g} {row['unit']}" if row["size"] else " missing"
    return f"{row['value']}{size}"


def _pictures(pictures: Sequence[Picture], classes: pd.DataFrame, hidden: int) -> Section:
    text = "Films, or slices of volumes, of scans drawn by chance: the slice that shows most of the mask, "
    text += "or without one the middle."
    if hidden:
        text += (
            f"\n\n{hidden} scans are not drawn: their headers say that text is burned into them."
        )
    if not pictures:
        return Section("Thumbnails", text)
    caution = "Pixels are shown as they are: text that was burned into them can be read here."
    words = "Used scans, each in its own grey scale"
    words += ", and the outlines of masks." if len(classes) else "."
    drawn = [(_sheet(pictures, classes["value"]), words, "thumbnails of used scans")]
    return Section("Thumbnails", text, caution, figures=drawn)


def _sheet(pictures: Sequence[Picture], values: Iterable[int], notes: Sequence[str] = ()) -> Figure:
    captions = [_short(p.id) for p in pictures]
    if notes:
        captions = [f"{id}\n{note}" for id, note in zip(captions, notes, strict=True)]
    masks, classes = [p.mask for p in pictures], {value: str(value) for value in values}
    return gallery([p.image for p in pictures], captions, 6, masks, classes)


def _refused(refused: pd.DataFrame, pictures: Sequence[Picture]) -> Section:
    if refused.empty:
        return Section("Refused", "Nothing was refused.")
    codes = refused.groupby("code").agg(entries=("id", "size"), reason=("reason", "first"))
    codes = codes.sort_values("entries", ascending=False).reset_index()
    each = refused[["id", "code", "reason"]].head(MOST_ROWS)
    shown = f"The first {len(each)} of {len(refused)}." if len(refused) > len(each) else "Each one."
    tables = [(codes, "What was refused, with the reason of the first."), (each, shown)]
    drawn = []
    if pictures:
        code_of = dict(zip(refused["id"], refused["code"], strict=True))
        sheet = _sheet(pictures, [], [code_of[p.id] for p in pictures])
        drawn = [(sheet, "The middle file of refused series.", "pictures of refused series")]
    return Section("Refused", tables=tables, figures=drawn)


def _copies(copies: list[dict], used: pd.DataFrame) -> Section:
    if not copies:
        return Section("Copies", "No two used scans hold the same pixels.")
    splits = used.set_index("id")["split"]
    rows = [
        {
            "scans": ", ".join(c["ids"]),
            "splits": ", ".join(sorted({splits[i] or "none" for i in c["ids"]})),
            "differ in": ", ".join(c["differ"]) or "nothing",
        }
        for c in copies[:MOST_ROWS]
    ]
    text = "The same pixels under several names or in several formats; those that contradict first."
    return Section("Copies", text, tables=[(pd.DataFrame(rows), "Groups of copies.")])


def _doubts(findings: dict) -> Section:
    tables = []
    if masks := findings["likely_masks"][:MOST_ROWS]:
        words = (
            "Scans with another scan's name and more behind it, on its grid: masks, most likely."
        )
        tables.append((pd.DataFrame({"scan": masks}), words))
    if doubts := list(findings["modality_doubts"].items())[:MOST_ROWS]:
        tables.append((pd.DataFrame(doubts, columns=["scan", "doubt"]), "Modality and values."))
    if odd := findings["unusual_spacing"][:MOST_ROWS]:
        words = "Voxel sizes in mm, ascending under `usual`, the median of the modality."
        tables.append((pd.DataFrame(odd), words))
    if unreadable := list(findings["unreadable"].items())[:MOST_ROWS]:
        words = "Scans whose header is fine and whose voxels cannot be read."
        tables.append((pd.DataFrame(unreadable, columns=["scan", "reason"]), words))
    return Section("Doubts", "" if tables else "None.", tables=tables)


def _short(id: str) -> str:
    """A caption's width of an id: its end, which tells scans of one folder apart."""
    return id if len(id) <= LONGEST else "\N{HORIZONTAL ELLIPSIS}" + id[1 - LONGEST :]
