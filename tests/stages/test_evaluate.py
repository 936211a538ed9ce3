import json

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
        == {f"{measure}, {of}" for measure in ("dice", "nsd") for of in ("mean of classes", "ball")}
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
    call("evaluate", run=out / "odd")
    cases = pd.read_csv(out / "odd/evaluation/cases.csv")
    assert {"truth", "predicted", "score_0", "score_1"} <= set(cases)
    call("predict", run=out / "odd", scans=cohort / "images", modality="MR", out=out / "scores")
    scores = pd.read_csv(out / "scores/scores.csv")
    assert len(scores) == 10 and np.allclose(
        scores[["score_0", "score_1"]].sum(axis=1), 1, atol=1e-5
    )
    call("probe", run=out / "voco", store=out / "store", per_class=4)
    assert (
        json.loads((out / "voco/probe/probe.json").read_text())["pretrained"]["estimate"] == 1
    )  # one class
