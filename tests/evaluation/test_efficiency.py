"""Label efficiency, on tables whose answers are known."""

import numpy as np
import pandas as pd
import pytest

from medssl.evaluation.efficiency import _labels, efficiency, gains_by_group
from medssl.evaluation.summary import summary

DICE = "dice, mean of classes"
PATIENTS = 40


def segmented(mean, seed, spread=0.02):
    """Two classes a case; the cases of a seed err alike, whatever the mean."""
    draw = np.random.default_rng(seed).normal(0, spread, (PATIENTS, 2))
    return pd.DataFrame([
        {"id": f"c{i}", "patient": f"p{i}", "class": name, "dice": mean + draw[i, k]}
        for i in range(PATIENTS) for k, name in enumerate("ab")
    ])  # fmt: skip


@pytest.fixture(scope="module")
def study():
    """Scratch rises by 0.1 with every doubling, from 0.4 with one label; `good` is a doubling ahead,
    `same` is equal to it, each with two draws."""
    tables = {}
    for k, n in enumerate((1, 2, 4, 8)):
        tables["scratch", n] = [segmented(0.4 + 0.1 * k, seed) for seed in (0, 1)]
        tables["good", n] = [segmented(0.5 + 0.1 * k, seed + 10, 0.01) for seed in (0, 1)]
        tables["same", n] = [segmented(0.4 + 0.1 * k, seed) for seed in (0, 1)]
    found = efficiency(tables, {"good": "scratch", "same": "scratch"}, {DICE: 1}, n=2000)[DICE]
    return found, tables


def at(table, arm, labelled):
    return table.set_index(["arm", "labelled"]).loc[(arm, labelled)]


def test_a_point_is_the_mean_of_its_runs_with_the_interval_of_patients(study):
    found, tables = study
    row, runs = at(found.curve(), "scratch", 4), tables["scratch", 4]
    scores = [t.groupby("id")["dice"].mean().mean() for t in runs]
    assert row["estimate"] == pytest.approx(np.mean(scores))
    assert (row["lowest run"], row["highest run"]) == pytest.approx((min(scores), max(scores)))
    both = pd.concat(runs).groupby(["id", "patient", "class"], as_index=False)["dice"].mean()
    alone = summary(both, n=2000, seed=0)[DICE]
    assert (row["low"], row["high"]) == pytest.approx((alone.low, alone.high), abs=2e-3)


def test_gains_are_paired_and_nothing_gains_over_its_like(study):
    found, _ = study
    gains = found.differences()
    good, same = at(gains, "good", 2), at(gains, "same", 2)
    assert good["estimate"] == pytest.approx(0.1, abs=0.01) and good["low"] > 0.08
    assert good["p, corrected"] < 0.05
    assert same[["estimate", "low", "high"]].abs().max() < 1e-12 and same["p"] == 1
    assert good["p, corrected"] == pytest.approx(8 * good["p"])  # the least of eight
    assert (gains["p, corrected"] >= gains["p"]).all() and len(gains) == 8


def test_only_numbers_of_labels_that_the_baseline_had_too_are_compared(study):
    found, tables = study
    fewer = {cell: runs for cell, runs in tables.items() if cell != ("scratch", 4)}
    again = efficiency(fewer, found.baselines, {DICE: 1}, n=500)[DICE]
    assert again.differences()["labelled"].tolist() == [1, 2, 8, 1, 2, 8]
    assert again.curve()["labelled"].tolist().count(4) == 2


def test_intervals_are_of_patients_however_many_scans_each_has():
    table = segmented(0.5, 0)
    of = {f"c{i}": f"p{min(i, 10) // 2 if i < 30 else i}" for i in range(PATIENTS)}
    table["patient"] = table["id"].map(of)
    table.loc[table["patient"] == "p5", "dice"] += 0.2  # twenty scans of one patient
    row = efficiency({("scratch", 1): [table]}, {}, {DICE: 1}, n=2000)[DICE].curve().iloc[0]
    alone = summary(table, n=2000, seed=0)[DICE]
    assert (row["low"], row["high"]) == pytest.approx((alone.low, alone.high))


