import numpy as np
import pytest
import torch

from medssl.augment.compose import Augment
from medssl.backbones.base import build
from medssl.tasks.segmentation import Segmentation

STILL = Augment(rotate=0, scale=[1, 1], shift=0, gain=0, offset=0, gamma=0, noise=0)


def make(ndim=3, augment=STILL):
    torch.manual_seed(0)
    backbone = build("res_unet", in_channels=1, channels=[8, 16], ndim=ndim)
    return Segmentation(backbone, augment, {1: "bright"}, (-5.0, 5.0), size=[16] * ndim)


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
