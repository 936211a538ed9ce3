"""Scans that stand out from their cohort: by voxel size, values that belie the modality, as masks."""

import math
import os
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from medssl.data.index.ids import beginnings, stem
from medssl.data.index.row import MAY_BE_MASK
from medssl.data.volume import Volume

FACTOR = 2.0  # less than twice the usual voxel size is never called an outlier
SPREADS = 4.0  # robust standard deviations of the logarithm beyond which it is
FEWEST = 8  # scans of a kind, below which nothing is usual
MAD_TO_SD = 1.4826
LEAST_MM = 1e-4  # smaller ones are written as 0
AIR_HU = -500


def spacing_outliers(used: pd.DataFrame) -> pd.DataFrame:
    """Used scans whose voxel size is unusual among those of their modality and number of axes.

    Sizes are compared from the smallest to the largest, so that the order of axes does not matter.
    Columns: id, modality, spacing, usual (mm, ascending).
    """
    sizes = used["spacing"].map(_sizes)
    rows = []
    for (modality, _), kind in used.groupby(["modality", sizes.map(len)]):
        logs = np.log(np.maximum([sizes[i] for i in kind.index], LEAST_MM))
        if len(kind) < FEWEST or not logs.size:
            continue
        usual = np.median(logs, 0)
        spread = MAD_TO_SD * np.median(np.abs(logs - usual), 0)
        odd = (np.abs(logs - usual) > np.maximum(math.log(FACTOR), SPREADS * spread)).any(1)
        words = "x".join(f"{s:.3g}" for s in np.exp(usual))
        rows += [
            {"id": kind.at[i, "id"], "modality": modality, "spacing": kind.at[i, "spacing"],
             "usual": words}
            for i in kind.index[odd]
        ]  # fmt: skip
    return pd.DataFrame(rows, columns=["id", "modality", "spacing", "usual"])


def modality_doubt(volume: Volume) -> str:
    """Why the values of a scan do not fit its modality; empty if they do, or it is not known.

    CT is in HU, where the air around and inside a patient lies near -1000; MR has no such values.
    """
    low, high = float(volume.array.min()), float(volume.array.max())
    if volume.modality == "CT" and volume.ndim == 3 and low >= 0:
        return f"CT whose values run from {low:g} to {high:g}: no HU, or shifted by an offset"
    if volume.modality == "MR" and low < AIR_HU and np.median(volume.array) < AIR_HU / 2:
        return f"MR whose values run from {low:g} to {high:g}, as those of CT do"
    return ""


def likely_masks(used: pd.DataFrame) -> pd.DataFrame:
    """Used scans of which the index remarked that they may be masks."""
    return used[used["remarks"].str.contains(MAY_BE_MASK, regex=False)]


def mask_remark(used: pd.DataFrame, root: Path) -> str:
    """How many used scans may be masks, one of them, and the way out; empty if there are none.

    `root` is the folder of the scans, as people call it.
    """
    masks = likely_masks(used)
    if masks.empty:
        return ""
    first, scans = masks["path"].iloc[0], {stem(PurePosixPath(p).name): p for p in used["path"]}
    begun = beginnings(stem(PurePosixPath(first).name))
    example = [first, *[scans[name] for name in begun if name in scans][:1]]
    others = used.drop(masks.index)["path"]
    fix = "name them in a column seg of a CSV, beside the path of their scans (labels=)"
    if alone := _folder_of(masks["path"], others):
        fix = f"give labels={Path(root) / alone}"
        if scans_alone := _folder_of(others, masks["path"]):
            fix += f", or index {Path(root) / scans_alone}"
    return (
        f"{len(masks)} of {len(used)} used scans may be masks: each has another scan's name with "
        f"more behind it, and its grid ({', '.join(example)}). If they are masks, {fix}"
    )


def _folder_of(paths: pd.Series, others: pd.Series) -> str:
    """The folder, below the scans', that holds all of these paths and none of the others; or ""."""
    folders = [str(PurePosixPath(path).parent) for path in paths]
    common = PurePosixPath(os.path.commonpath(folders) if folders else "")
    alone = common.parts and not any(PurePosixPath(p).is_relative_to(common) for p in others)
    return str(common) if alone else ""


def _sizes(text: str) -> list[float]:
    return sorted(float(s) for s in text.split("x")) if text else []