def test_labels_needed_are_read_off_the_curve(study):
    found, _ = study
    needed = found.needed()
    assert at(needed, "good", 2)["estimate"] == pytest.approx(4, rel=0.1)
    row = at(needed, "good", 8)
    assert np.isinf(row[["estimate", "low", "high"]].astype(float)).all()
    low = at(needed, "same", 1)
    assert low["estimate"] == 1 == low["low"]


def test_labels_needed_are_the_fewest_where_the_curve_falls_in_between():
    scores = {1: 0.4, 2: 0.6, 4: 0.5, 8: 0.7}
    tables = {("scratch", n): [segmented(score, 0, 0)] for n, score in scores.items()}
    tables["good", 1] = [segmented(0.55, 0, 0)]
    needed = efficiency(tables, {"good": "scratch"}, {DICE: 1}, n=500)[DICE].needed()
    assert at(needed, "good", 1)["estimate"] == pytest.approx(2**0.75)


def test_shares_and_losses(study):
    found, _ = study
    assert at(found.shares(), "scratch", 8)["estimate"] == 1
    assert at(found.shares(), "good", 4)["estimate"] == pytest.approx(1, abs=0.02)
    losses = found.losses().set_index("arm")
    assert losses.loc["good", "estimate"] == pytest.approx(0.3, abs=0.01)
    assert losses.loc["good", ["from", "to"]].tolist() == [8, 1]


def test_of_a_score_of_0_there_is_no_share_and_of_none_no_number_of_labels():
    tables = {("scratch", n): [segmented(0, 0, 0)] for n in (1, 2)}
    tables |= {("good", n): [segmented(0.5, 0, 0)] for n in (1, 2)}
    found = efficiency(tables, {"good": "scratch"}, {DICE: 1}, n=500)[DICE]
    assert found.shares()[["estimate", "low", "high"]].isna().all(axis=None)
    assert np.isinf(found.needed()["estimate"]).all()
    undefined = np.array([[np.nan, np.nan], [0.1, 0.3]])
    told = _labels([1, 2], undefined, np.array([np.nan, 0.3]))
    assert np.isnan(told[0]) and told[1] == 2


def test_a_baseline_that_falls_with_more_labels_is_named(study):
    found, tables = study
    assert found.falling() == []
    fewer = {cell: tables[cell[0], {1: 8, 8: 1}.get(cell[1], cell[1])] for cell in tables}
    against = {"good": "scratch", "same": "scratch"}
    assert efficiency(fewer, against, {DICE: 1}, n=1000)[DICE].falling() == ["scratch"]
    assert efficiency(tables, against, {DICE: -1}, n=1000)[DICE].falling() == ["scratch"]


def test_of_errors_less_is_better():
    def told(off):
        truth = np.arange(PATIENTS, dtype=float)
        return pd.DataFrame({"id": [f"c{i}" for i in range(PATIENTS)],
                             "patient": [f"p{i}" for i in range(PATIENTS)],
                             "truth": truth, "predicted": truth + off, "usual": truth.mean()})  # fmt: skip

    tables = {("scratch", 2): [told(4)], ("scratch", 8): [told(2)], ("good", 2): [told(2)],
              ("good", 8): [told(1)]}  # fmt: skip
    error = "mean_absolute_error"
    found = efficiency(tables, {"good": "scratch"}, {error: -1}, n=500)[error]
    gains = found.differences()
    assert gains["estimate"].tolist() == gains["lowest run"].tolist() == [2, 1]
    assert at(found.needed(), "good", 2)["estimate"] == 8
    assert found.losses().set_index("arm").loc["scratch", "estimate"] == 2


def test_cases_may_come_in_any_order_but_must_be_the_same(study):
    found, tables = study
    turned = {k: [t.sample(frac=1, random_state=1) for t in v] for k, v in tables.items()}
    again = efficiency(turned, found.baselines, {DICE: 1}, n=2000)[DICE]
    pd.testing.assert_frame_equal(again.differences(), found.differences())
    fewer = {**tables, ("good", 1): [t[t["id"] != "c3"] for t in tables["good", 1]]}
    with pytest.raises(ValueError, match="different cases"):
        efficiency(fewer, found.baselines, {DICE: 1})


