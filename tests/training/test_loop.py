import pytest
import torch
from torch import nn

from medssl.errors import UserError
from medssl.trainable import StepOutput
from medssl.training.log import read_jsonl
from medssl.training.loop import Fit, fit, to_channels_last
from medssl.training.optim import Optim


class Line(nn.Module):
    """Learns y = 3 x; its backbone is a single weight."""

    def __init__(self, poison_at: int = -1):
        super().__init__()
        self.backbone = nn.Linear(1, 1, bias=False)
        self.backbone.n_layers, self.backbone.layer_of = 1, lambda name: 0
        nn.init.zeros_(self.backbone.weight)
        self.poison_at, self.after = poison_at, []

    def training_step(self, batch, step):
        loss = (self.backbone(batch["image"]) - 3 * batch["image"]).square().mean()
        return StepOutput(loss * (float("nan") if step == self.poison_at else 1.0), {"twice": 2.0})

    def after_step(self, step):
        self.after.append(step)


def batches(first, last):
    for i in range(first, last):
        yield {"image": torch.randn(8, 1, generator=torch.Generator().manual_seed(i))}


def train(folder, module=None, **options):
    module = module or Line()
    settings = Fit(**{"steps": 60, "batch_size": 8, "every": 20, **options})
    moments = [
        (m.step, float(m.module.backbone.weight.detach()))
        for m in fit(module, batches, settings, Optim(lr=0.2), folder)
    ]
    return module, moments


def test_learns_logs_every_step_and_hands_out_moments(tmp_path):
    module, moments = train(tmp_path)
    assert [step for step, _ in moments] == [20, 40, 60] and moments[-1][1] == pytest.approx(
        3, abs=0.15
    )
    assert module.after == list(range(60))
    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 60 and '"twice": 2.0' in rows[0]


def test_gradient_accumulation_sees_the_same_samples(tmp_path):
    def wide(first, last):
        for i in range(first, last):
            yield {"image": torch.cat([b["image"] for b in batches(2 * i, 2 * i + 2)])}

    a, b = Line(), Line()
    for module, source, k in ((a, batches, 2), (b, wide, 1)):
        settings = Fit(steps=10, batch_size=8, every=10, accumulate=k)
        list(fit(module, source, settings, Optim(lr=0.1), tmp_path / str(k)))
    assert torch.allclose(a.backbone.weight, b.backbone.weight, atol=1e-6)


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched(tmp_path):
    module = Line(poison_at=30)
    with pytest.raises(UserError, match="NONFINITE step 30"):
        train(tmp_path, module)
    assert torch.isfinite(module.backbone.weight).all()
    sitting = read_jsonl(tmp_path / "timing.jsonl")[-1]["seconds"]
    again, _ = train(tmp_path)
    assert min(again.after) == 20
    # Time and samples are of all sittings, not of the last.
    last = read_jsonl(tmp_path / "timing.jsonl")[-1]
    assert last["samples"] == 60 * 8 and last["seconds"] > sitting


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_touched(tmp_path, clip):
    class Steep(Line):
        def training_step(self, batch, step):
            return StepOutput(self.backbone.weight.abs().sqrt().sum(), {})  # at 0 it has no slope

    module, settings = Steep(), Fit(steps=3, batch_size=8, every=1)
    with pytest.raises(UserError, match="NONFINITE step 0: a gradient is not finite"):
        list(fit(module, batches, settings, Optim(lr=0.1, clip=clip), tmp_path))
    assert torch.isfinite(module.backbone.weight).all()


def test_a_run_that_is_complete_is_not_trained_again(tmp_path):
    train(tmp_path)
    module, moments = train(tmp_path)
    assert moments == [] and module.after == []
    assert float(module.backbone.weight.detach()) == pytest.approx(3, abs=0.15)


def test_another_number_of_threads_is_told(tmp_path, capsys):
    had = torch.get_num_threads()
    train(tmp_path)
    capsys.readouterr()
    train(tmp_path)
    assert "remark" not in capsys.readouterr().err
    try:
        torch.set_num_threads(had + 1)
        train(tmp_path)
        now = torch.get_num_threads()
    finally:
        torch.set_num_threads(had)
    assert now == had + 1
    assert f"remark: {now} CPU threads, the run had {had}" in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_a_step_is_computed_at_the_precision_asked_for(tmp_path, precision):
    seen = set()

    class Looks(Line):
        def training_step(self, batch, step):
            seen.add(self.backbone(batch["image"]).dtype)
            return super().training_step(batch, step)

    train(tmp_path, Looks(), steps=2, precision=precision)
    assert seen == {torch.bfloat16 if precision == "bf16-mixed" else torch.float32}


def test_a_gpu_that_is_not_there_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="torch sees no GPU here"):
        train(tmp_path, device="cuda")


@pytest.mark.parametrize("ndim", [2, 3])
def test_only_convolutions_change_their_layout(ndim):
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[ndim](2, 3, 3)
    conv.patch = nn.Parameter(torch.randn(2, 3, 4, 5))  # has as many axes as a 2D convolution
    before = {name: value.clone() for name, value in conv.state_dict().items()}
    to_channels_last(conv, ndim)
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[ndim]
    assert conv.weight.is_contiguous(memory_format=layout) and conv.bias.is_contiguous()
    assert all(torch.equal(value, before[name]) for name, value in conv.state_dict().items())
