import pandas as pd
import pytest

from medssl.errors import UserError
from medssl.stages import call
from medssl.training.checkpoint import load_state
from tests.stages.conftest import FIT, TINY


def test_pretrained_weights_really_arrive(segmented):
    start = load_state(segmented / "voco/checkpoints")[0]
    tuned = load_state(segmented / "tuned/checkpoints")[0]
    scratch = load_state(segmented / "scratch/checkpoints")[0]
    name = "backbone.stages.0.0.conv1.conv.weight"
    near, far = [float((w[name] - start[name]).norm()) for w in (tuned, scratch)]
    assert near < 0.5 * far


def test_a_bright_ball_is_learnt(segmented):
    cases = pd.read_parquet(segmented / "scratch/evaluation/cases.parquet")
    assert cases["dice"].mean() > 0.6


def test_the_guard_refuses_patients_that_were_pretrained_on(cohort, segmented):
    out = cohort / "out"
    call(
        "pretrain", "voco_small", store=out / "store", out=out / "greedy", backbone=TINY,
        method={"crop": [8, 8, 8], "width": 16}, fit={**FIT, "steps": 1}, splits=["train", "test"],
    )  # fmt: skip
    options = dict(
        store=out / "store",
        backbone=out / "greedy",
        task={"size": [16, 16, 16], "width": 4},
        fit=FIT,
    )
    with pytest.raises(UserError, match="LEAKAGE .*1 seen in pretrain"):
        call("finetune", "few_labels", **options, labelled=2, out=out / "leaky")
    call("finetune", "few_labels", **options, labelled=2, allow_overlap=True, out=out / "leaky")
    with pytest.raises(UserError, match="LEAKAGE"):
        call("evaluate", run=out / "leaky")
    call("evaluate", run=out / "leaky", allow_overlap=True)
    assert "CAUTION" in (out / "leaky/evaluation/report.html").read_text()
