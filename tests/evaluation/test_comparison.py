import numpy as np
import pytest

from medssl.evaluation.comparison import (
    BETTER,
    SAME,
    WORSE,
    cannot_show,
    compare,
    differing,
    least_p,
    resamples_for,
)
from medssl.evaluation.significance import holm
from medssl.evaluation.summary import differences, summary
from tests.evaluation.test_headline import numbers
from tests.evaluation.test_summary import boxed, classified, segmented


def shifted(gain: float, seed: int, noise: float = 0.02):
    """Forty patients' segmentations, better by `gain` on average."""
    draw = np.random.default_rng(seed)
    cases = segmented()
    cases = cases[cases["id"] == "s1"]
    rows = [cases.assign(id=f"s{i}", patient=f"p{i}") for i in range(40)]
    cases = type(cases)(np.concatenate([r.to_numpy() for r in rows]), columns=cases.columns)
    hard = np.random.default_rng(99).normal(0, 0.1, len(cases))
    scores = {m: (0.6 + hard + gain + draw.normal(0, noise, len(cases))) for m in ("dice", "nsd")}
    return cases.assign(**scores, hd95_mm=5 - 20 * scores["dice"])


def test_every_figure_of_every_run_and_its_difference_are_those_of_one_run_at_a_time():
    runs = {"scratch": shifted(0, 0), "a": shifted(0.1, 1), "b": shifted(0, 2)}
    table = compare(runs, n=400, seed=3)
    assert list(table["figure"].unique()) == list(summary(runs["a"], n=100))
    for run in runs:
        alone = summary(runs[run], n=400, seed=3)
        rows = table[table["run"] == run].set_index("figure")
        for name, interval in alone.items():
            found = rows.loc[name, ["estimate", "low", "high", "n_patients", "n_cases"]]
            assert found.tolist() == [getattr(interval, k) for k in found.index]
    pairs = differences(runs["a"], runs["scratch"], n=400, seed=3)
    rows = table[table["run"] == "a"].set_index("figure")
    for name, interval in pairs.items():
        found = rows.loc[name, ["difference", "difference low", "difference high"]]
        assert found.tolist() == [interval.estimate, interval.low, interval.high]
    assert table[table["run"] == "scratch"]["p"].isna().all()


def test_the_main_figure_is_corrected_for_the_runs_and_the_others_for_all_of_them():
    runs = {"scratch": shifted(0, 0), "a": shifted(0.006, 1), "b": shifted(0.004, 2)}
    table = compare(runs, n=400)
    main = table[table["main"] & table["p"].notna()]
    assert set(main["figure"]) == {"dice, mean of classes"} and set(main["run"]) == {"a", "b"}
    assert (
        main["p corrected"].tolist() == list(holm(main["p"])) and (main["comparisons"] == 2).all()
    )
    rest = table[~table["main"] & table["p"].notna()]
    assert len(rest) == 16 and (rest["comparisons"] == 16).all()
    assert rest["p corrected"].tolist() == list(holm(rest["p"]))
    named = compare(runs, "nsd, a", n=400)
    assert set(named[named["main"]]["figure"]) == {"nsd, a"} == {named["figure"].iloc[0]}


def test_what_is_better_is_read_by_the_direction_of_each_figure():
    runs = {
        "scratch": shifted(0, 0),
        "good": shifted(0.1, 1),
        "bad": shifted(-0.1, 2),
        "same": shifted(0, 3),
    }
    table = compare(runs, n=2000).set_index(["figure", "run"])["reading"]
    for figure in ("dice, mean of classes", "hd95_mm, mean of classes"):
        assert table[figure].to_dict() == {
            "scratch": "",
            "good": BETTER,
            "bad": WORSE,
            "same": SAME,
        }


def test_a_run_compared_with_itself_shows_nothing():
    for cases in (classified(0), boxed(0), numbers()):
        table = compare({"one": cases, "two": cases}, n=200)
        told = table[table["run"] == "two"]
        assert set(told["reading"]) <= {SAME, ""}
        known = told["p"].notna()
        assert (told.loc[known, "difference"] == 0).all() and (told.loc[known, "p"] == 1).all()


def test_figures_that_only_one_side_has_have_no_difference():
    with_lesions = shifted(0, 1).assign(lesion_f1=0.5)
    table = compare({"a": shifted(0, 0), "b": with_lesions}, n=100)
    lesions = table[table["figure"].str.startswith("lesion")]
    assert set(lesions["run"]) == {"b"} and lesions["difference"].isna().all()


def test_other_cases_are_refused():
    with pytest.raises(ValueError, match="different cases"):
        compare({"a": shifted(0, 0), "b": shifted(0, 0).iloc[2:]}, n=100)


def test_there_are_resamples_enough_for_a_clear_difference_to_stay_clear():
    assert resamples_for(3, 2) == 2000 and resamples_for(10**4, 9) == 20000
    n = resamples_for(91, 2)
    assert least_p(n, 100) * 90 == pytest.approx(0.02, rel=0.01)
    runs = {"a": shifted(0, 0), "b": shifted(0.1, 1)}
    assert cannot_show(compare(runs, n=2000), 2000) == ""
    few = compare(runs, n=300)
    words = cannot_show(few, 300)
    assert "none of 8 comparisons of the other figures" in words and "main" not in words
    assert (few.loc[~few["main"], "reading"].isin([SAME, ""])).all()


def test_few_patients_can_show_nothing_and_it_is_said():
    few = {
        n: shifted(g, s)[lambda t: t["id"].isin(["s0", "s1", "s2"])]
        for n, g, s in (("a", 0, 0), ("b", 0.3, 1))
    }
    table = compare(few, n=2000)
    assert set(table["reading"]) == {"", SAME}
    assert "resamples of 3 patients none of 1 comparisons of the main figure" in cannot_show(
        table, 2000
    )


def test_only_settings_that_differ_are_listed():
    runs = {
        "a": {"fit.steps": 10, "task.size": [8, 8], "seed": 0, "out": "a"},
        "b": {"fit.steps": 20, "task.size": [8, 8], "seed": 0, "out": "b", "task.width": 4},
    }
    table = differing(runs, ["out"])
    assert table.to_dict("list") == {
        "setting": ["fit.steps", "task.width"], "a": [10, None], "b": [20, 4]
    }  # fmt: skip
    assert differing({"a": runs["a"], "b": runs["a"]}).empty
