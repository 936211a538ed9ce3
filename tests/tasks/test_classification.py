import numpy as np
import pytest
import torch

from medssl.augment.compose import Augment
from medssl.backbones.base import build
from medssl.tasks.classification import Classification

STILL = Augment(rotate=0, scale=[1, 1], shift=0, gain=0, offset=0, gamma=0, noise=0)


def make(ndim=2, **options):
    torch.manual_seed(0)
    backbone = build("res_unet", in_channels=1, channels=[8, 16], ndim=ndim)
    classes = {0: "no", 1: "yes", 2: "both"}
    return Classification(backbone, STILL, classes, (-5.0, 5.0), size=[16] * ndim, **options)


@pytest.mark.parametrize("ndim", [2, 3])
def test_learns_three_classes_and_gives_probabilities(ndim):
    task = make(ndim)
    image = torch.randn(12, 1, *[16] * ndim)
    target = torch.arange(12) % 3
    for k in (1, 2):
        image[target == k, :, 4 * k : 4 * k + 6] += 3 * k
    optimizer = torch.optim.AdamW(task.parameters(), 1e-2)
    for step in range(60):
        out = task.training_step({"image": image, "target": target, "seed": torch.arange(12)}, step)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
    assert out.logs["accuracy"] > 0.8
    scores = task.eval().predict(np.zeros((1, *[23] * ndim), np.float32))
    assert scores.shape == (3,) and scores.sum() == pytest.approx(1, abs=1e-5)


def test_rare_classes_weigh_more_when_asked():
    task = make(balance=True)
    task.set_class_counts([100, 10, 10])
    assert task.weights.mean() == pytest.approx(1)
    assert task.weights[1] == pytest.approx(10 * task.weights[0])
    plain = make()
    plain.set_class_counts([100, 10, 10])
    assert torch.equal(plain.weights, torch.ones(3))
