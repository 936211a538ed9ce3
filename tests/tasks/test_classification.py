import numpy as np
import pytest
import torch

from medssl.augment.compose import Augment
from medssl.backbones.base import build
from medssl.errors import UserError
from medssl.tasks.answers import cross_entropy
from medssl.tasks.classification import Classification, Ordinal, Regression

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
    task, counts = make(balance=True), [0] * 100 + [1] * 10 + [2] * 10
    task.learn_targets(counts)
    weights = task.answer.weights
    assert weights.mean() == pytest.approx(1) and weights[1] == pytest.approx(10 * weights[0])
    plain = make()
    plain.learn_targets(counts)
    assert torch.equal(plain.answer.weights, torch.ones(3))


def test_options_that_mean_nothing_to_an_answer_are_refused():
    backbone = build("res_unet", in_channels=1, channels=[4, 8], ndim=2)
    for kind, option in ((Ordinal, {"balance": True}), (Regression, {"smoothing": 0.1})):
        with pytest.raises(UserError, match=f"task.{next(iter(option))}.*means nothing"):
            kind(backbone, STILL, {0: "a", 1: "b"}, (-1.0, 1.0), size=[16, 16], **option)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_mixed_and_of_hard_labels(smoothing):
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(4, 3)), np.array([2, 0, 0, 1])
    weights, share = np.array([0.5, 1.0, 1.5]), np.array([0.3, 1.0, 0.0, 0.6])
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    total = weight = 0.0
    for b, keep in enumerate(share):
        for part, k in ((keep, target[b]), (1 - keep, target[(b + 1) % 4])):
            total += part * -(1 - smoothing) * weights[k] * log_p[b, k]
            total += part * -smoothing * (weights * log_p[b]).sum() / 3
            weight += part * weights[k]
    shares = (
        np.eye(3)[target] * share[:, None] + np.eye(3)[target[[1, 2, 3, 0]]] * (1 - share)[:, None]
    )
    logits, target, shares, weights = map(torch.from_numpy, (logits, target, shares, weights))
    found = cross_entropy(logits, shares, weights, smoothing)
    assert float(found) == pytest.approx(total / weight, rel=1e-6)
    hard = torch.nn.functional.cross_entropy(
        logits, target, weight=weights, label_smoothing=smoothing
    )
    alone = cross_entropy(logits, torch.eye(3).double()[target], weights, smoothing)
    assert torch.allclose(alone, hard)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_image_and_label_are_mixed_alike(share, monkeypatch):
    given = lambda seeds, alpha: torch.full(seeds.shape, share)  # noqa: E731
    monkeypatch.setattr("medssl.tasks.classification.shares", given)
    torch.manual_seed(0)
    data = {"image": torch.randn(3, 1, 16, 16), "target": torch.arange(3), "seed": torch.arange(3)}
    hard, mixed = (make(mixup=m, dropout=0.0).training_step(data, 0) for m in (0.0, 0.1))
    # With nothing of itself a sample is the next one: the batch in another order.
    assert torch.allclose(mixed.loss, hard.loss, rtol=1e-5)
    assert mixed.logs == pytest.approx(hard.logs)


def test_mixing_follows_the_samples_seeds():
    torch.manual_seed(0)
    data = {"image": torch.randn(3, 1, 16, 16), "target": torch.arange(3), "seed": torch.arange(3)}
    task = make(mixup=1.0, dropout=0.0)
    loss = task.training_step(data, 0).loss
    assert torch.equal(task.training_step(data, 1).loss, loss)
    assert not torch.equal(task.training_step(data | {"seed": torch.arange(3) + 9}, 0).loss, loss)
    assert not torch.equal(make(dropout=0.0).training_step(data, 0).loss, loss)
