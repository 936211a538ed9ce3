"""Property checks of the masked autoencoder."""

import numpy as np
import pytest
import torch

from medssl.backbones.vit import ViT
from medssl.errors import UserError
from medssl.methods.mae import MAE
from medssl.methods.parts.masking import patchify, random_mask
from medssl.methods.parts.reconstruction import mae_loss, patch_statistics

CASES = {
    "2d": (dict(ndim=2, patch=[4, 8]), (16, 24)),
    "3d": (dict(ndim=3, patch=[4, 4, 2]), (8, 12, 6)),
}


def keep(image, seeds, **_):
    return image


def make(case: str, ratio: float = 0.75, channels: int = 1, **more):
    torch.manual_seed(0)
    options, size = CASES[case]
    backbone = ViT(channels, **options, width=24, depth=2, heads=2)
    options = dict(size=list(size), mask_ratio=ratio, decoder_width=24, decoder_heads=2, **more)
    return MAE(backbone, keep, **options), size


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
    (a, places), (b, _) = method(data["image"], mask), method(spoiled, mask)
    assert torch.equal(a, b)
    assert torch.equal(mask.flatten(1).nonzero()[:, 1].view(len(a), -1), places)


def all_tokens(method, image, mask):
    """Every patch (B, L, voxels) as predicted, the plain way: mask tokens put where patches were."""
    features = method.backbone(image, visible=~mask)[-1]
    tokens = method.to_decoder(features.flatten(2).transpose(1, 2))
    hidden = mask.flatten(1)[..., None]
    tokens = torch.where(hidden, method.mask_token, tokens) + method.positions
    return method.to_pixels(method.decoder(tokens))


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_leaving_out_what_nobody_asks_for_changes_neither_loss_nor_gradients(
    case, normalise, depth
):
    method, size = make(case, channels=2, decoder_depth=depth, normalise_target=normalise)
    data = batch(size, channels=2)
    mask = random_mask(data["seed"], method.grid, 0.75)
    target = patchify(data["image"], method.patch)
    plain = mae_loss(all_tokens(method, data["image"], mask), target, mask.flatten(1), normalise)
    loss = method.training_step(data, 0).loss
    torch.testing.assert_close(loss, plain, rtol=1e-6, atol=0)
    parameters = list(method.parameters())
    for a, b in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(plain, parameters), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_step_against_numpy_in_float64(case):
    method, size = make(case, channels=2)
    data = batch(size, channels=2)
    mask = random_mask(data["seed"], method.grid, 0.75)
    output = all_tokens(method, data["image"], mask).detach().double().numpy()
    image, errors = data["image"].double().numpy(), []
    for b, n in zip(*np.nonzero(mask.flatten(1).numpy()), strict=True):
        corner = np.unravel_index(n, method.grid)
        box = tuple(slice(i * p, i * p + p) for i, p in zip(corner, method.patch, strict=True))
        patch = np.moveaxis(image[(b, slice(None), *box)], 0, -1).ravel()
        patch = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 1e-6)
        errors.append(((output[b, n] - patch) ** 2).mean())
    expected = np.mean(errors)
    loss = method.training_step(data, 0).loss.detach()
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_loss_is_float32_under_autocast():
    method, size = make("2d")
    with torch.autocast("cpu", torch.bfloat16):
        loss = method.training_step(batch(size), 0).loss
    assert loss.dtype == torch.float32 and loss.isfinite()
    predicted, target = torch.randn(2, 6, 8).bfloat16(), torch.randn(2, 6, 8).bfloat16()
    for mask in (None, torch.ones(2, 6).bool()):
        assert mae_loss(predicted, target, mask, True).dtype == torch.float32


@pytest.mark.parametrize("backend", ["MATH", "FLASH_ATTENTION"])
def test_attention_backends_agree(backend):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    method, size = make("3d")
    data = batch(size)
    mask = random_mask(data["seed"], method.grid, 0.75)
    with torch.no_grad():
        expected = method(data["image"], mask)[0]
        with sdpa_kernel(getattr(SDPBackend, backend)):
            torch.testing.assert_close(
                method(data["image"], mask)[0], expected, atol=1e-4, rtol=1e-4
            )


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
        given = map(torch.from_numpy, (predicted, target, mask))
        assert float(mae_loss(*given, normalise)) == pytest.approx(expected, rel=1e-5)
        given = (torch.from_numpy(a)[torch.from_numpy(mask)] for a in (predicted, target))
        assert float(mae_loss(*given, None, normalise)) == pytest.approx(expected, rel=1e-5)


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


@pytest.mark.parametrize("normalise", [False, True])
def test_pictures_give_predictions_in_the_units_of_the_image(normalise):
    method, size = make("2d", normalise_target=normalise)
    data = batch(size)
    data["image"] = 5 * data["image"] + 3
    mask = random_mask(data["seed"], method.grid, 0.75)
    tokens = all_tokens(method, data["image"], mask)[0].detach()
    if normalise:
        target = patchify(data["image"], method.patch)[0]
        tokens = tokens * (target.var(-1, keepdim=True) + 1e-6).sqrt()
        tokens = tokens + target.mean(-1, keepdim=True)
    drawn = torch.from_numpy(method.pictures(data, 0)[0]["output"])
    hidden = mask[0].flatten()
    torch.testing.assert_close(
        patchify(drawn[None, None], method.patch)[0, hidden], tokens[hidden], rtol=1e-4, atol=1e-4
    )


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
