"""Every task of the table keeps the contract."""

import numpy as np
import pytest
import torch

from medssl.augment.compose import Augment
from medssl.backbones.base import build
from medssl.config import Part
from medssl.data.truths import TRUTHS
from medssl.tasks.base import TASKS

# (classes, targets of two samples, number of scores) of what each task may be asked
ASKED = {
    "segmentation": ({1: "yes"}, torch.zeros(2), 2),
    "classification": ({0: "no", 1: "yes"}, torch.tensor([0, 1]), 2),
    "multilabel": ({0: "a", 1: "b"}, torch.tensor([[0.0, 1.0], [1.0, torch.nan]]), 2),
    "ordinal": ({0: "none", 1: "mild", 2: "much"}, torch.tensor([0, 2]), 3),
    "detection": ({1: "a", 2: "b"}, None, None),
    "regression": ({0: "age"}, torch.tensor([30.0, 50.0]), 1),
}
assert set(ASKED) == set(TASKS)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("ndim", [2, 3])
def test_contract(name, ndim):
    torch.manual_seed(0)
    backbone = build("res_unet", in_channels=2, channels=[4, 8], ndim=ndim)
    classes, target, n = ASKED[name]
    if name == "detection":  # a box in the first sample, none in the second
        target = torch.full((2, 1, 2 * ndim + 2), torch.nan)
        target[0, 0] = torch.tensor([2.0] * ndim + [12.0] * ndim + [2, 0])
    part = Part(name=name, size=[16] * ndim)
    task = part.build(TASKS, "task", backbone, Augment(), classes, (-1.0, 1.0))
    assert task.crops.size == (16,) * ndim and task.backbone is backbone
    batch = {
        "image": torch.rand(2, 2, *[16] * ndim),
        "mask": torch.randint(0, 2, (2, *[16] * ndim)),
        "target": target,
        "low": torch.zeros(2, ndim),
        "seed": torch.tensor([3, 4]),
    }
    if name == "detection":
        task.learn_targets([target[0].numpy()])
    for half in (True, False):  # as the loop does with fit.precision=bf16-mixed, and without
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = task.training_step(batch, 0).loss
        assert loss.isfinite() and loss.dtype == torch.float32
        loss.backward()
    task.after_step(0)
    assert all(p.grad is not None for p in task.parameters())
    scores = task.eval().predict(np.random.default_rng(0).random((2, *[18] * ndim), np.float32))
    assert task.validate([]) is None and task.learns in TRUTHS and task.figure
    if name == "detection":
        return
    assert len(scores) == n
    assert n == 1 or name == "multilabel" or np.allclose(scores.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize("name", [t for t in TASKS if t != "detection"])
def test_a_network_in_2d_takes_a_volume_slice_by_slice(name):
    backbone = build("res_unet", in_channels=1, channels=[4, 8], ndim=2)
    classes, _, n = ASKED[name]
    task = Part(name=name, size=[16, 16]).build(
        TASKS, "task", backbone, Augment(), classes, (-1.0, 1.0)
    )
    volume = np.random.default_rng(0).random((1, 16, 16, 5), np.float32)
    scores = task.eval().predict(volume)
    first = task.predict(volume[..., 0])
    if name != "segmentation":
        assert scores.shape == (n,) and not np.allclose(scores, first)
    else:
        assert scores.shape == (2, 16, 16, 5) and np.allclose(scores[..., 0], first)
