"""Figures of every task, by groups and beside a baseline, as tables, lines and a page."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from medssl.errors import UserError
from medssl.stages import call
from tests.stages.conftest import FIT, TINY


def test_figures_have_intervals_patients_and_seed(segmented):
    found = json.loads((segmented / "tuned/evaluation/metrics.json").read_text())
    dice = found["metrics"]["dice, ball"]
    assert dice["low"] <= dice["estimate"] <= dice["high"]
    assert dice["n_patients"] == 1 and dice["n_cases"] == 2 and "seed" in dice
    assert (
        set(found["difference_to_baseline"])
        == set(found["metrics"])
        == {
            f"{measure}, {of}"
            for measure in ("dice", "nsd", "hd95_mm")
            for of in ("mean of classes", "ball")
        }
    )
    assert found["baseline"]["start"] == "from scratch" != found["start"]
    cases = pd.read_parquet(segmented / "tuned/evaluation/cases.parquet")
    assert cases["dice"].mean() == pytest.approx(dice["estimate"])
    assert len(pd.read_csv(segmented / "tuned/evaluation/cases.csv")) == len(cases) == 2
    page = (segmented / "tuned/evaluation/report.html").read_text()
    assert (
        "<img" in page
        and "differences are paired" in page
        and "http" not in page.replace("http://www.w3.org", "")
    )


def test_classification_of_volumes_and_probe(cohort, segmented):
    out = cohort / "out"
    call(
        "finetune", "classification", store=out / "store", target="label_odd", arch=TINY,
        task={"size": [16, 16, 16]}, fit=FIT, out=out / "odd",
    )  # fmt: skip
    with pytest.raises(UserError, match="label_odd"):
        call(
            "finetune",
            "classification",
            store=out / "store",
            target="label_od",
            arch=TINY,
            out=out / "no",
        )
    call("evaluate", run=out / "odd", examples_by="truth")  # as studies ask; nothing is drawn
    cases = pd.read_csv(out / "odd/evaluation/cases.csv")
    assert {"truth", "predicted", "score_0", "score_1"} <= set(cases)
    call("predict", run=out / "odd", scans=cohort / "images", modality="MR", out=out / "scores")
    scores = pd.read_csv(out / "scores/scores.csv")
    assert len(scores) == 10 and np.allclose(
        scores[["score_0", "score_1"]].sum(axis=1), 1, atol=1e-5
    )
    call("probe", run=out / "voco", store=out / "store", per_class=4, probes=["knn"])
    found = json.loads((out / "voco/probe/probe.json").read_text())["knn"]
    assert found["pretrained"]["estimate"] == 1  # one class


ANSWERS = {
    "multilabel": (
        ["odd", "big"],
        {"truth_odd", "truth_big", "score_odd", "predicted"},
        "auroc, odd",
    ),
    "ordinal": (["grade"], {"truth_step", "predicted_step", "score_2"}, "quadratic_kappa"),
    "regression": (["size"], {"truth", "predicted", "usual"}, "gain over the training mean"),
}


@pytest.mark.parametrize("task", ANSWERS)
def test_labels_grades_and_numbers_go_through_the_chain(cohort, tmp_path, task):
    targets, columns, figure = ANSWERS[task]
    asked = pd.read_csv(cohort / "splits.csv").assign(
        size=range(10), big=[""] + ["yes", "no", "no"] * 3, grade=[0, 1, 2, 2, 1, 0, 0, 1, 2, 1]
    )
    asked.to_csv(tmp_path / "labels.csv", index=False)
    call("index", scans=cohort / "images", labels=tmp_path / "labels.csv", modality="MR",
         out=tmp_path / "m")  # fmt: skip
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=tmp_path / "s")
    run = call("finetune", task, store=tmp_path / "s", target=targets, arch=TINY, fit=FIT,
               task={"size": [16, 16, 16]}, out=tmp_path / "run")  # fmt: skip
    found = call("evaluate", run=run)
    assert columns <= set(pd.read_csv(found / "cases.csv"))
    assert figure in json.loads((found / "metrics.json").read_text())["metrics"]
    assert "<img" in (found / "report.html").read_text()
    call("evaluate", run=run, baseline=found, out=tmp_path / "again")
    told = json.loads((tmp_path / "again/metrics.json").read_text())["difference_to_baseline"]
    assert told[figure]["estimate"] in (0, None) or np.isnan(told[figure]["estimate"])
    call("predict", run=run, scans=cohort / "images", modality="MR", out=tmp_path / "p")
    assert len(pd.read_csv(tmp_path / "p/scores.csv")["predicted"]) == 10


def test_a_card_names_no_folder_and_the_report_says_how_to_reproduce(cohort, segmented):
    for run in ("voco", "tuned"):
        card = (segmented / run / "model/card.json").read_text()
        assert str(cohort) not in card and '"store": "store"' in card
    page = (segmented / "tuned/evaluation/report.html").read_text()
    assert str(cohort) not in page
    for words in ("medssl pretrain out=voco method=voco", "medssl finetune out=tuned",
                  "backbone=voco", "medssl evaluate run=tuned baseline=scratch/evaluation"):  # fmt: skip
        assert words in page, words


def test_figures_of_groups_are_told_and_unknown_columns_refused(segmented, tmp_path, capsys):
    out = call("evaluate", run=segmented / "scratch", by=["odd", "modality"], out=tmp_path / "by")
    said = capsys.readouterr().err
    found = json.loads((out / "metrics.json").read_text())
    assert {k: set(v) for k, v in found["subgroups"].items()} == {
        "odd": {"0", "1"}, "modality": {"MR"},
    }  # fmt: skip
    cases = pd.read_csv(out / "cases.csv")
    of_one = cases[cases["id"].isin(["case_9"])]["dice"].mean()  # odd
    assert found["subgroups"]["odd"]["1"]["dice, ball"]["estimate"] == pytest.approx(of_one)
    assert "Main scores by odd" in (out / "report.html").read_text()
    head, *rows = said[said.index("odd ") :].splitlines()[:3]
    assert re.split(" {2,}", head) == ["odd", "Dice, mean of classes", "95 % interval", "patients"]
    assert [row.split()[:2] for row in rows] == [
        [value, f"{found['subgroups']['odd'][value]['dice, mean of classes']['estimate']:.3f}"]
        for value in "01"
    ]
    with pytest.raises(UserError, match="LABELS by: found 'sex', there are odd"):
        call("evaluate", run=segmented / "scratch", by=["sex"], out=tmp_path / "no")


def test_figures_are_printed_by_the_names_of_the_report(segmented, tmp_path, capsys):
    out = call("evaluate", run=segmented / "tuned", out=tmp_path / "e",
               baseline=segmented / "scratch/evaluation")  # fmt: skip
    said, page = capsys.readouterr().err, (out / "report.html").read_text()
    for name in ("Dice, ball", "NSD, mean of classes", "HD95 in mm, ball"):
        assert f"{name}: " in said and f"{name}, difference to" in said and name in page
    assert "hd95_mm" not in said and "nsd" not in said
    assert "NSD is of outlines within 1 mm (tolerance=, 1 by default)" in said
    assert "hd95_mm, ball" in json.loads((out / "metrics.json").read_text())["metrics"]
