import pandas as pd
import pytest
import torch
from torch import nn

from medssl.data.crops import CropSpec
from medssl.errors import UserError
from medssl.methods.base import METHODS
from medssl.stages import call
from medssl.stages.methods import NETWORKS
from medssl.trainable import StepOutput
from medssl.training.trial import trial


def test_the_table_has_every_method_and_network_and_says_why_not(tmp_path, capsys):
    call("methods", method="mae", out=tmp_path / "t.csv")
    table = pd.read_csv(tmp_path / "t.csv")
    assert set(table["network"]) == set(NETWORKS) and table["method"].unique().tolist() == ["mae"]
    call("methods", method="spark")
    shown = capsys.readouterr().out
    assert "res_unet 3D" in shown and "spark not on vit 2D, vit 3D" in shown
    with pytest.raises(UserError, match="unknown name"):
        call("methods", method="spork")
    with pytest.raises(UserError, match="is not in the table"):
        call("methods", network="lenet")


def test_a_pair_is_tried(tmp_path):
    call("methods", method="voco", network="res_unet", steps=4, out=tmp_path / "t.csv")
    table = pd.read_csv(tmp_path / "t.csv")
    assert len(table) == 2 and table[["round_trips", "resumes"]].all(axis=None)


class Faulty(nn.Module):
    """Learns one number; `fault` says what is wrong with it."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault, self.size, self.crops = fault, (2,), CropSpec((2,))
        self.backbone = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.backbone.weight)
        self.backbone.n_layers, self.backbone.layer_of = 1, lambda name: 0
        self.idle = nn.Parameter(torch.ones(2, 2)) if fault == "idle" else None
        self.steps = 0

    def training_step(self, batch, step):
        return StepOutput(self.backbone.weight.square().sum() * batch["image"].mean())

    def after_step(self, step):
        self.steps += 1  # known to no checkpoint
        added = {"rises": 1.0, "history": 1e-4 * self.steps}.get(self.fault, 0.0)
        with torch.no_grad():
            self.backbone.weight += added


def batches(first, last):
    for _ in range(first, last):
        yield {"image": torch.ones(1, 1, 2)}


@pytest.mark.parametrize("fault", ["", "idle", "rises", "history"])
def test_a_trial_finds_what_is_wrong(tmp_path, fault):
    found = trial(lambda: Faulty(fault), batches, tmp_path, steps=6, lr=1e-2)
    assert found.passed == (fault == "")
    assert found.without_gradient == (["idle"] if fault == "idle" else [])
    assert (found.last < found.first) == (fault != "rises")
    assert found.resumes == (fault != "history")


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_on_every_network_that_takes_it(method, tmp_path):
    call("methods", method=method, steps=20, out=tmp_path / "t.csv")
    table = pd.read_csv(tmp_path / "t.csv")
    tried = table[table["taken"]]
    assert len(tried) >= 2 and tried["axes"].nunique() == 2
    assert tried["passed"].all(), tried[~tried["passed"].astype(bool)].to_string()
