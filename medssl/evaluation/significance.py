"""P-values of differences, from the resamples that their intervals come from, and for many at once."""

from collections.abc import Sequence

import numpy as np


def p_value(samples: np.ndarray, n_patients: int | None = None) -> float:
    """Two-sided p-value of the hypothesis that a difference is 0, from its bootstrap resamples (n,).

    Twice the smaller share of resamples on one side of 0, one resample more counted on each side, so
    that it is never 0 (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, 4.2). It
    is under 0.05 where the 95 % interval leaves 0 out. Resamples that are NaN are left out; NaN where
    none is left.

    n_patients  whose differences they are: no p-value is then smaller than 2 / 2^n_patients, which is
                what swapping the two sides of each patient can show at most
    """
    samples = np.asarray(samples, float)
    samples = samples[~np.isnan(samples)]
    if not len(samples):
        return float("nan")
    one_side = min((samples <= 0).sum(), (samples >= 0).sum())
    p = 2 * (one_side + 1) / (len(samples) + 1)
    if n_patients is not None:
        p = max(p, 2.0 ** (1 - n_patients))
    return float(min(p, 1.0))


def holm(p: Sequence[float]) -> np.ndarray:
    """P-values (n,) corrected for their number: each may be read as if it were the only one.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 1979; the chance that any of those that hold is rejected stays under the level, however
    they depend on one another. A NaN stays NaN, and counts as no comparison.
    """
    p = np.asarray(p, float)
    corrected = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    left = np.arange(len(order), 0, -1)  # comparisons not yet rejected
    corrected[order] = np.minimum(np.maximum.accumulate(left * p[order]), 1)
    return corrected
