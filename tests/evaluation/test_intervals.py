import numpy as np
import pytest

from medssl.evaluation.intervals import (
    Interval,
    below_interval,
    bootstrap,
    bootstrap_statistics,
    paired_difference,
    resampled,
    resampled_difference,
    resampled_mean,
    without_spread,
)
from medssl.seeding import generator


def test_estimate_counts_and_seed():
    found = bootstrap(np.array([1.0, 2.0, 3.0, np.nan]), np.array(list("aabc")), seed=4)
    assert (found.estimate, found.n_patients, found.n_cases, found.seed) == (2.0, 2, 3, 4)
    assert found.low <= 2 <= found.high
    assert bootstrap(np.array([1.0, 2.0]), np.array(list("ab")), seed=4) == bootstrap(
        np.array([1.0, 2.0]), np.array(list("ab")), seed=4
    )


def test_mean_and_statistic_agree():
    rng = np.random.default_rng(0)
    values, patients = rng.normal(size=120), rng.integers(0, 40, 120)
    a = bootstrap(values, patients, n=4000)
    b = bootstrap_statistics(lambda w: {"m": w @ values / w.sum(1)}, patients, n=4000)["m"]
    assert a.estimate == pytest.approx(b.estimate)
    assert a.low == pytest.approx(b.low, abs=0.03) and a.high == pytest.approx(b.high, abs=0.03)


def test_coverage_is_near_the_level():
    rng = np.random.default_rng(0)
    inside = 0
    for i in range(400):
        person = rng.normal(size=60)
        patients = np.repeat(np.arange(60), 3)
        values = person[patients] + 0.3 * rng.normal(size=180)
        found = bootstrap(values, patients, n=400, seed=i)
        inside += found.low <= 0 <= found.high
    assert 0.90 <= inside / 400 <= 0.98


def test_correlated_scans_widen_the_interval():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(30), 10)
    values = rng.normal(size=30)[patients]
    clustered = bootstrap(values, patients)
    naive = bootstrap(values, np.arange(300))
    assert clustered.high - clustered.low > 2 * (naive.high - naive.low)


def test_paired_difference_sees_a_small_gain_under_large_spread():
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 5, 80)
    found = paired_difference(hard + 0.1 + 0.05 * rng.normal(size=80), hard, np.arange(80))
    assert found.low > 0.05 and found.high < 0.15


def test_nothing_known_is_nan_not_a_crash():
    assert np.isnan(bootstrap(np.array([np.nan]), np.array(["a"])).estimate)


def test_resamples_where_a_figure_is_not_defined_are_left_out():
    values = np.array([1.0, 0, 0, 0])

    def share(weights):
        seen = weights @ values > 0
        return {"defined": np.where(seen, 1.0, np.nan), "never": np.full(len(seen), np.nan)}

    found = bootstrap_statistics(share, np.arange(4), n=200)
    assert (found["defined"].low, found["defined"].high) == (1, 1)
    assert np.isnan(found["never"].low)


def test_cases_without_a_value_are_counted_and_said():
    found = bootstrap(np.array([0.5, np.nan, 0.7]), np.array(list("abc")))
    assert found.n_left_out == 1 and "1 left out" in str(found)
    assert "left out" not in str(bootstrap(np.array([0.5]), np.array(["a"])))
    assert bootstrap(np.array([np.nan] * 3), np.array(list("abc"))).n_left_out == 3


def test_mean_by_weights_equals_resampling_by_hand():
    values, patients = np.array([1.0, 2.0, 4.0, 8.0]), np.array(list("aabc"))
    weights = generator(7, "bootstrap").multinomial(3, np.full(3, 1 / 3), size=50)
    rows = {"a": [0, 1], "b": [2], "c": [3]}
    means = []
    for w in weights:
        chosen = [i for n, name in zip(w, "abc", strict=True) for i in rows[name] * n]
        means.append(values[chosen].mean())
    found = bootstrap(values, patients, n=50, seed=7, level=0.9)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.05, 0.95])))


