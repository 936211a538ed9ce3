import pytest

from tests.stages.conftest import TINY

FIT = {"steps": 3, "every": 3, "batch_size": 2}
KEYS = {
    "arms": {
        "voco": {"pretrain": ["voco_small"], "keys": {"method": {"size": [8, 8, 8], "width": 16}}},
        "mae": {"pretrain": ["conv_mae_small"],
                "keys": {"method": {"size": [8, 8, 8], "patch": [4, 4, 4]}}},
    },
    "labelled": [2, 4], "draws": 2, "resamples": 1000,
    "pretrain": {"backbone": TINY, "fit": FIT, "optim": {"weight_decay": 0.05}},
    "finetune": {"task": {"size": [16, 16, 16], "width": 4}, "classes": {1: "ball"},
                 "fit": {**FIT, "steps": 6}},
    "trials": [{"optim": {"lr": 4e-3, "backbone_rate": 0.1}}, {"optim": {"lr": 1e-2}}],
    "scratch_trials": [{"optim": {"lr": 4e-3}}, {"optim": {"lr": 1e-2}}],
}  # fmt: skip


@pytest.fixture(scope="module")
def keys(cohort):
    return {**KEYS, "store": cohort / "out/store"}
