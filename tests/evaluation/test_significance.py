import numpy as np
import pytest
from scipy.stats import kstest, multivariate_normal

from medssl.evaluation.intervals import resampled_mean
from medssl.evaluation.significance import holm, p_value


def simulated(gain: float, n_patients: int, n: int, runs: int) -> np.ndarray:
    """P-values of paired differences of three scans a patient, whose true mean is `gain`."""
    found = []
    for i in range(runs):
        draw = np.random.default_rng(i)
        patients = np.repeat(np.arange(n_patients), 3)
        values = (
            gain + draw.normal(size=n_patients)[patients] + 0.3 * draw.normal(size=3 * n_patients)
        )
        found.append(p_value(resampled_mean(values, patients, n=n, seed=i)[1], n_patients))
    return np.array(found)


def test_where_nothing_differs_p_values_are_uniform():
    found = simulated(0.0, 80, 999, 600)
    assert kstest(found, "uniform").pvalue > 0.01
    assert 0.025 < (found <= 0.05).mean() < 0.085


def test_where_something_differs_they_are_small():
    found = simulated(0.5, 80, 999, 50)
    assert (found < 0.05).mean() > 0.95


def test_few_patients_prove_little_however_alike_their_differences_are():
    found = simulated(0.0, 4, 400, 300)
    assert found.min() == 2 / 2**4 and (found <= 0.05).mean() == 0
    assert p_value(np.full(1999, 0.2), 1) == 1
    assert p_value(np.full(1999, 0.2), 30) == p_value(np.full(1999, 0.2)) == 2 / 2000


def test_it_is_twice_the_smaller_tail_with_one_resample_more_on_each_side():
    samples = np.array([-1.0, 2, 3, 4, 5, 6, 7, 8, 9])
    assert p_value(samples) == p_value(-samples) == 2 * (1 + 1) / 10
    assert p_value(np.append(samples, [np.nan] * 5)) == p_value(samples)
    assert p_value(np.zeros(9)) == 1 and p_value(np.arange(1.0, 1000)) == 2 / 1000
    assert np.isnan(p_value(np.full(3, np.nan))) and np.isnan(p_value(np.zeros(0)))


def test_it_is_small_where_the_interval_leaves_0_out():
    for i in range(60):
        values = np.random.default_rng(i).normal(0.25, 1, 60)
        interval, samples = resampled_mean(values, np.arange(60), n=1999, seed=i)
        p = p_value(samples, 60)
        if abs(p - 0.05) > 0.003:  # the end of an interval lies between two resamples
            assert (p < 0.05) == (interval.low > 0 or interval.high < 0)


def step_down(p: np.ndarray, level: float) -> np.ndarray:
    """Which are rejected, as Holm's paper puts it: the smallest at level / m, the next at level / (m - 1),
    until one is not."""
    rejected = np.zeros(len(p), bool)
    for k, i in enumerate(np.argsort(p)):
        if p[i] > level / (len(p) - k):
            break
        rejected[i] = True
    return rejected


def test_holm_rejects_what_the_step_down_procedure_rejects_at_every_level():
    draw = np.random.default_rng(0)
    for n in (1, 2, 5, 12):
        p = draw.uniform(size=n) ** 2
        for level in (0.01, 0.05, 0.2, 0.5, 0.9):
            assert ((holm(p) <= level) == step_down(p, level)).all()


def test_holm_as_statsmodels_has_it():
    # multipletests(..., method="holm")[1] of statsmodels.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.5]) == pytest.approx([1, 1]) and holm([0.04]) == pytest.approx([0.04])
    assert len(holm([])) == 0


def test_what_has_no_p_value_is_no_comparison():
    found = holm([0.01, np.nan, 0.04])
    assert np.isnan(found[1]) and found[[0, 2]] == pytest.approx(holm([0.01, 0.04]))


def test_holm_keeps_the_level_over_dependent_comparisons_that_all_hold():
    from scipy.stats import norm

    z = multivariate_normal(np.zeros(5), 0.5 + 0.5 * np.eye(5), seed=0).rvs(4000)
    wrong = [(holm(p) <= 0.05).any() for p in 2 * norm.sf(np.abs(z))]
    without = (2 * norm.sf(np.abs(z)) <= 0.05).any(1)
    assert np.mean(wrong) < 0.06 and without.mean() > 0.12
