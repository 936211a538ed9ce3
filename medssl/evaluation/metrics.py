"""Scores of segmentations."""

import warnings

import numpy as np
from scipy import ndimage

# Spacings out of float32 affines are off by 1e-7: one voxel must not lie beyond one voxel's size.
EXACT = 1 + 1e-4
TOLERANCE_MM = 1.0


def dice(prediction: np.ndarray, truth: np.ndarray, classes: dict[int, str]) -> dict[str, float]:
    """Dice by class name of two label arrays: NaN if a class is in neither, 0 if in one only.

    Raises ValueError for arrays of different shapes.
    """
    if np.shape(prediction) != np.shape(truth):
        raise ValueError(f"prediction {np.shape(prediction)} and truth {np.shape(truth)} differ")
    out = {}
    for k, name in classes.items():
        p, t = prediction == k, truth == k
        total = p.sum() + t.sum()
        out[name] = float(2 * (p & t).sum() / total) if total else float("nan")
    return out


def segmentation_scores(
    prediction: np.ndarray,
    truth: np.ndarray,
    classes: dict[int, str],
    spacing,
    tolerance_mm: float = TOLERANCE_MM,
    lesions: bool = False,
) -> list[dict]:
    """One row a class: class, dice, nsd, hd95_mm, volume_ml_truth, volume_ml_prediction, and with
    `lesions` those of `lesion_scores`.

    prediction, truth  integer labels of the same shape, two or three axes
    spacing            mm along each axis; what is drawn on a film counts as 1 mm thick
    nsd                normalised surface distance (surface Dice) at the tolerance: the share of
                       boundary voxels of either side that lie within it of the other boundary
    hd95_mm            Hausdorff distance: of the distances of either side's boundary voxels from the
                       other boundary the 95th percentile, and the larger of the two (MONAI's; some
                       pool both sides first, which gives a smaller one)

    A class that neither holds is absent (NaN, left out of means); one that only one holds scores 0,
    and lies as far off as the scan is long from corner to corner.
    """
    if len(spacing) != np.ndim(truth):
        raise ValueError(f"spacing {tuple(spacing)} for {np.ndim(truth)} axes")
    scores = dice(prediction, truth, classes)
    voxel = float(np.prod(spacing)) / 1000
    return [
        {
            "class": name,
            "dice": scores[name],
            **_surfaces(prediction == k, truth == k, spacing, tolerance_mm),
            **(lesion_scores(prediction == k, truth == k) if lesions else {}),
            "volume_ml_truth": float((truth == k).sum() * voxel),
            "volume_ml_prediction": float((prediction == k).sum() * voxel),
        }
        for k, name in classes.items()
    ]


def _surfaces(prediction: np.ndarray, truth: np.ndarray, spacing, tolerance_mm: float) -> dict:
    """nsd and hd95_mm of one class."""
    if not prediction.any() and not truth.any():
        return {"nsd": float("nan"), "hd95_mm": float("nan")}
    if not prediction.any() or not truth.any():
        across = np.linalg.norm(np.array(truth.shape) * np.array(spacing, float))
        return {"nsd": 0.0, "hd95_mm": float(across)}
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    low, high = _box(prediction | truth)
    box = tuple(slice(max(a - 1, 0), b + 2) for a, b in zip(low, high, strict=True))
    pair = [torch.from_numpy(m[box].copy())[None, None] for m in (prediction, truth)]
    given = {"include_background": True, "spacing": [float(s) for s in spacing]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI deprecates its own arguments
        # Boundary voxels are counted. Areas (use_subvoxels) take up to 8 times as long and, on
        # shifted spheres of cubic voxels, came out further from the exact share.
        shares = compute_surface_dice(*pair, [tolerance_mm * EXACT], **given)
        distance = compute_hausdorff_distance(*pair, percentile=95, **given)
    return {"nsd": float(shares[0, 0]), "hd95_mm": float(distance[0, 0])}


def lesion_scores(prediction: np.ndarray, truth: np.ndarray) -> dict:
    """Lesions, joined by faces, edges and corners: lesions, found (touched by the prediction by a voxel
    or more), false (predicted ones that touch none), and

    lesion_sensitivity  found of all; NaN where there is none
    lesion_f1           harmonic mean of it and of the share of predicted ones that touch a true one: 0
                        where a side has none, NaN where neither has
    """
    every = np.ones((3,) * truth.ndim)
    true, n = ndimage.label(truth, every)
    told, m = ndimage.label(prediction, every)
    found = len(np.unique(true[prediction & truth]))
    hits = len(np.unique(told[prediction & truth]))
    sensitivity, precision = found / n if n else np.nan, hits / m if m else np.nan
    both = np.nan_to_num([sensitivity, precision])
    f1 = 2 * both.prod() / both.sum() if both.sum() else 0.0
    return {
        "lesions": n, "found": found, "false": m - hits,
        "lesion_sensitivity": sensitivity, "lesion_f1": f1 if n or m else np.nan,
    }  # fmt: skip


def _box(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    where = np.argwhere(mask)
    return where.min(0), where.max(0)
