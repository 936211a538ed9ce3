"""Scores of segmentations and classifications, by MONAI and scikit-learn."""

import warnings

import numpy as np


def dice(prediction: np.ndarray, truth: np.ndarray, classes: dict[int, str]) -> dict[str, float]:
    """Dice by class name of two label arrays: NaN if a class is in neither, 0 if in one only."""
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
    tolerance_mm: float = 1.0,
) -> list[dict]:
    """One row a class: dice, nsd (normalised surface distance at the tolerance), volumes in ml.

    A class that neither holds is absent (NaN, left out of means); one that only one holds scores 0.
    """
    scores = dice(prediction, truth, classes)
    voxel = float(np.prod(spacing)) / 1000
    return [
        {
            "class": name,
            "dice": scores[name],
            "nsd": _surface_dice(prediction == k, truth == k, spacing, tolerance_mm),
            "volume_ml_truth": float((truth == k).sum() * voxel),
            "volume_ml_prediction": float((prediction == k).sum() * voxel),
        }
        for k, name in classes.items()
    ]


def _surface_dice(prediction: np.ndarray, truth: np.ndarray, spacing, tolerance_mm: float) -> float:
    if not prediction.any() and not truth.any():
        return float("nan")
    if not prediction.any() or not truth.any():
        return 0.0
    import torch
    from monai.metrics import compute_surface_dice

    low, high = _box(prediction | truth)
    box = tuple(slice(max(a - 1, 0), b + 2) for a, b in zip(low, high, strict=True))
    pair = [torch.from_numpy(m[box].copy())[None, None] for m in (prediction, truth)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI deprecates its own arguments
        found = compute_surface_dice(
            *pair, [tolerance_mm], include_background=True, spacing=[float(s) for s in spacing]
        )
    return float(found[0, 0])


def _box(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    where = np.argwhere(mask)
    return where.min(0), where.max(0)


def classification_scores(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """auroc, auprc (of class 1, or the mean over classes), accuracy, balanced_accuracy.

    truth (n,) class numbers, scores (n, classes). AUROC and AUPRC are NaN where `truth` holds one
    class only: they are not defined there.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth, scores = np.asarray(truth), np.asarray(scores)
    predicted = scores.argmax(1)
    asked = [1] if scores.shape[1] == 2 else list(range(scores.shape[1]))
    asked = [k for k in asked if 0 < (truth == k).sum() < len(truth)]
    recalls = [(predicted[truth == k] == k).mean() for k in np.unique(truth)]

    def mean(measure) -> float:
        return (
            float(np.mean([measure(truth == k, scores[:, k]) for k in asked])) if asked else np.nan
        )

    return {
        "auroc": mean(roc_auc_score),
        "auprc": mean(average_precision_score),
        "accuracy": float((predicted == truth).mean()),
        "balanced_accuracy": float(np.mean(recalls)),
    }
