"""Figures of classes, labels, grades and numbers, for many weightings of the cases at once.

A bootstrap sample is a weighting: how often each case was drawn. Every function takes weights (R, n)
and returns (R,) values, NaN where a weighting leaves a figure undefined; weights of one give the plain
figure. AUROC and average precision are those of scikit-learn with `sample_weight`.
"""

import numpy as np

from medssl.errors import UserError

SPECIFICITY = 0.9
BINS = 15  # of the calibration error (Guo et al., "On Calibration of Modern Neural Networks", 2017)
FEWEST, NEARLY = 5, 0.1  # cases, and share of the truth's spread, for numbers that are all alike


def of_classes(
    truth: np.ndarray, scores: np.ndarray, weights: np.ndarray, names, predicted=None
) -> dict:
    """Figures of probabilities (n, classes) for class numbers (n,); `predicted` (n,) where that is not
    the class of the highest one.

    auroc, auprc and sensitivity at 90 % specificity are of the second of two classes, or the mean over
    classes, one against the rest, without those that have no case. Brier: of two classes the squared
    error of the second's probability, of more the sum over classes. Calibration error: of the
    predicted class, in 15 bins. Raises UserError for scores that are not finite.
    """
    truth, scores = np.asarray(truth), np.asarray(scores, float)
    _refuse_nonfinite(scores)
    surest, total = scores.argmax(1), weights.sum(1)
    right = (surest if predicted is None else predicted) == truth
    k = scores.shape[1]
    asked = [1] if k == 2 else list(range(k))
    ranked = [rank_figures(truth == c, scores[:, c], weights) for c in asked]
    found = {
        name: _mean([figures[name] for figures in ranked])
        for name in ("auroc", "auprc", "sensitivity at 90 % specificity")
    }
    found["accuracy"] = weights @ right / total
    recalls = [_share(weights, right, truth == c) for c in range(k)]
    found["balanced_accuracy"] = _mean(recalls)
    wanted = np.eye(k)[truth]
    squares = ((scores - wanted) ** 2).sum(1)
    found["brier"] = weights @ (squares / 2 if k == 2 else squares) / total
    found["calibration_error"] = calibration_error(scores.max(1), surest == truth, weights)
    return found | {f"sensitivity, {n}": r for n, r in zip(names, recalls, strict=True)}


def of_labels(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray, names) -> dict:
    """Figures of labels that may be there together: truth (n, labels) 0, 1 or NaN where unknown."""
    _refuse_nonfinite(scores)
    found: dict[str, dict] = {}
    for column, name in enumerate(names):
        known = ~np.isnan(truth[:, column])
        there, p = truth[known, column] > 0.5, scores[known, column]
        some = weights[:, known]
        figures = rank_figures(there, p, some)
        with np.errstate(invalid="ignore"):
            figures["brier"] = some @ (p - there) ** 2 / some.sum(1)
        figures["calibration_error"] = calibration_error(p, there, some)
        found[name] = figures
    measures = next(iter(found.values()))
    means = {m: _mean([figures[m] for figures in found.values()]) for m in measures}
    return means | {f"{m}, {name}": v for name, f in found.items() for m, v in f.items()}


