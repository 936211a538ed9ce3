import numpy as np
import pytest
import torch

from medssl.augment.compose import Augment
from medssl.backbones.base import build
from medssl.errors import UserError
from medssl.tasks.losses import segmentation_loss
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


@pytest.mark.parametrize("ndim", [2, 3])
def test_coarser_maps_learn_with_half_the_weight_each(ndim):
    task, data = make(ndim, deep=2), batch(ndim)
    for each in task.decoder.coarser:  # coarser maps that always say the same
        torch.nn.init.zeros_(each.weight)
        torch.nn.init.zeros_(each.bias)
    assert len(task.decoder.coarser) == min(2, len(task.decoder.blocks) - 1)
    plain = make(ndim)
    plain.load_state_dict(task.state_dict(), strict=False)
    target = data["mask"][:, None]
    total, weights = plain.training_step(data, 0).loss, 1.0
    for depth in range(1, len(task.decoder.coarser) + 1):
        some = target[(..., *[slice(None, None, 2**depth)] * ndim)]  # nearest, of whole multiples
        even = torch.zeros(len(some), 2, *some.shape[2:])
        total, weights = total + task.loss(even, some) * 0.5**depth, weights + 0.5**depth
    assert torch.allclose(task.training_step(data, 0).loss, total / weights, rtol=1e-5)


def test_deep_maps_of_padded_crops_fit_their_targets():
    backbone = build("res_unet", in_channels=1, channels=[4, 8], ndim=3)
    task = Segmentation(backbone, STILL, {1: "x"}, (-5.0, 5.0), size=[15, 17, 18], deep=3)
    data = {"image": torch.randn(2, 1, 15, 17, 18), "seed": torch.arange(2)}
    data["mask"] = (data["image"][:, 0] > 1).long()
    task.training_step(data, 0).loss.backward()
    assert all(head.weight.grad.abs().sum() > 0 for head in task.decoder.coarser)


def test_mirrored_predictions_are_averaged_and_any_mirroring_gives_the_same():
    task = make(flips=[0, 2]).eval()
    assert task.mirrored == [[], [2], [4], [2, 4]]
    image = np.random.default_rng(0).normal(size=(1, 16, 16, 16)).astype(np.float32)
    found = task.predict(image)
    turned = task.predict(np.ascontiguousarray(image[:, ::-1, :, ::-1]))
    assert np.allclose(found, turned[:, ::-1, :, ::-1], atol=1e-5)
    assert not np.allclose(make().eval().predict(image), found, atol=1e-3)
    for wrong in ([3], [0, 0], [-1]):
        with pytest.raises(UserError, match="task.flips"):
            make(flips=wrong)


def test_what_validation_chose_is_done_to_labels_and_kept_with_the_weights():
    task = make(ndim=2)
    image = np.zeros((1, 16, 16), np.float32)
    scores = np.zeros((2, 16, 16), np.float32)
    scores[0], scores[1, 2:9, 2:9], scores[1, 13, 13], scores[1, 5, 5] = 0.5, 1, 1, 0
    truth = np.zeros((16, 16), int)
    truth[2:9, 2:9] = 1
    task.predict = lambda _: scores
    assert task.validate([(image, truth)]) == 1
    assert np.array_equal(task.labels(scores), truth)
    again = make(ndim=2)
    assert not np.array_equal(again.labels(scores), truth)
    again.load_state_dict(task.state_dict())
    assert np.array_equal(again.labels(scores), truth)
    assert (
        task.validate([(image, np.zeros((16, 16), int))]) == 0
    )  # and what does not help is undone
    assert not task.cleaning.any()
    assert task.validate([]) is None


@pytest.mark.parametrize("loss", ["dice_focal", "tversky_ce"])
def test_other_losses_against_numpy(loss):
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(2, 3, 4, 5)), rng.integers(0, 3, (2, 1, 4, 5))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    t = np.moveaxis(np.eye(3)[target[:, 0]], -1, 1)
    overlap = (p * t).sum((0, 2, 3))[1:]
    if loss == "dice_focal":
        wanted = (1 - 2 * overlap / (p + t).sum((0, 2, 3))[1:]).mean()
        focal = -((1 - p) ** 2 * np.log(p) * t)
        wanted += focal.mean()
    else:
        false, missed = ((p * (1 - t)).sum((0, 2, 3))[1:], ((1 - p) * t).sum((0, 2, 3))[1:])
        wanted = (1 - overlap / (overlap + 0.3 * false + 0.7 * missed)).mean()
        wanted += -(t * np.log(p)).sum(1).mean()
    tensors = torch.from_numpy(logits), torch.from_numpy(target)
    assert float(segmentation_loss(loss, soft=False)(*tensors)) == pytest.approx(wanted, rel=1e-4)
    soft = segmentation_loss(loss, soft=True)(tensors[0], torch.from_numpy(t))
    assert float(soft) == pytest.approx(wanted, rel=1e-4)
