"""Bootstrap intervals clustered by patient: scans of one person are not independent."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from medssl.evaluation.titles import title
from medssl.seeding import generator

# Of 95 % percentile intervals, simulated: 73 % cover the truth with 3 patients, 88 % with 8, 94 %
# with 30. Under this many it is said.
FEW = 10
BLOCK = 1 << 21  # weights at a time


def too_few(n_patients: int, whose: str = "The split has") -> str:
    """What to say of intervals from so many patients; "" where they are enough."""
    if n_patients >= FEW:
        return ""
    patients = "1 patient" if n_patients == 1 else f"{n_patients} patients"
    return f"{whose} {patients}; intervals from fewer than {FEW} patients are too narrow."


def of_unknown_patients(n_scans: int) -> str:
    """What to say of intervals where nobody knows whose so many scans are; "" for none."""
    if not n_scans:
        return ""
    return (
        f"Whose {n_scans} scan{'s' * (n_scans > 1)} are is not known: each counts as a patient of its own. "
        "If some are of one person, the intervals are too narrow and the splits may share patients; "
        "`medssl index` says how to name them."
    )


def without_spread(figures: "dict[str, Interval]") -> list[str]:
    """What to say of figures that came out the same in every resample, as a perfect score does."""
    names = [
        name for name, i in figures.items() if i.n_patients > 1 and i.low == i.estimate == i.high
    ]
    if not names:
        return []
    shown = "; ".join(map(title, names[:2])) + "; ..." * (len(names) > 2)
    figures_have = "1 figure has" if len(names) == 1 else f"{len(names)} figures have"
    return [
        f"{figures_have} an interval of no width ({shown}), since it comes out the same whichever patients "
        "are drawn. That does not make it certain: what none of few patients shows, others may"
    ]


def below_interval(figures: "dict[str, Interval]") -> list[str]:
    """What to say of figures that lie below their own interval, as a calibration error may, which comes
    out larger where some patients are drawn twice."""
    names = [title(name) for name, i in figures.items() if i.estimate < i.low]
    if not names:
        return []
    return [
        f"below its own interval lies {'; '.join(names)}: with patients drawn twice it comes out larger. "
        "The interval says how far it spreads, not where it lies"
    ]


@dataclass(frozen=True)
class Interval:
    """An estimate, the ends of its interval, and what it rests on.

    One patient has no spread over patients: the ends then fall on the estimate.
    """

    estimate: float
    low: float
    high: float
    n_patients: int
    n_cases: int
    seed: int
    n_left_out: int = 0  # cases without a value

    def __str__(self) -> str:
        left_out = f", {self.n_left_out} left out" if self.n_left_out else ""
        return (
            f"{self.estimate:z.3f} ({self.low:z.3f} to {self.high:z.3f}; {self.n_patients} patients, "
            f"{self.n_cases} cases{left_out}, seed {self.seed})"
        )


def bootstrap(
    values: np.ndarray, patients: np.ndarray, *, n: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """The mean with a percentile bootstrap interval that resamples patients.

    values    one value a case; cases that are NaN are left out, and counted
    patients  one id a case
    """
    return resampled_mean(values, patients, n=n, seed=seed, level=level)[0]


def resampled_mean(
    values: np.ndarray, patients: np.ndarray, *, n: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[Interval, np.ndarray]:
    """The same, and the means (n,) of the resamples; none where there is no value."""
    patients = np.asarray(patients)
    values = np.asarray(values, float)
    if values.shape != patients.shape:
        raise ValueError(f"values {values.shape} and patients {patients.shape} differ")
    known = ~np.isnan(values)
    values, patients, left_out = values[known], patients[known], int((~known).sum())
    if not len(values):
        return Interval(np.nan, np.nan, np.nan, 0, 0, seed, left_out), np.zeros(0)
    _, cluster = np.unique(patients, return_inverse=True)
    k = cluster.max() + 1
    sums, counts = np.bincount(cluster, values, k), np.bincount(cluster, minlength=k)
    weights = _drawn(seed, int(k), n)
    means = (weights @ sums) / (weights @ counts)
    return Interval(
        float(values.mean()), *ends(means, level), int(k), len(values), seed, left_out
    ), means


def paired_difference(
    a: np.ndarray,
    b: np.ndarray,
    patients: np.ndarray,
    *,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Mean of a less mean of b over the same cases (n,); see `resampled_difference`."""
    return resampled_difference(a, b, patients, n=n, seed=seed, level=level)[0]


