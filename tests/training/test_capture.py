import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from medssl.errors import UserError
from medssl.trainable import StepOutput
from medssl.training.capture import Copies, replay
from medssl.training.loop import Fit, fit
from medssl.training.optim import Optim
from tests.faults.conftest import MESSAGE
from tests.training.test_loop import Line, batches

NAMES = ["case_a", "case_b", "case_c"]


class Queued(Line):
    """Drops out, and keeps a queue that its step fills, as MoCo does; from `bad` on the root's slope at 0
    is infinite, or its loss is no number."""

    def __init__(self, bad, loss):
        super().__init__()
        self.bad, self.loss = bad, loss
        self.register_buffer("queue", torch.zeros(4))

    def training_step(self, batch, step):
        noise = nn.functional.dropout(batch["image"], 0.3)
        loss = (self.backbone(noise) - 3 * noise).square().mean() + self.queue.sum()
        self.queue += noise.detach().mean()
        if step >= self.bad:
            loss = (
                loss * float("nan") if self.loss else loss + (self.backbone.weight * 0).sqrt().sum()
            )
        return StepOutput(loss)


def items(first, last):
    for i, batch in zip(range(first, last), batches(first, last), strict=True):
        yield {**batch, "item": torch.tensor([i % 3, (i + 1) % 3])}


def fails(folder, loss, accumulate=1, **options):
    module = Queued(7, loss)
    settings = Fit(steps=20, batch_size=8, every=5, accumulate=accumulate, **options)
    with pytest.raises(UserError) as error:
        list(fit(module, items, settings, Optim(lr=0.1), folder, NAMES))
    return module, error.value


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("loss", [True, False])
def test_a_step_that_went_wrong_can_be_done_again(tmp_path, loss, accumulate, precision):
    module, error = fails(tmp_path, loss, accumulate, precision=precision)
    where = tmp_path / "capture/step-00000007"
    number = 7 * accumulate + (0 if loss else accumulate - 1)
    names = ", ".join(NAMES[i % 3] for i in (number, number + 1))
    assert error.code == "NONFINITE" and MESSAGE.fullmatch(str(error))
    assert f"on scans {names}; {where} keeps" in str(error) and "saved before is good" in error.fix
    about = json.loads((where / "about.json").read_text())
    assert about["step"] == 7 and about["items"] == names.split(", ") and about["seed"] == 0
    assert torch.equal(
        load_file(where / "batch.safetensors")["image"], next(items(number, 99))["image"]
    )
    torch.manual_seed(99)
    again = Queued(7, loss)
    out = replay(where, again)
    assert str(float(out.loss.detach())) == about["loss"]
    assert torch.equal(again.backbone.weight, module.backbone.weight)
    out.loss.backward()
    assert not torch.isfinite(again.backbone.weight.grad).all()


def test_what_is_kept_is_for_its_owner_alone(tmp_path):
    fails(tmp_path, True)
    assert (tmp_path / "capture/step-00000007").stat().st_mode & 0o077 == 0


def test_a_fault_is_told_also_where_nothing_can_be_kept(tmp_path):
    tmp_path.joinpath("capture").write_text("")  # no folder can be made there
    _, error = fails(tmp_path, True)
    assert error.code == "NONFINITE" and "neither batch nor weights could be kept" in error.cause


def test_another_network_or_folder_is_told(tmp_path):
    fails(tmp_path, True)
    with pytest.raises(UserError, match="CAPTURE .*holds no step"):
        replay(tmp_path / "capture/step-00000007", Line())
    with pytest.raises(UserError, match="CAPTURE .*holds no step"):
        replay(tmp_path, Queued(7, True))


def test_buffers_are_copied_into_the_same_memory_and_as_they_are_now():
    module, copies = Queued(0, False), Copies()
    first = copies.of(module)["queue"]
    assert first.data_ptr() != module.queue.data_ptr()
    module.queue += 1
    assert (first == 0).all()
    module.register_buffer("counted", torch.tensor(3))
    second = copies.of(module)
    assert second["queue"] is first and (first == 1).all() and second["counted"] == 3
    module.queue = torch.ones(5, dtype=torch.float64)  # another one under its name
    del module.counted
    third = copies.of(module)
    assert third.keys() == {"queue"} and torch.equal(third["queue"], module.queue)
    module.queue += 1
    assert (third["queue"] == 1).all()
