"""Scores of segmentations and classifications, by MONAI and scikit-learn."""

import warnings

import numpy as np

from medssl.errors import UserError

# Spacings out of float32 affines are off by 1e-7: one voxel must not lie beyond one voxel's size.
EXACT = 1 + 1e-4


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
    tolerance_mm: float = 1.0,
) -> list[dict]:
    """One row a class: class, dice, nsd, volume_ml_truth, volume_ml_prediction.

    prediction, truth  integer labels of the same shape, two or three axes
    spacing            mm along each axis; what is drawn on a film counts as 1 mm thick
    nsd                normalised surface distance (surface Dice) at the tolerance: the share of
                       boundary voxels of either side that lie within it of the other boundary

    A class that neither holds is absent (NaN, left out of means); one that only one holds scores 0.
    """
    if len(spacing) != np.ndim(truth):
        raise ValueError(f"spacing {tuple(spacing)} for {np.ndim(truth)} axes")
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
        # Boundary voxels are counted. Areas (use_subvoxels) take up to 8 times as long and, on
        # shifted spheres of cubic voxels, came out further from the exact share.
        found = compute_surface_dice(
            *pair,
            [tolerance_mm * EXACT],
            include_background=True,
            spacing=[float(s) for s in spacing],
        )
    return float(found[0, 0])


def _box(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    where = np.argwhere(mask)
    return where.min(0), where.max(0)


def classification_scores(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """auroc, auprc (of class 1, or the mean over classes), accuracy, balanced_accuracy.

    truth (n,) class numbers; scores (n, classes), or (n,) probabilities of class 1. AUROC and AUPRC
    are one class against the rest, a class without cases left out; they are NaN where `truth` holds
    one class only (`undefined` says so in words). Raises UserError for scores that are not finite.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth, scores = np.asarray(truth), np.asarray(scores)
    if not np.isfinite(scores).all():
        raise UserError(
            "SCORES", "classification", f"{(~np.isfinite(scores)).sum()} scores are not finite",
            "the model has diverged: fine-tune again with a smaller optim.lr",
        )  # fmt: skip
    if scores.ndim == 1:
        scores = np.column_stack([1 - scores, scores])
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


def undefined(truth) -> str:
    """Why AUROC and AUPRC have no value for these classes of cases; empty if they have one."""
    present = np.unique(np.asarray(truth))
    if len(present) > 1:
        return ""
    found = f"every case is of class {present[0]}" if len(present) else "there is no case"
    return f"AUROC and AUPRC are not defined: {found}, and they compare two classes"
