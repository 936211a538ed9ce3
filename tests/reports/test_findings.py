"""Findings of the field beside those of a study, on made figures whose answers are known."""

import numpy as np
import pandas as pd
import pytest

from medssl.evaluation.efficiency import efficiency
from medssl.reports.findings import section, verdict

DICE = "dice, mean of classes"
# Means at 2 and 8 labelled scans; spread over patients is 0.02.
MEANS = {
    "from scratch": (0.5, 0.8), "masked": (0.7, 0.8), "views": (0.5, 0.9), "fewer scans": (0.6, 0.95),
}  # fmt: skip
VIEWS = {"method": {"name": "simclr"}, "backbone": {"name": "vit"}, "selection": {}}
CARDS = {
    "masked": {**VIEWS, "method": {"name": "spark"}},
    "views": VIEWS,
    "fewer scans": {**VIEWS, "selection": {"sha256": "c0ffee"}},
}


def scored(mean, seed):
    draw = np.random.default_rng(seed).normal(0, 0.02, 40)
    return pd.DataFrame({"id": [f"c{i}" for i in range(40)], "patient": [f"p{i}" for i in range(40)],
                         "class": "ball", "dice": mean + draw})  # fmt: skip


def study_of(arms, counts=(2, 8), better=1):
    tables = {
        (arm, n): [scored(mean, seed)]
        for seed, arm in enumerate(arms) for n, mean in zip(counts, MEANS[arm], strict=False)
    }  # fmt: skip
    against = {arm: "from scratch" for arm in arms if arm != "from scratch"}
    return efficiency(tables, against, {DICE: better}, n=1000)[DICE]


def cards_of(study):
    return {arm: CARDS[arm] for arm in study.baselines}


def told(study, whole=True):
    found = section(study, cards_of(study), whole)
    return found[0].tables[0][0] if found else pd.DataFrame(columns=["finding"])


def found_by(table):
    return table["finding"].str.partition(":")[0]


def test_what_rests_on_scores_of_nothing_learnt_is_not_judged():
    study = study_of(MEANS)
    (found,) = section(study, cards_of(study), True, {("views", 2)})
    judged = found.tables[0][0].set_index("beside it, of this study")["the data"]
    touched = judged.index.str.contains("views")
    assert set(judged[touched]) == {"not judged"} and "Nothing is judged by" in found.text
    assert judged[~touched].equals(
        told(study).set_index("beside it, of this study")["the data"][~touched]
    )


def test_each_finding_stands_beside_the_figure_that_speaks_of_it():
    table = told(study_of(MEANS)).set_index("beside it, of this study")
    figure = table["figure"].str.split(" ").str[0].str.replace("\N{MINUS SIGN}", "-")
    figure, agrees = figure.astype(float), table["the data"]
    robust = "loss of views from 8 to 2 labels, less that of masked"
    assert figure[robust] == pytest.approx(0.3, abs=0.02) and agrees[robust] == "agree"
    full = "share that {} with 2 labels reaches of from scratch with 8, less 0.92"
    for arm, score in (("masked", 0.7), ("views", 0.5)):
        assert figure[full.format(arm)] == pytest.approx(score / 0.8 - 0.92, abs=0.02)
    assert set(agrees[[full.format(arm) for arm in CARDS]]) == {"do not agree"}
    reduced = "gain of fewer scans over views, mean of 2 numbers of labels"
    assert figure[reduced] == pytest.approx(0.075, abs=0.02) and agrees[reduced] == "agree"
    # fewer scans, of views too, lose less than views: SparK is set beside both, reduction beside one.
    assert found_by(table).value_counts().to_dict() == {
        "Wolf 2023": 2, "Chaitanya 2020": 3, "Wolf 2024": 1,
    }  # fmt: skip


@pytest.mark.parametrize(("seen", "beside"), [(["p1", "p2", "p3"], 1), (["p4", "p5"], 0)])
def test_fewer_scans_are_set_beside_those_that_they_are_part_of(seen, beside):
    study = study_of(MEANS)
    cards = cards_of(study)
    for arm, patients in (("views", seen), ("fewer scans", ["p1", "p2"])):
        cards[arm] = {**cards[arm], "patients": {"pretrain": patients}}
    (found,) = section(study, cards, True)
    assert (found_by(found.tables[0][0]) == "Wolf 2024").sum() == beside


def test_what_training_from_scratch_finds_as_well_speaks_of_no_pretraining(monkeypatch):
    asked = ["from scratch", "masked"]
    full = "share that masked with 2 labels reaches of from scratch with 8, less 0.92"
    for scratch, words in ((0.78, "agree, also from scratch"), (0.5, "agree")):
        monkeypatch.setitem(MEANS, "masked", (0.79, 0.8))
        monkeypatch.setitem(MEANS, "from scratch", (scratch, 0.8))
        table = told(study_of(asked)).set_index("beside it, of this study")
        assert table["the data"][full] == words


def test_an_interval_that_holds_0_shows_nothing():
    alike = {arm: [scored(0.5, 0)] for arm in ("masked", "views", "from scratch")}
    tables = {(arm, n): runs for arm, runs in alike.items() for n in (4, 8)}
    against = dict.fromkeys(["masked", "views"], "from scratch")
    table = told(efficiency(tables, against, {DICE: 1}, n=1000)[DICE])
    assert table["the data"].tolist() == ["show neither"]
    for estimate in (-0.1, 0.1):
        assert verdict({"estimate": estimate, "low": -0.2, "high": 0.2}) == "show neither"


def test_of_errors_a_smaller_rise_is_more_robust():
    rising = {arm: mean[::-1] for arm, mean in MEANS.items()}
    tables = {(arm, n): [scored(mean, k)] for k, arm in enumerate(CARDS)
              for n, mean in zip((2, 8), rising[arm], strict=True)}  # fmt: skip
    tables |= {("from scratch", n): [scored(0.9, 9)] for n in (2, 8)}
    study = efficiency(tables, dict.fromkeys(CARDS, "from scratch"), {DICE: -1}, n=1000)[DICE]
    table = told(study).set_index("beside it, of this study")
    robust = "loss of views from 8 to 2 labels, less that of masked"
    assert table["the data"][robust] == "agree"
    assert not (found_by(table) == "Chaitanya 2020").any()  # an error has no share


def test_of_all_labels_only_a_study_speaks_that_went_to_them():
    study = study_of(["from scratch", "views"])
    assert found_by(told(study)).tolist() == ["Chaitanya 2020"]
    assert told(study, whole=False).empty


def test_a_study_that_says_nothing_of_them_has_no_such_section():
    for study in (
        study_of(["from scratch", "views"], counts=(4, 8)),
        study_of(["from scratch", "masked", "views"], counts=(8,)),
    ):
        assert section(study, cards_of(study), whole=True) == []


def test_nothing_is_set_beside_curves_that_fall_with_more_labels():
    study = study_of(MEANS, better=-1)  # as if Dice were an error, which rises from scratch
    assert study.falling() == ["from scratch"] and told(study).empty
