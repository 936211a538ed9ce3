import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from medssl.augment.compose import Augment
from medssl.backbones.base import build
from medssl.tasks.classification import Classification
from medssl.tasks.pooling import AttentionPool

STILL = Augment(rotate=0, scale=[1, 1], shift=0, gain=0, offset=0, gamma=0, noise=0)


def test_a_weighted_mean_that_does_not_see_the_order():
    torch.manual_seed(0)
    pool, x = AttentionPool(5), torch.randn(2, 7, 5)
    shares = pool.shares(x)
    assert shares.shape == (2, 7) and torch.allclose(shares.sum(1), torch.ones(2))
    assert torch.allclose(pool(x), (shares[..., None] * x).sum(1), atol=1e-6)
    assert torch.allclose(pool(x.flip(1)), pool(x), atol=1e-6)


def learnt(pool) -> float:
    """Loss after learning which bags hold one instance of sixteen that is unlike the others."""
    torch.manual_seed(0)
    head, target = torch.nn.Linear(8, 1), torch.arange(32) % 2
    optimizer = torch.optim.Adam([*head.parameters(), *getattr(pool, "parameters", list)()], 1e-2)
    losses = []
    for step in range(300):
        bags = torch.randn(32, 16, 8, generator=torch.Generator().manual_seed(step))
        bags[target == 1, step % 16, :3] += 3
        loss = binary_cross_entropy_with_logits(head(pool(bags))[:, 0], target.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return sum(losses[-50:]) / 50


def test_attention_finds_the_instance_that_matters():
    torch.manual_seed(0)
    mean = learnt(lambda x: x.mean(1))
    assert learnt(AttentionPool(8)) < 0.5 * mean < 0.5 * 0.69


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_a_network_in_2d_learns_from_all_slices_of_a_volume_together(pooling):
    torch.manual_seed(0)
    backbone = build("res_unet", in_channels=1, channels=[4, 8], ndim=2)
    task = Classification(
        backbone, STILL, {0: "no", 1: "yes"}, (-9.0, 9.0), size=[12, 12], slices=16, pooling=pooling
    )
    assert task.crops.size == (12, 12, 16)
    task.eval()
    image = torch.randn(2, 1, 12, 12, 16)
    assert torch.allclose(task(image), task(image.flip(-1)), atol=1e-5)
    assert task.predict(image[0, ..., :9].numpy()).shape == (2,)  # resized to sixteen
    batch = {"image": image, "target": torch.tensor([0, 1]), "seed": torch.arange(2)}
    task.training_step(batch, 0).loss.backward()
    assert all(p.grad is not None for p in task.parameters())


def test_places_of_a_volume_may_be_attended_to():
    backbone = build("res_unet", in_channels=1, channels=[4, 8], ndim=3)
    task = Classification(
        backbone, STILL, {0: "no", 1: "yes"}, (-9.0, 9.0), size=[16] * 3, pooling="attention"
    )
    task(torch.randn(2, 1, 16, 16, 16)).sum().backward()
    assert task.attention.weight.weight.grad.abs().sum() > 0
