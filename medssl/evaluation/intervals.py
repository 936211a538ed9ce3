"""Bootstrap intervals clustered by patient: scans of one person are not independent."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medssl.seeding import generator


@dataclass(frozen=True)
class Interval:
    """An estimate, the ends of its interval, and what it rests on."""

    estimate: float
    low: float
    high: float
    n_patients: int
    n_cases: int
    seed: int

    def __str__(self) -> str:
        return (
            f"{self.estimate:.3f} ({self.low:.3f} to {self.high:.3f}; {self.n_patients} patients, "
            f"{self.n_cases} cases, seed {self.seed})"
        )


def bootstrap(
    values: np.ndarray, patients: np.ndarray, *, n: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """The mean with a percentile bootstrap interval that resamples patients.

    values    one value a case; cases that are NaN are left out
    patients  one id a case
    """
    patients = np.asarray(patients)
    values = np.asarray(values, float)
    known = ~np.isnan(values)
    values, patients = values[known], patients[known]
    if not len(values):
        return Interval(np.nan, np.nan, np.nan, 0, 0, seed)
    _, cluster = np.unique(patients, return_inverse=True)
    k = cluster.max() + 1
    sums, counts = np.bincount(cluster, values, k), np.bincount(cluster, minlength=k)
    weights = generator(seed, "bootstrap").multinomial(k, np.full(k, 1 / k), size=n)
    means = (weights @ sums) / (weights @ counts)
    return Interval(float(values.mean()), *_ends(means, level), int(k), len(values), seed)


def paired_difference(
    a: np.ndarray,
    b: np.ndarray,
    patients: np.ndarray,
    *,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Mean of a - b over the same cases; cases that either lacks are left out."""
    return bootstrap(
        np.asarray(a, float) - np.asarray(b, float), patients, n=n, seed=seed, level=level
    )


def bootstrap_statistics(
    statistics: Callable[[np.ndarray], dict[str, float]], patients: np.ndarray, *,
    n: int = 2000, seed: int = 0, level: float = 0.95,
) -> dict[str, Interval]:  # fmt: skip
    """The same for figures that are no means: named figures of the chosen row numbers.

    Resamples in which a figure is NaN (one class only, say) are left out of its interval.
    """
    names, cluster = np.unique(np.asarray(patients), return_inverse=True)
    rows = [np.flatnonzero(cluster == i) for i in range(len(names))]
    draw = generator(seed, "bootstrap")
    estimates = statistics(np.arange(len(patients)))
    samples = {name: [] for name in estimates}
    for _ in range(n):
        chosen = draw.integers(0, len(names), len(names))
        for name, value in statistics(np.concatenate([rows[i] for i in chosen])).items():
            if not np.isnan(value):
                samples[name].append(value)
    return {
        name: Interval(
            float(estimate), *_ends(samples[name], level), len(names), len(patients), seed
        )
        for name, estimate in estimates.items()
    }


def _ends(samples, level: float) -> tuple[float, float]:
    if not len(samples):
        return float("nan"), float("nan")
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
