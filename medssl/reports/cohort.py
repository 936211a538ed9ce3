"""The page about a cohort: what is there, what was refused, what to look at before training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.data.manifest_checks import SPLITS
from medssl.reports.charts import histograms
from medssl.reports.figures import gallery
from medssl.reports.html import Section
from medssl.reports.html import write as write_page

MOST_REFUSED = 12
MOST_ROWS = 200
LONGEST = 20
FEWEST_COUNTED = 5  # with fewer scans a histogram says less than the table


def write(
    path: Path, table: pd.DataFrame, findings: dict, pictures: Sequence[tuple[str, np.ndarray]],
    refused_pictures: Sequence[tuple[str, str, np.ndarray]] = (), hidden: int = 0,
) -> Path:  # fmt: skip
    """Compose the page at `path`.

    table             the manifest's
    findings          what findings.json of `medssl qc` holds
    pictures          (id, image) of some used scans
    refused_pictures  (id, code, image) of some refused ones
    hidden            how many scans are not drawn, since text is burned into them
    """
    used, refused = table[table["verdict"] == "used"], table[table["verdict"] != "used"]
    sections = [
        _look_first(findings),
        _glance(used, refused),
        *([_pictures(pictures, hidden)] if pictures or hidden else []),
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


def _pictures(pictures: Sequence[tuple[str, np.ndarray]], hidden: int) -> Section:
    text = "Films, or the middle slices of volumes, of scans drawn by chance."
    if hidden:
        text += (
            f"\n\n{hidden} scans are not drawn: their headers say that text is burned into them."
        )
    if not pictures:
        return Section("Thumbnails", text)
    caution = "Pixels are shown as they are: text that was burned into them can be read here."
    sheet = gallery([image for _, image in pictures], [_short(id) for id, _ in pictures], 6)
    drawn = [(sheet, "Used scans, each in its own grey scale.", "thumbnails of used scans")]
    return Section("Thumbnails", text, caution, figures=drawn)


def _refused(refused: pd.DataFrame, pictures: Sequence[tuple[str, str, np.ndarray]]) -> Section:
    if refused.empty:
        return Section("Refused", "Nothing was refused.")
    codes = refused.groupby("code").agg(entries=("id", "size"), reason=("reason", "first"))
    codes = codes.sort_values("entries", ascending=False).reset_index()
    each = refused[["id", "code", "reason"]].head(MOST_ROWS)
    shown = f"The first {len(each)} of {len(refused)}." if len(refused) > len(each) else "Each one."
    tables = [(codes, "What was refused, with the reason of the first."), (each, shown)]
    drawn = []
    if pictures:
        captions = [f"{code}\n{_short(id)}" for id, code, _ in pictures]
        sheet = gallery([image for *_, image in pictures], captions, 6)
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
