import json

import pandas as pd
import pytest

from medssl.errors import UserError
from medssl.stages import call
from tests.stages.conftest import FIT, TINY


def test_folds_are_trained_and_tested_on_in_turn(cohort, tmp_path):
    out = call("split", manifest=cohort / "out/m", folds=3, out=tmp_path / "folds")
    tested = []
    for k in range(3):
        run = call(
            "finetune", "segmentation", store=cohort / "out/store", splits=out / f"fold_{k}.csv", arch=TINY,
            task={"size": [16, 16, 16]}, fit=FIT, out=tmp_path / f"run{k}",
        )  # fmt: skip
        cases = pd.read_parquet(call("evaluate", run=run) / "cases.parquet")
        tested += list(cases["id"])
    assert sorted(tested) == sorted(f"case_{i}" for i in range(10))
    nnunet = call(
        "finetune", "segmentation", store=cohort / "out/store", splits=out / "splits_final.json",
        fold=1, arch=TINY, task={"size": [16, 16, 16]}, fit=FIT, out=tmp_path / "nnunet",
    )  # fmt: skip
    told = json.loads((call("evaluate", run=nnunet) / "metrics.json").read_text())
    assert told["n_cases"] == len(json.loads((out / "splits_final.json").read_text())[1]["val"])


def test_what_cannot_be_dealt_is_said(cohort, tmp_path):
    asked = {"manifest": cohort / "out/m", "out": tmp_path / "folds"}
    with pytest.raises(UserError, match="there are 5 patients"):
        call("split", **asked, folds=9)
    with pytest.raises(UserError, match="the labels are odd"):
        call("split", **asked, stratify="grade")
    with pytest.raises(UserError, match="one of the two"):
        call("split", **asked, stratify="odd", site="odd")