def test_auroc_is_averaged_over_runs_and_paired():
    def told(seed):
        draw = np.random.default_rng(seed)
        truth = np.arange(PATIENTS) % 2
        sure = 1 / (1 + np.exp(-truth - draw.normal(0, 1, PATIENTS)))
        return pd.DataFrame({
            "id": [f"c{i}" for i in range(PATIENTS)], "patient": [f"p{i}" for i in range(PATIENTS)],
            "truth": np.where(truth, "ill", "well"), "predicted": np.where(sure > 0.5, "ill", "well"),
            "score_ill": sure, "score_well": 1 - sure,
        })  # fmt: skip

    tables = {("scratch", 2): [told(1), told(2)], ("other", 2): [told(3), told(4)]}
    found = efficiency(tables, {"other": "scratch"}, {"auroc": 1}, n=500)["auroc"]
    area = [summary(told(seed), n=100)["auroc"].estimate for seed in (1, 2, 3, 4)]
    row = found.differences().iloc[0]
    assert row["estimate"] == pytest.approx((area[2] + area[3] - area[0] - area[1]) / 2)
    assert (row["lowest run"], row["highest run"]) == pytest.approx(
        tuple(sorted([area[2] - area[0], area[3] - area[1]]))
    )
    assert found.runs["scratch", 2] == pytest.approx(area[:2])


def test_a_case_without_a_class_is_left_out_as_in_the_summary():
    table = segmented(0.5, 0)
    table.loc[table["id"].isin(["c1", "c2"]), "dice"] = np.nan
    found = efficiency({("scratch", 1): [table]}, {}, {DICE: 1, "dice, a": 1}, n=1000)
    for name, study in found.items():
        known = summary(table, n=1000)[name]
        assert study.curve()["estimate"][0] == pytest.approx(known.estimate)


def test_gains_of_groups(study):
    found, tables = study
    sex = pd.Series({f"c{i}": "F" if i % 4 else "M" for i in range(PATIENTS)})
    gains = gains_by_group(tables, {"good": "scratch"}, {DICE: 1}, {"sex": sex}, n=500)
    assert gains.groupby("value")["patients"].first().to_dict() == {"F": 30, "M": 10}
    some = {k: [t[t["id"].map(sex) == "M"] for t in v] for k, v in tables.items()}
    alone = efficiency(some, {"good": "scratch"}, {DICE: 1}, n=500)[DICE].differences()
    of_men = gains[gains["value"] == "M"]["estimate"].to_numpy()
    assert np.allclose(of_men, alone["estimate"])
    assert gains_by_group(tables, {"good": "scratch"}, {DICE: 1}, {}).empty


def test_a_false_gain_is_rarely_shown():
    """Of arms that are alike in truth, about one in twenty intervals leaves 0 out."""
    shown = 0
    for seed in range(200):
        tables = {("scratch", 2): [segmented(0.5, 2 * seed)],
                  ("alike", 2): [segmented(0.5, 2 * seed + 1)]}  # fmt: skip
        row = efficiency(tables, {"alike": "scratch"}, {DICE: 1}, n=400)[DICE].differences().iloc[0]
        shown += not row["low"] <= 0 <= row["high"]
    assert 2 <= shown <= 22


def test_p_is_no_smaller_than_the_patients_allow_of_whom_a_figure_says_something():
    """Two patients have the lesion, and all of their scores are better: two heads in a row."""

    def lesions(mean):
        table = segmented(mean, 0)
        lesion = table["class"] == "b"
        table.loc[lesion & ~table["patient"].isin(["p1", "p2"]), "dice"] = np.nan
        return [table]

    tables = {("good", 2): lesions(0.8), ("scratch", 2): lesions(0.4)}
    found = efficiency(tables, {"good": "scratch"}, {"dice, b": 1, "dice, a": 1}, n=2000)
    assert found["dice, b"].n_scored == 2 and found["dice, b"].n_patients == PATIENTS
    assert at(found["dice, b"].differences(), "good", 2)["p"] == 0.5
    assert at(found["dice, a"].differences(), "good", 2)["p"] < 0.01


def test_of_a_curve_with_a_gap_no_labels_are_read_off():
    curve = np.array([[0.3, np.nan, 0.5], [0.3, 0.4, 0.5]])
    assert np.isnan(_labels([1, 4, 16], curve, np.array([0.45, 0.4]))).tolist() == [True, False]
