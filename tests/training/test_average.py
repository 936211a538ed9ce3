"""The average of the weights: its arithmetic, its place during validation, and its state."""

from math import factorial

import pytest
import torch
from torch import nn

from medssl.training.average import Average, evaluating
from medssl.training.loop import Fit, fit
from medssl.training.optim import Optim
from tests.training.test_loop import Line, batches


def small():
    """One trained weight, one that rests, and a norm with buffers, in double precision."""
    module = nn.Module()
    module.trained = nn.Parameter(torch.tensor([5.0]))
    module.resting = nn.Parameter(torch.tensor([7.0]), requires_grad=False)
    module.norm = nn.BatchNorm1d(2)
    return module.double()


def set_to(module, value):
    with torch.no_grad():
        module.trained.fill_(value)


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 30])
def test_decay_warms_up_and_then_stays(n):
    """Of weights that stand at 1 the average nears 1 by the product of the decays: (1 + k) / (10 + k) at
    update k, and 0.5 from the eighth on, where that is more."""
    module = small()
    average = Average(module, 0.5)
    set_to(module, 1.0)
    for _ in range(n):
        average.update(module)
    warm = min(n, 7)
    left = factorial(warm + 1) * factorial(10) / factorial(warm + 10) * 0.5 ** (n - warm)
    assert float(average.tensors["trained"]) == pytest.approx(1 + 4 * left, rel=1e-12)
    assert average.tensors["count"] == n


def test_weights_of_every_step_have_their_share():
    module = small()
    average = Average(module, 0.99)
    for value in (1.0, 2.0, 4.0):
        set_to(module, value)
        average.update(module)
    a, b, c = 2 / 11, 3 / 12, 4 / 13
    expected = a * b * c * 5 + (1 - a) * b * c * 1 + (1 - b) * c * 2 + (1 - c) * 4
    assert float(average.tensors["trained"]) == pytest.approx(expected, rel=1e-12)


def test_what_is_not_trained_and_buffers_are_no_part_of_it():
    module = small()
    average = Average(module, 0.9)
    assert average.tensors.keys() == {"trained", "norm.weight", "norm.bias", "count"}
    module.resting.data.fill_(8.0)
    module.norm.running_mean.fill_(3.0)
    average.update(module)
    with evaluating(module, average):
        assert module.resting == 8.0 and (module.norm.running_mean == 3.0).all()


class Stopped(Exception):
    pass


@pytest.mark.parametrize("fault", [None, Stopped, KeyboardInterrupt, GeneratorExit])
def test_the_average_stands_in_for_the_weights_and_gives_them_back(fault):
    module = small().train()
    average = Average(module, 0.9)
    set_to(module, 1.0)
    average.update(module)
    weights = {k: v.clone() for k, v in module.state_dict().items()}
    kept = {k: v.clone() for k, v in average.tensors.items()}
    place = module.trained.data_ptr()
    try:
        with evaluating(module, average):
            assert not module.training and not module.norm.training
            assert torch.equal(module.trained, kept["trained"]) and module.trained != 1.0
            module.norm.running_mean.fill_(3.0)  # as validation sets a threshold
            if fault:
                raise fault
    except (Stopped, KeyboardInterrupt, GeneratorExit) as error:
        assert fault and isinstance(error, fault)
    assert module.training and module.norm.training
    assert (module.norm.running_mean == 3.0).all()  # that is not undone
    weights["norm.running_mean"] = module.norm.running_mean
    assert all(torch.equal(v, weights[k]) for k, v in module.state_dict().items())
    assert all(torch.equal(v, kept[k]) for k, v in average.tensors.items())
    assert module.trained.data_ptr() == place  # the optimiser holds it


def test_without_an_average_the_mode_alone_changes():
    module = small()
    with evaluating(module, None):
        assert not module.training and module.trained == 5.0
    assert module.training and module.trained == 5.0


def test_a_run_that_was_stopped_ends_with_the_same_average(tmp_path):
    settings = Fit(steps=20, batch_size=8, every=5, ema=0.9)

    def train(folder, source=batches):
        module, shown = Line(), []
        for moment in fit(module, source, settings, Optim(lr=0.2), folder):
            shown.append(float(moment.module.backbone.weight.detach()))
        return module, shown

    def stopping(first, last):
        yield from batches(first, 12)
        raise Stopped

    whole, shown = train(tmp_path / "whole")
    with pytest.raises(Stopped):
        train(tmp_path / "cut", stopping)
    cut, rest = train(tmp_path / "cut")
    assert rest == shown[2:]
    assert torch.equal(whole.backbone.weight, cut.backbone.weight)
    a, b = (
        torch.load(tmp_path / run / "checkpoints/step-00000020/trainer.pt", weights_only=True)
        for run in ("whole", "cut")
    )
    assert a["average"].keys() == b["average"].keys() == {"backbone.weight", "count"}
    assert all(torch.equal(a["average"][k], b["average"][k]) for k in a["average"])
    assert a["average"]["count"] == 20
    # What was shown, and would be kept, is the average; the run goes on with the weights.
    assert (
        shown[-1] == float(a["average"]["backbone.weight"]) != float(whole.backbone.weight.detach())
    )
