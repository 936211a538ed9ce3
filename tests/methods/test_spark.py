"""Property checks of SparK."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from medssl.backbones.base import build, expand_visible
from medssl.errors import UserError
from medssl.methods.parts.masking import patchify, random_mask
from medssl.methods.spark import SparK
from tests.backbones.dense_emulation import DenseEmulation

UNEVEN = {"channels": [4, 6], "strides": [[1, 1, 1], [2, 2, 1]]}
CASES = {
    "resnet": ("timm", {"model": "resnet18"}, (64, 96)),
    "convnext": ("timm", {"model": "convnext_atto"}, (64, 96)),
    "2d": ("res_unet", {"ndim": 2, "channels": [4, 8]}, (16, 24)),
    "3d": ("res_unet", {"channels": [4, 6, 8]}, (16, 24, 16)),
    "3d, cells of two places": ("res_unet", {"channels": [4, 8]}, (16, 24, 16)),
    "3d, uneven": ("res_unet", UNEVEN, (8, 12, 5)),
}


def keep(image, seeds):
    return image


def make(case: str, channels: int = 1, **options):
    torch.manual_seed(0)
    name, network, size = CASES[case]
    backbone = build(name, in_channels=channels, **network)
    if "two" in case:
        options = {"cell": 8} | options
    return SparK(backbone, keep, size=list(size), **{"decoder_width": 16, **options})


def batch(method, n=3, channels=1):
    image = torch.randn(n, channels, *method.size, generator=torch.Generator().manual_seed(1))
    return {"image": image, "seed": torch.arange(n) + 10}


@pytest.mark.parametrize("case", CASES)
def test_prediction_and_visible_levels_do_not_depend_on_hidden_voxels(case):
    method = make(case).eval()
    data = batch(method)
    mask = random_mask(data["seed"], method.grid, 0.6)
    seen = expand_visible(~mask, method.size)
    expected = method(data["image"], mask)
    assert expected.shape == data["image"].shape
    for other in (torch.randn_like(data["image"]), torch.full_like(data["image"], math.nan)):
        assert torch.equal(method(torch.where(seen, data["image"], other), mask), expected)


@pytest.mark.parametrize("case", ["resnet", "3d"])
def test_a_leaking_encoder_would_be_noticed(case):
    method = make(case).eval()
    method.backbone = DenseEmulation(method.backbone, leak=True).eval()
    data = batch(method)
    mask = random_mask(data["seed"], method.grid, 0.6)
    changed = torch.where(
        expand_visible(~mask, method.size), data["image"], torch.randn_like(data["image"])
    )
    assert not torch.allclose(method(changed, mask), method(data["image"], mask), atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_holes_hold_the_levels_token_and_the_rest_is_normed_over_what_is_seen(case):
    method = make(case)
    mask = random_mask(torch.arange(3), method.grid, 0.6)
    levels = method.backbone(batch(method)["image"], ~mask)
    for level, dense, token in zip(
        levels, method.densify(levels, mask), method.tokens, strict=True
    ):
        hidden = ~expand_visible(~mask, level.shape[2:])
        shape = (1, -1, *[1] * (level.ndim - 2))
        assert dense.shape == level.shape and token.abs().max() > 0
        assert torch.equal(
            torch.where(hidden, dense, token.view(shape)), token.view(shape).expand_as(dense)
        )
        seen = dense.movedim(1, -1)[~hidden[:, 0]]
        torch.testing.assert_close(seen.mean(), torch.zeros(()), atol=1e-4, rtol=0)
        assert 0.5 < seen.std() < 1.1
    assert len({float(t.sum().detach()) for t in method.tokens}) == len(method.tokens)


def golden(output, image, mask, cell, normalise):
    """The loss in float64, from the formula alone: loops over cells."""
    total, count = 0.0, 0
    for b, *place in zip(*np.nonzero(mask[:, 0]), strict=True):
        box = tuple(slice(p * c, (p + 1) * c) for p, c in zip(place, cell, strict=True))
        target, found = image[(b, slice(None), *box)], output[(b, slice(None), *box)]
        if normalise:
            target = (target - target.mean()) / np.sqrt(target.var(ddof=1) + 1e-6)
        total, count = total + ((found - target) ** 2).mean(), count + 1
    return total / count


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("case", ["2d", "3d, cells of two places", "3d, uneven"])
def test_loss_against_numpy_in_float64(case, normalise):
    method = make(case, channels=2, normalise_target=normalise).eval()
    data = batch(method, channels=2)
    data["image"] = data["image"] * 3 + 2
    mask = random_mask(data["seed"], method.grid, 0.6)
    output = method(data["image"], mask).detach().double().numpy()
    expected = golden(output, data["image"].double().numpy(), mask.numpy(), method.cell, normalise)
    assert float(method.training_step(data, 0).loss.detach()) == pytest.approx(expected, rel=1e-5)


class Given(nn.Module):
    """In place of a decoder: what it was given."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, levels):
        return self.output