def of_steps(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> dict:
    """Of grades in order, by number: mean error in steps, and kappa with quadratic weights."""
    total = weights.sum(1)
    mean = {k: weights @ v / total for k, v in _moments(truth, predicted).items()}
    chance = mean["tt"] + mean["pp"] - 2 * mean["t"] * mean["p"]
    kappa = 1 - (mean["tt"] + mean["pp"] - 2 * mean["tp"]) / np.where(
        chance > 1e-12, chance, np.nan
    )
    return {"error in steps": weights @ np.abs(truth - predicted) / total, "quadratic_kappa": kappa}


def of_numbers(
    truth: np.ndarray, predicted: np.ndarray, usual: np.ndarray, weights: np.ndarray
) -> dict:
    """Of measured numbers (n,): mean absolute error, that of always saying the training mean (`usual`),
    their difference, root of the mean square, and correlation."""
    _refuse_nonfinite(predicted)
    total = weights.sum(1)
    error, without = (weights @ np.abs(truth - p) / total for p in (predicted, usual))
    mean = {k: weights @ v / total for k, v in _moments(truth, predicted).items()}
    spread = (mean["tt"] - mean["t"] ** 2) * (mean["pp"] - mean["p"] ** 2)
    along = mean["tp"] - mean["t"] * mean["p"]
    return {
        "mean_absolute_error": error,
        "error of the training mean": without,
        "gain over the training mean": without - error,
        "root_mean_square": np.sqrt(weights @ (truth - predicted) ** 2 / total),
        "correlation": along / np.sqrt(np.where(spread > 1e-20, spread, np.nan)),
    }


def nearly_constant(truth: np.ndarray, predicted: np.ndarray) -> bool:
    """Whether predicted numbers (n,) hardly differ where the true ones do. With a tenth of the truth's spread
    they can tell 1 % of its variance; a few cases may be alike by chance."""
    return len(truth) >= FEWEST and bool(np.std(predicted) < NEARLY * np.std(truth))


def rank_figures(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> dict:
    """auroc, auprc (average precision) and sensitivity at 90 % specificity of scores (n,).

    The last is the largest share of positives above a threshold that lets at most a tenth of the
    negatives through; cases of equal score lie on one side of any threshold.
    """
    hits, false = cumulative(positive, scores, weights)
    n_hits, n_false = hits[:, -1:], false[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        before = np.concatenate([np.zeros_like(n_hits), hits[:, :-1]], 1)
        steps = np.diff(false, axis=1, prepend=0)
        auroc = (steps * (hits + before) / 2).sum(1) / (n_hits * n_false)[:, 0]
        precision = np.nan_to_num(hits / (hits + false))
        auprc = ((hits - before) * precision).sum(1) / n_hits[:, 0]
        auprc[n_false[:, 0] == 0] = np.nan  # of one class only: every ranking is perfect
        let_through = false <= (1 - SPECIFICITY) * n_false + 1e-9
        sensitivity = np.where(let_through, hits, 0).max(1) / n_hits[:, 0]
        sensitivity[n_false[:, 0] == 0] = np.nan
    return {"auroc": auroc, "auprc": auprc, "sensitivity at 90 % specificity": sensitivity}


def cumulative(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray):
    """Weights of positives and of negatives at or above each distinct score, highest first: two
    arrays (R, distinct scores)."""
    if not len(scores):
        return np.zeros((len(weights), 1)), np.zeros((len(weights), 1))
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    weights = weights[:, order]
    return tuple(
        np.cumsum(weights * side[order], 1, dtype=float)[:, last] for side in (positive, ~positive)
    )


def calibration_error(confidence: np.ndarray, right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean distance between confidence (n,) and share of right answers, over 15 bins of confidence."""
    inside = np.eye(BINS)[bins(confidence)]
    off = np.abs(weights @ (inside * (confidence - right)[:, None])).sum(1)
    with np.errstate(invalid="ignore"):
        return off / weights.sum(1)


def bins(confidence: np.ndarray) -> np.ndarray:
    """Number of the bin of each confidence in 0..1; a bin holds its upper end, as in Guo et al."""
    return np.clip(np.ceil(np.asarray(confidence) * BINS - 1e-9).astype(int) - 1, 0, BINS - 1)


def undefined(truth) -> str:
    """Why AUROC and AUPRC have no value for these classes of cases; empty if they have one."""
    present = np.unique(np.asarray(truth))
    if len(present) > 1:
        return ""
    found = f"every case is of class {present[0]}" if len(present) else "there is no case"
    return f"AUROC and AUPRC are not defined: {found}, and they compare two classes"


def plain(figures: dict[str, np.ndarray]) -> dict[str, float]:
    """The figures of a single weighting."""
    return {name: float(values[0]) for name, values in figures.items()}


def once(n: int) -> np.ndarray:
    """The weighting (1, n) in which every case counts once."""
    return np.ones((1, n))


def _moments(t: np.ndarray, p: np.ndarray) -> dict[str, np.ndarray]:
    t, p = np.asarray(t, float), np.asarray(p, float)
    return {"t": t, "p": p, "tt": t * t, "pp": p * p, "tp": t * p}


def _share(weights: np.ndarray, right: np.ndarray, among: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return weights @ (right & among) / (weights @ among)


def _mean(values: list[np.ndarray]) -> np.ndarray:
    """Mean over those that are defined; NaN where none is."""
    stacked = np.stack(values)
    known = ~np.isnan(stacked)
    with np.errstate(invalid="ignore"):
        return np.where(known, stacked, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)


def _refuse_nonfinite(scores: np.ndarray) -> None:
    if not np.isfinite(scores).all():
        raise UserError(
            "SCORES", "classification", f"{(~np.isfinite(scores)).sum()} scores are not finite",
            "the model has diverged: fine-tune again with a smaller optim.lr",
        )  # fmt: skip
