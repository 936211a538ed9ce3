"""Property checks of SimMIM."""

import numpy as np
import pytest
import torch

from medssl.backbones.base import build
from medssl.backbones.vit import cut_patches
from medssl.errors import UserError
from medssl.methods.parts.masking import patchify, random_mask
from medssl.methods.simmim import SimMIM, simmim_loss

CASES = {
    "vit 2d": ("vit", dict(ndim=2, patch=[2, 4], width=12, depth=1, heads=2), (16, 24), [4, 8]),
    "vit 3d": ("vit", dict(ndim=3, patch=[4, 2, 2], width=12, depth=1, heads=2), (8, 12, 4), [4, 4, 2]),
    "u-net 2d": ("res_unet", dict(ndim=2, channels=[4, 6]), (16, 24), [8, 4]),
    "u-net 3d": ("res_unet", dict(ndim=3, channels=[4, 6], stem_stride=1), (8, 12, 4), None),
}  # fmt: skip


def keep(image, seeds, **_):
    return image


def make(case, channels=2, **options):
    torch.manual_seed(0)
    name, backbone_options, size, cell = CASES[case]
    backbone = build(name, in_channels=channels, **backbone_options)
    return SimMIM(backbone, keep, size=list(size), **{"cell": cell, **options})


def batch(method, n=3, channels=2):
    image = torch.randn(n, channels, *method.size, generator=torch.Generator().manual_seed(1))
    return {"image": image, "seed": torch.arange(n) + 10}


def voxels_of(mask, method):
    for axis, c in enumerate(method.cell):
        mask = mask.repeat_interleave(c, axis + 2)
    return mask


def output(method, image, mask):
    """The whole predicted image (B, C, *size), voxel by voxel from its definition."""
    features = method.backbone(method.covered(image, mask))[-1]
    tokens = method.to_pixels(features.flatten(2).transpose(1, 2)).detach().double().numpy()
    b, c = image.shape[:2]
    out = np.empty(image.shape)
    for n, corner in enumerate(np.ndindex(*method.grid)):
        box = tuple(slice(i * p, i * p + p) for i, p in zip(corner, method.patch, strict=True))
        patch = tokens[:, n].reshape(b, *method.patch, c)
        out[(slice(None), slice(None), *box)] = np.moveaxis(patch, -1, 1)
    return out


@pytest.mark.parametrize("case", CASES)
def test_loss_against_numpy_in_float64(case):
    method = make(case)
    data = batch(method)
    mask = random_mask(data["seed"], method.cells, 0.6)
    hidden = np.broadcast_to(voxels_of(mask, method).numpy(), data["image"].shape)
    error = np.abs(output(method, data["image"], mask) - data["image"].double().numpy())
    expected = error[hidden].sum() / hidden.sum()
    loss = method.training_step(data, 0).loss.detach()
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_loss_is_the_mean_absolute_error_in_float32():
    rng = np.random.default_rng(0)
    predicted, target = rng.normal(size=(2, 3, 8)), rng.normal(3, 5, size=(2, 3, 8))
    loss = simmim_loss(*(torch.from_numpy(a).bfloat16() for a in (predicted, target)))
    assert loss.dtype == torch.float32
    loss = simmim_loss(torch.from_numpy(predicted), torch.from_numpy(target))
    assert float(loss) == pytest.approx(np.abs(predicted - target).mean(), rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_nothing_depends_on_what_is_hidden_and_hidden_places_are_seen_as_the_learned_patch(case):
    method = make(case)
    image = batch(method)["image"]
    mask = random_mask(torch.tensor([3, 4, 5]), method.cells, 0.6)
    hidden = voxels_of(mask, method)
    spoiled = torch.where(hidden, float("nan"), image)
    predicted, places = method(image, mask)
    assert torch.equal(predicted, method(spoiled, mask)[0])
    before = method.covered(image, mask)
    assert torch.equal(before[~hidden.expand_as(image)], image[~hidden.expand_as(image)])
    method.token.data += 1
    assert torch.allclose(method.covered(image, mask) - before, hidden.float(), atol=1e-6)
    assert not torch.equal(predicted, method(image, mask)[0])
    cells = patchify(hidden.float(), method.patch)[..., 0].bool()  # as many hidden as was said
    assert torch.equal(cells.nonzero()[:, 1].view(3, -1), places)


@pytest.mark.parametrize("case", ["vit 2d", "vit 3d"])
def test_for_a_transformer_the_learned_patch_is_the_mask_token_of_the_paper(case):
    method = make(case)
    image = batch(method)["image"]
    mask = random_mask(torch.tensor([3, 4, 5]), method.cells, 0.6)
    vit = method.backbone
    token = vit.embed(method.token.flatten())
    hidden = mask
    for axis, (c, p) in enumerate(zip(method.cell, method.patch, strict=True)):
        hidden = hidden.repeat_interleave(c // p, axis + 2)
    expected = torch.where(
        hidden.flatten(1)[..., None], token, vit.embed(cut_patches(image, vit.patch))
    )
    found = vit.embed(cut_patches(method.covered(image, mask), vit.patch))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("case", CASES)
def test_every_weight_gets_a_gradient_the_learned_patch_too(case):
    method = make(case)
    method.training_step(batch(method), 0).loss.backward()
    without = [n for n, p in method.named_parameters() if p.grad is None]
    assert not without and method.token.grad.abs().sum() > 0


def test_cells_are_multiples_of_the_coarsest_stride_that_divide_the_image():
    assert make("u-net 3d").cell == (4, 6, 2) and make("u-net 3d").cells == (2, 2, 2)
    assert make("vit 2d", cell=4).cells == (4, 6)
    vit = build("vit", in_channels=1, ndim=2, patch=16, width=12, depth=1, heads=2)
    assert SimMIM(vit, keep, size=[224, 224]).cells == (7, 7)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"cell": [6, 8]}, "multiple of"),
        ({"cell": [12, 8]}, "method.cell"),
        ({"cell": [16, 24]}, "method.mask_ratio"),
        ({"mask_ratio": 0.999}, "method.mask_ratio"),
    ],
)
def test_impossible_masks_are_refused(options, message):
    backbone = build("vit", in_channels=1, ndim=2, patch=[4, 8], width=12, depth=1, heads=2)
    with pytest.raises(UserError, match=message):
        SimMIM(backbone, keep, size=[16, 24], **options)


@pytest.mark.parametrize("case", CASES)
def test_pictures_paste_the_input_where_it_was_visible(case):
    method = make(case)
    data = batch(method)
    picture = method.eval().pictures(data, 0)[0]
    mask = random_mask(data["seed"], method.cells, 0.6)
    hidden = voxels_of(mask, method)[0, 0].numpy()
    assert np.array_equal(picture["output"][~hidden], picture["input"][~hidden])
    assert np.allclose(
        picture["output"][hidden], output(method, data["image"], mask)[0, 0][hidden], atol=1e-5
    )