def test_resamples_are_what_the_intervals_are_made_of():
    rng = np.random.default_rng(0)
    values, patients = rng.normal(size=90), np.repeat(np.arange(30), 3)

    def figures(w):
        mean = w @ values / w.sum(1)
        return {"mean": mean, "some": np.where(mean > 0, mean, np.nan)}

    estimates, samples = resampled(figures, patients, n=500, seed=3)
    assert estimates["mean"] == pytest.approx(values.mean()) and len(samples["some"]) == 500
    found = bootstrap_statistics(figures, patients, n=500, seed=3)
    for name in estimates:
        known = samples[name][~np.isnan(samples[name])]
        ends = np.quantile(known, [0.025, 0.975])
        assert (found[name].low, found[name].high) == pytest.approx(tuple(ends))
    interval, means = resampled_mean(values, patients, n=500, seed=3)
    assert means == pytest.approx(samples["mean"])  # the same patients in the same resample
    assert interval == bootstrap(values, patients, n=500, seed=3)
    assert len(resampled_mean(np.array([np.nan]), np.array(["a"]))[1]) == 0


def test_lengths_must_agree_and_there_must_be_cases():
    with pytest.raises(ValueError, match="patients"):
        bootstrap(np.ones(3), np.array(list("ab")))
    with pytest.raises(ValueError, match="no cases"):
        bootstrap_statistics(lambda w: {"m": w.sum(1)}, np.array([]))


def test_figures_without_spread_are_remarked_by_their_readable_names():
    same, other = Interval(1.0, 1.0, 1.0, 5, 5, 0), Interval(0.5, 0.4, 0.6, 5, 5, 0)
    (said,) = without_spread({"hd95_mm, a": same, "dice, a": other, "froc_mean": same, "map": same})
    shown = "HD95 in mm, a; Mean sensitivity at 1/8 to 8 false a scan; ..."
    assert said.startswith(f"3 figures have an interval of no width ({shown})")
    assert "does not make it certain" in said
    assert without_spread({"dice, a": same})[0].startswith("1 figure has an interval")
    assert without_spread({"dice, a": other}) == []


def test_a_figure_below_its_interval_is_remarked():
    beside, within = Interval(0.05, 0.06, 0.09, 9, 9, 0), Interval(0.5, 0.4, 0.6, 9, 9, 0)
    unknown = Interval(np.nan, np.nan, np.nan, 0, 0, 0)
    (said,) = below_interval({"calibration_error": beside, "auroc": within, "map": unknown})
    assert said.startswith("below its own interval lies Calibration error: ")
    assert below_interval({"auroc": within, "map": unknown}) == []


def test_false_positives_where_the_other_rightly_finds_nothing_are_a_loss():
    right, wrong = np.array([0.8] * 10 + [np.nan] * 10), np.array([0.8] * 10 + [0.0] * 10)
    found, samples = resampled_difference(right, wrong, np.arange(20), n=500)
    assert found.estimate == pytest.approx(0.4) and found.low > 0.1 and len(samples) == 500
    assert (found.n_patients, found.n_left_out) == (20, 0)
    # Where both have a value of the same cases it is the mean of their differences.
    rng = np.random.default_rng(0)
    a, b, who = rng.normal(size=30), rng.normal(size=30), rng.integers(0, 12, 30)
    a[3] = b[3] = np.nan
    both, samples = resampled_difference(a, b, who, n=300, seed=5)
    one, means = resampled_mean(a - b, who, n=300, seed=5)
    assert np.allclose(samples, means) and both.n_left_out == one.n_left_out == 1
    assert np.allclose([both.estimate, both.low, both.high], [one.estimate, one.low, one.high])
    nothing, none = resampled_difference(np.full(4, np.nan), np.ones(4), np.arange(4))
    assert np.isnan(nothing.estimate) and nothing.n_left_out == 4 and len(none) == 0
