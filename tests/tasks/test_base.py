"""Every task of the table keeps the contract."""

import numpy as np
import pytest
import torch

from medssl.augment.compose import Augment
from medssl.backbones.base import build
from medssl.config import Part
from medssl.tasks.base import TASKS


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("ndim", [2, 3])
def test_contract(name, ndim):
    torch.manual_seed(0)
    backbone = build("res_unet", in_channels=2, channels=[4, 8], ndim=ndim)
    classes = {0: "no", 1: "yes"} if name == "classification" else {1: "yes"}
    part = Part(name=name, size=[16] * ndim)
    task = part.build(TASKS, "task", backbone, Augment(), classes, (-1.0, 1.0))
    assert task.crops.size == (16,) * ndim and task.backbone is backbone
    batch = {
        "image": torch.rand(2, 2, *[16] * ndim),
        "mask": torch.randint(0, 2, (2, *[16] * ndim)),
        "target": torch.tensor([0, 1]),
        "seed": torch.tensor([3, 4]),
    }
    task.training_step(batch, 0).loss.backward()
    task.after_step(0)
    assert all(p.grad is not None for p in task.parameters())
    scores = task.eval().predict(np.random.default_rng(0).random((2, *[18] * ndim), np.float32))
    assert scores.shape[0] == 2 and np.allclose(scores.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize("name", TASKS)
def test_a_network_in_2d_takes_a_volume_slice_by_slice(name):
    backbone = build("res_unet", in_channels=1, channels=[4, 8], ndim=2)
    classes = {0: "no", 1: "yes"} if name == "classification" else {1: "yes"}
    task = Part(name=name, size=[16, 16]).build(
        TASKS, "task", backbone, Augment(), classes, (-1.0, 1.0)
    )
    volume = np.random.default_rng(0).random((1, 16, 16, 5), np.float32)
    scores = task.eval().predict(volume)
    first = task.predict(volume[..., 0])
    if name == "classification":
        assert scores.shape == (2,) and not np.allclose(scores, first)
    else:
        assert scores.shape == (2, 16, 16, 5) and np.allclose(scores[..., 0], first)