def resampled_difference(
    a: np.ndarray, b: np.ndarray, patients: np.ndarray, *, n: int = 2000, seed: int = 0,
    level: float = 0.95,
) -> tuple[Interval, np.ndarray]:  # fmt: skip
    """The same, and that of every resample (n,), the same patients being drawn for both.

    Where one side lacks a value (of an empty truth a false positive has a Dice of 0, a right answer none),
    each mean is over the cases that its side has. Cases that both lack are left out, and counted.
    """
    patients, both = np.asarray(patients), np.stack([a, b]).astype(float)
    known = ~np.isnan(both)
    some = known.any(0)
    both, known, patients = both[:, some], known[:, some], patients[some]
    left_out = int((~some).sum())
    if not known.any(1).all():
        return Interval(np.nan, np.nan, np.nan, 0, 0, seed, left_out + len(patients)), np.zeros(0)
    names, cluster = np.unique(patients, return_inverse=True)
    k = len(names)
    weights = _drawn(seed, k, n)
    sums, counts = (
        np.stack([np.bincount(cluster, side, k) for side in of], 1)
        for of in (np.nan_to_num(both), known.astype(float))
    )
    with np.errstate(invalid="ignore"):  # a resample may hold no case that one side has
        means = (weights @ sums) / (weights @ counts)
    one, two = (float(side[there].mean()) for side, there in zip(both, known, strict=True))
    samples = means[:, 0] - means[:, 1]
    interval = Interval(one - two, *ends(samples, level), k, len(patients), seed, left_out)
    return interval, samples


def bootstrap_statistics(
    statistics: Callable[[np.ndarray], dict[str, np.ndarray]], patients: np.ndarray, *,
    n: int = 2000, seed: int = 0, level: float = 0.95,
) -> dict[str, Interval]:  # fmt: skip
    """The same for figures that are no means.

    statistics  of weights (R, n cases), how often each case counts: named figures (R,)

    Resamples in which a figure is NaN (one class only, say) are left out of its interval.
    """
    estimates, samples = resampled(statistics, patients, n=n, seed=seed)
    return intervals_of(estimates, samples, patients, seed=seed, level=level)


def resampled(
    statistics: Callable[[np.ndarray], dict[str, np.ndarray]], patients: np.ndarray, *,
    n: int = 2000, seed: int = 0,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:  # fmt: skip
    """Every figure of all cases, and of each resample of patients (n,), NaN where it has no value there.

    Resample i holds the same patients for every figure, and for every call with as many patients.
    """
    names, cluster = np.unique(np.asarray(patients), return_inverse=True)
    if not len(names):
        raise ValueError("no cases to score")
    k, cases = len(names), len(cluster)
    estimates = {name: float(v[0]) for name, v in statistics(np.ones((1, cases))).items()}
    weights = _drawn(seed, int(k), n)
    blocks = np.array_split(weights, max(1, n * cases // BLOCK))
    drawn = [statistics(some[:, cluster].astype(float)) for some in blocks]
    return estimates, {name: np.concatenate([some[name] for some in drawn]) for name in estimates}


def intervals_of(
    estimates: dict[str, float], samples: dict[str, np.ndarray], patients: np.ndarray, *,
    seed: int = 0, level: float = 0.95,
) -> dict[str, Interval]:  # fmt: skip
    """The intervals of what `resampled` gave."""
    k, cases = len(np.unique(np.asarray(patients))), len(patients)
    return {
        name: Interval(estimate, *ends(samples[name], level), k, cases, seed)
        for name, estimate in estimates.items()
    }


@lru_cache(maxsize=1)  # asked for again by every figure of a table
def _drawn(seed: int, k: int, n: int) -> np.ndarray:
    """How often each of k patients is in each of n resamples (n, k)."""
    weights = generator(seed, "bootstrap").multinomial(k, np.full(k, 1 / k), size=n)
    weights.flags.writeable = False
    return weights


def ends(samples: np.ndarray, level: float = 0.95, method: str = "linear") -> tuple[float, float]:
    """The ends of the percentile interval of resamples (n,); those that are NaN are left out.

    method  of `numpy.quantile`: of infinite values only those that are there can be told
    """
    samples = samples[~np.isnan(samples)]
    if not len(samples):
        return float("nan"), float("nan")
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(samples, tails, method=method)
    return float(low), float(high)