def loss_of(method, data, output):
    method.decoder = Given(output)
    return method.training_step(data, 0).loss


def test_loss_ignores_visible_cells_and_affine_changes_of_the_target():
    method = make("3d")
    data = batch(method)
    mask = random_mask(data["seed"], method.grid, 0.6)
    seen, output = expand_visible(~mask, method.size), torch.randn_like(data["image"])
    loss = loss_of(method, data, output)
    assert loss_of(method, data, torch.where(seen, torch.randn_like(output), output)) == loss
    changed = {**data, "image": 4 * data["image"] + 7}
    torch.testing.assert_close(loss_of(method, changed, output), loss, rtol=1e-4, atol=0)
    plain = make("3d", normalise_target=False)
    assert float(loss_of(plain, data, data["image"])) == 0
    assert float(loss_of(plain, data, data["image"] + 2)) == pytest.approx(4, rel=1e-4)


def test_constant_cells_give_no_nan():
    method = make("2d")
    data = batch(method) | {"image": torch.ones(3, 1, *method.size)}
    loss = method.training_step(data, 0).loss
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in method.parameters())


def test_masks_hide_what_is_asked_for_and_differ():
    method = make("3d, cells of two places")
    assert method.cell == (8, 8, 8) and method.grid == (2, 3, 2)
    _, mask = method._draw(batch(method))
    assert mask.flatten(1).sum(1).tolist() == [12 - round(12 * 0.4)] * 3
    assert not torch.equal(mask[0], mask[1])
    assert torch.equal(method._draw(batch(method))[1], mask)


@pytest.mark.parametrize("case", CASES)
def test_every_trained_weight_gets_a_gradient(case):
    method = make(case, channels=2)
    with torch.no_grad():  # timm's blocks start with a last norm of 0
        for p in method.backbone.parameters():
            p += 0.05 * torch.randn_like(p)
    method.training_step(batch(method, channels=2), 0).loss.backward()
    without = [n for n, p in method.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


@pytest.mark.parametrize("case", ["resnet", "3d"])
def test_a_step_is_the_dense_emulations(case):
    method, other = make(case).double(), make(case).double()
    other.backbone = DenseEmulation(other.backbone)
    data = batch(method)
    data["image"] = data["image"].double()
    losses = [m.training_step(data, 0).loss for m in (method, other)]
    torch.testing.assert_close(*losses)
    for loss in losses:
        loss.backward()
    for a, b in zip(method.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-7)


def test_pretrained_weights_load_into_the_dense_network():
    method = make("resnet")
    method.training_step(batch(method), 0)
    dense = build("timm", in_channels=1, model="resnet18")
    assert not any(dense.load_state_dict(method.backbone.state_dict()))


@pytest.mark.parametrize("case", ["2d", "3d"])
def test_pictures_paste_the_input_where_it_was_visible(case):
    method = make(case).eval()
    data = batch(method)
    picture = method.pictures(data, 0)[0]
    hidden = random_mask(data["seed"], method.grid, 0.6)
    seen = expand_visible(~hidden, method.size)[0, 0].numpy()
    assert picture["kind"] == "reconstruction"
    assert np.array_equal(picture["output"][seen], picture["input"][seen])
    assert not np.allclose(picture["output"][~seen], picture["input"][~seen])
    mean = patchify(torch.from_numpy(picture["output"])[None, None], method.cell).mean(-1)
    assert mean.isfinite().all()


def test_loss_falls_on_a_batch_seen_again():
    method = make("3d", normalise_target=False)
    data = batch(method)
    optimizer = torch.optim.AdamW(method.parameters(), 1e-2)
    losses = []
    for step in range(30):
        loss = method.training_step(data, step).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("case", "options", "says"),
    [
        ("3d", {"cell": 12}, r"method.cell.*no multiple.*use \[16, 16, 16\]"),
        ("3d", {"cell": [8, 8]}, "method.cell"),
        ("3d", {"cell": 16}, "does not divide"),
        ("3d", {"mask_ratio": 0.01}, "method.mask_ratio"),
        ("resnet", {"mask_ratio": 0.8}, "one place"),
    ],
)
def test_what_does_not_fit_is_refused(case, options, says):
    with pytest.raises(UserError, match=says):
        make(case, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit", {"patch": 8, "width": 24, "depth": 1, "ndim": 2}),
        ("timm", {"model": "efficientnet_b0"}),
    ],
)
def test_networks_without_a_sparse_form_are_refused_with_those_that_have_one(name, options):
    with pytest.raises(UserError, match="res_unet, or timm with a ResNet or ConvNeXt"):
        SparK(build(name, in_channels=1, **options), keep, size=[64, 64])
