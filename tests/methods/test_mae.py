"""Property checks of the masked autoencoder."""

import numpy as np
import pytest
import torch

from medssl.backbones.vit import ViT
from medssl.errors import UserError
from medssl.methods.mae import MAE, mae_loss, patch_statistics
from medssl.methods.parts.masking import random_mask

CASES = {
    "2d": (dict(ndim=2, patch=[4, 8]), (16, 24)),
    "3d": (dict(ndim=3, patch=[4, 4, 2]), (8, 12, 6)),
}


def keep(image, seeds):
    return image


def make(case: str, ratio: float = 0.75, channels: int = 1):
    torch.manual_seed(0)
    options, size = CASES[case]
    backbone = ViT(channels, **options, width=24, depth=2, heads=2)
    return MAE(
        backbone, keep, size=list(size), mask_ratio=ratio, decoder_width=24, decoder_heads=2
    ), size


def batch(size, n=3, channels=1):
    return {"image": torch.randn(n, channels, *size), "seed": torch.arange(n) + 10}


@pytest.mark.parametrize("case", CASES)
def test_only_visible_tokens_enter_the_encoder(case):
    method, size = make(case)
    counts = []
    for block in method.backbone.blocks:
        block.register_forward_hook(lambda m, args, out: counts.append(args[0].shape[1]))
    method.training_step(batch(size), 0)
    patches = np.prod(method.grid)
    assert counts == [round(patches * 0.25)] * 2


@pytest.mark.parametrize("case", CASES)
def test_prediction_does_not_depend_on_hidden_voxels(case):
    method, size = make(case)
    data = batch(size)
    mask = random_mask(data["seed"], method.grid, 0.75)
    hidden = mask
    for axis, p in enumerate(method.patch):
        hidden = hidden.repeat_interleave(p, axis + 2)
    spoiled = torch.where(hidden, torch.full_like(data["image"], float("nan")), data["image"])
    assert torch.equal(method(data["image"], mask), method(spoiled, mask))


def test_loss_against_numpy_in_float64():
    rng = np.random.default_rng(0)
    predicted, target = rng.normal(size=(2, 6, 8)), rng.normal(3, 5, size=(2, 6, 8))
    mask = rng.random((2, 6)) < 0.5
    mask[0, 0] = True
    for normalise in (False, True):
        t = target
        if normalise:
            t = (t - t.mean(-1, keepdims=True)) / np.sqrt(t.var(-1, ddof=1, keepdims=True) + 1e-6)
        expected = ((predicted - t) ** 2).mean(-1)[mask].mean()
        ours = mae_loss(*map(torch.from_numpy, (predicted, target, mask)), normalise)
        assert float(ours) == pytest.approx(expected, rel=1e-5)


def test_loss_ignores_visible_patches_and_affine_changes_of_a_normalised_target():
    predicted, target = torch.randn(2, 6, 8), torch.randn(2, 6, 8)
    mask = torch.tensor([[1, 0, 1, 0, 1, 0]] * 2, dtype=torch.bool)
    loss = mae_loss(predicted, target, mask, True)
    other = torch.where(mask[..., None], predicted, torch.randn_like(predicted))
    assert mae_loss(other, target, mask, True) == loss
    assert torch.allclose(mae_loss(predicted, target * 4 + 7, mask, True), loss, rtol=1e-4)
    mean, std = patch_statistics(target)
    assert mae_loss((target - mean) / std, target, mask, True) == 0


def test_constant_patches_give_no_nan():
    assert torch.isfinite(
        mae_loss(torch.randn(1, 4, 8), torch.ones(1, 4, 8), torch.ones(1, 4), True)
    )


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_impossible_ratios_are_refused(ratio):
    with pytest.raises(UserError, match="method.mask_ratio"):
        make("3d", ratio)


def test_size_that_does_not_fit_the_patches_is_refused_with_one_that_does():
    backbone = ViT(1, ndim=3, patch=[4, 4, 4], width=24, depth=1, heads=2)
    with pytest.raises(UserError, match=r"use \[12, 8, 8\]"):
        MAE(backbone, keep, size=[11, 8, 8])


@pytest.mark.parametrize("case", CASES)
def test_every_trained_weight_gets_a_gradient_and_positions_are_not_trained(case):
    method, size = make(case, channels=2)
    method.training_step(batch(size, channels=2), 0).loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())
    assert not any("position" in name for name, _ in method.named_parameters())


@pytest.mark.parametrize("case", CASES)
def test_pictures_paste_the_input_where_it_was_visible(case):
    method, size = make(case)
    data = batch(size)
    picture = method.pictures(data, 0)[0]
    mask = random_mask(data["seed"], method.grid, 0.75)[0, 0]
    for axis, p in enumerate(method.patch):
        mask = mask.repeat_interleave(p, axis)
    visible = ~mask.numpy()
    assert np.array_equal(picture["output"][visible], picture["input"][visible])
    assert not np.allclose(picture["output"][~visible], picture["input"][~visible])


def test_loss_falls_on_a_batch_seen_again():
    method, size = make("3d")
    data = batch(size)
    optimizer = torch.optim.AdamW(method.parameters(), 1e-2)
    losses = []
    for step in range(40):
        loss = method.training_step(data, step).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
