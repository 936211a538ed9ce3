"""Scans that stand out from their cohort: by voxel size, and by values that belie the modality."""

import math

import numpy as np
import pandas as pd

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


def _sizes(text: str) -> list[float]:
    return sorted(float(s) for s in text.split("x")) if text else []
