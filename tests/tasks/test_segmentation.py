import numpy as np
import pytest
import torch

from medssl.augment.compose import Augment
from medssl.backbones.base import build
from medssl.tasks.mixup import shares
from medssl.tasks.segmentation import Segmentation

STILL = Augment(rotate=0, scale=[1, 1], shift=0, gain=0, offset=0, gamma=0, noise=0)


def make(ndim=3, augment=STILL, **options):
    torch.manual_seed(0)
    backbone = build("res_unet", in_channels=1, channels=[8, 16], ndim=ndim)
    return Segmentation(backbone, augment, {1: "bright"}, (-5.0, 5.0), size=[16] * ndim, **options)


def batch(ndim=3, n=2):
    image = torch.randn(n, 1, *[16] * ndim, generator=torch.Generator().manual_seed(0))
    image[:, :, 4:10, 5:12] += 4
    return {"image": image, "mask": (image[:, 0] > 2).long(), "seed": torch.arange(n)}


@pytest.mark.parametrize("ndim", [2, 3])
def test_learns_what_is_bright_and_predicts_images_of_any_size(ndim):
    task = make(ndim)
    optimizer = torch.optim.AdamW(task.parameters(), 1e-2)
    for step in range(30):
        loss = task.training_step(batch(ndim), step).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    task.eval()
    for size in ([19, 23, 21], [18, 16, 40]):
        image = np.random.default_rng(0).normal(size=(1, *size[:ndim])).astype(np.float32)
        image[0, 3:7, 4:12] += 4
        scores = task.predict(image)
        assert scores.shape == (2, *size[:ndim]) and np.allclose(scores.sum(0), 1, atol=1e-5)
        assert ((scores[1] > 0.5) == (image[0] > 2)).mean() > 0.85


def test_a_class_absent_from_the_batch_gives_a_finite_loss():
    data = batch()
    data["mask"].zero_()
    assert torch.isfinite(make().training_step(data, 0).loss)


def test_sizes_that_are_no_multiple_are_padded_and_cut_back():
    task = make().eval()
    image = torch.randn(1, 1, 15, 17, 18)
    assert task(image).shape == (1, 2, 15, 17, 18)


def test_labels_of_any_value_come_back_and_cost_one_channel_each():
    backbone = build("res_unet", in_channels=1, channels=[4, 8], ndim=3)
    classes = {3000: "far", 7: "near"}
    task = Segmentation(backbone, STILL, classes, (-5.0, 5.0), size=[16] * 3)
    assert task.decoder.head.out_channels == 3
    mask = torch.tensor([[[0, 7, 3000, 5, 4000]]])
    assert task._channels(mask).tolist() == [[[0, 1, 2, 0, 0]]]
    assert task.labels(np.eye(3)[:, :, None, None]).ravel().tolist() == [0, 7, 3000]
    assert task.predict(np.zeros((1, 16, 16, 16), np.float32)).shape[0] == 3


def mixed_loss(ndim, share, monkeypatch):
    """The loss of a task that mixes by given shares."""
    given = lambda seeds, alpha: torch.tensor(share)  # noqa: E731
    monkeypatch.setattr("medssl.tasks.segmentation.shares", given)
    return make(ndim, mixup=0.1).training_step(batch(ndim, len(share)), 0).loss


@pytest.mark.parametrize("ndim", [2, 3])
def test_mixing_nothing_in_gives_the_loss_of_hard_labels(ndim, monkeypatch):
    hard = make(ndim).training_step(batch(ndim, 3), 0).loss
    assert torch.allclose(mixed_loss(ndim, [1.0, 1.0, 1.0], monkeypatch), hard, rtol=1e-5)
    # All of the next sample is the batch in another order, which the loss does not see.
    assert torch.allclose(mixed_loss(ndim, [0.0, 0.0, 0.0], monkeypatch), hard, rtol=1e-5)


@pytest.mark.parametrize("ndim", [2, 3])
def test_loss_of_mixed_samples_against_numpy_in_float64(ndim, monkeypatch):
    share = np.array([0.3, 0.9, 0.5])
    loss, data, task = mixed_loss(ndim, share.tolist(), monkeypatch), batch(ndim, 3), make(ndim)
    image, mask = data["image"].numpy(), data["mask"].numpy()
    labels = np.stack([mask == 0, mask == 1], 1).astype(float)
    following, wide = [1, 2, 0], share.reshape(-1, *[1] * (ndim + 1))
    labels = wide * labels + (1 - wide) * labels[following]
    with torch.no_grad():
        logits = task(torch.from_numpy(wide * image + (1 - wide) * image[following]).float())
    logits = logits.double().numpy()
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    overlap, both = (p[:, 1] * labels[:, 1]).sum(), (p[:, 1] + labels[:, 1]).sum()
    dice = 1 - (2 * overlap + 1e-5) / (both + 1e-5)
    entropy = -(labels * np.log(p)).sum(1).mean()
    assert float(loss.detach()) == pytest.approx(dice + entropy, rel=1e-5)


def test_mixing_follows_the_samples_seeds_and_is_off_by_default():
    assert make().mixup == 0
    data, task = batch(n=3), make(mixup=1.0)
    first, again = task.training_step(data, 0).loss, task.training_step(data, 5).loss
    other = task.training_step(data | {"seed": torch.arange(3) + 9}, 0).loss
    assert torch.equal(first, again) and not torch.equal(first, other)
    drawn = shares(torch.arange(2000), 0.1)
    assert drawn.min() >= 0 and drawn.max() <= 1 and drawn.mean() == pytest.approx(0.5, abs=0.05)
    assert drawn.var() == pytest.approx(1 / (4 * 1.2), rel=0.05)  # of Beta(0.1, 0.1)
    assert torch.equal(shares(torch.arange(5, 7), 0.1), drawn[5:7])
