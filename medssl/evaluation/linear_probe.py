"""Is what is asked readable along one direction of the features? Multinomial logistic regression."""

import numpy as np

from medssl.errors import UserError
from medssl.seeding import generator

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # scikit-learn's C: the larger, the less is held back
FOLDS, CHOSEN_ON, STEPS = 3, 2000, 300


def linear_predict(
    train: np.ndarray, labels: np.ndarray, groups: np.ndarray, test: np.ndarray, seed: int = 0
) -> np.ndarray:
    """Labels of `test` (n, d) by logistic regression on `train` (m, d), dimensions standardised.

    The L2 strength is chosen among `STRENGTHS` by accuracy on training patients (`groups`, one a
    row) left out in turn, three folds, on at most 2000 rows. Mean and deviation are those of
    `train`; dimensions that do not vary are left at 0. Raises UserError without training features
    or for features that are not finite.
    """
    train, test = checked_features(train, test, "linear probe")
    names = np.unique(labels)
    if len(names) < 2 or not len(test):
        return np.full(len(test), names[0])
    train, test = standardised(train, test)
    strength = _strength(train, np.asarray(labels), np.asarray(groups), seed)
    return _fitted(train, labels, strength).predict(test)


def checked_features(
    train: np.ndarray, test: np.ndarray, who: str
) -> tuple[np.ndarray, np.ndarray]:
    """Both as float32. Raises UserError if there is nothing to learn from, or a value not finite."""
    if not len(train):
        raise UserError("EMPTY", who, "no training features", "choose splits with labelled scans")
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        raise UserError(
            "FEATURES", who, "some features are not finite numbers",
            "the backbone has diverged: take an earlier checkpoint or a smaller learning rate",
        )  # fmt: skip
    return np.asarray(train, np.float32), np.asarray(test, np.float32)


def standardised(train: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """All by the mean and deviation of `train` over its first axes; 0 where that does not vary."""
    axes = tuple(range(train.ndim - 1))
    mean, deviation = train.mean(axes, dtype=np.float64), train.std(axes, dtype=np.float64)
    scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 1e-12)
    mean, scale = mean.astype(np.float32), scale.astype(np.float32)
    return [(x - mean) * scale for x in (train, *others)]


def _strength(x: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int) -> float:
    """The strength that patients left out of the fit speak for; the stronger one of equals."""
    from sklearn.model_selection import GroupKFold

    rows = np.sort(generator(seed, "linear probe").permutation(len(x))[:CHOSEN_ON])
    x, labels, groups = x[rows], labels[rows], groups[rows]
    folds = min(FOLDS, len(np.unique(groups)))
    if folds < 2:
        return STRENGTHS[len(STRENGTHS) // 2]
    right = np.zeros(len(STRENGTHS))
    for fit, held in GroupKFold(folds).split(x, labels, groups):
        for i, strength in enumerate(STRENGTHS):
            if len(np.unique(labels[fit])) < 2:
                continue
            right[i] += (
                _fitted(x[fit], labels[fit], strength).predict(x[held]) == labels[held]
            ).sum()
    return STRENGTHS[int(right.argmax())]


def _fitted(x: np.ndarray, labels: np.ndarray, strength: float):
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # Weak strengths are cut off after 300 steps, in which predictions have settled.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=strength, max_iter=STEPS, tol=1e-3).fit(x, labels)
