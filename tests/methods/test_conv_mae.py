"""Property checks of the convolutional masked autoencoder."""

import numpy as np
import pytest
import torch

from medssl.augment.compose import Augment, augmenter
from medssl.backbones.base import build
from medssl.errors import UserError
from medssl.methods.conv_mae import ConvMAE, make_holes
from medssl.methods.parts.masking import random_mask, split_places

CASES = {
    "2d": (dict(ndim=2, channels=[4, 6]), (16, 24), [8, 4]),
    "3d": (dict(ndim=3, channels=[4, 6], stem_stride=1), (8, 12, 4), [4, 4, 2]),
}


def keep(image, seeds, **_):
    return image


def make(case="3d", channels=2, augment=keep, **options):
    torch.manual_seed(0)
    backbone_options, size, patch = CASES[case]
    backbone = build("res_unet", in_channels=channels, **backbone_options)
    options = {"patch": patch, "width": 4, **options}
    return ConvMAE(backbone, augment, size=list(size), **options)


def batch(method, n=3, channels=2):
    image = torch.randn(n, channels, *method.size, generator=torch.Generator().manual_seed(1))
    return {"image": image, "seed": torch.arange(n) + 10}


def voxels_of(mask, method):
    for axis, p in enumerate(method.patch):
        mask = mask.repeat_interleave(p, axis + 2)
    return mask


def expected_loss(output, target, hidden, patch=None):
    """Mean squared error from the formula alone, in float64; hidden (B, 1, *size) bool."""
    output, target = (t.detach().double().numpy() for t in (output, target))
    hidden = np.broadcast_to(hidden.numpy(), target.shape)
    if patch is not None:  # every block of every sample, by plain loops
        target = target.copy()
        for corner in np.ndindex(*[n // p for n, p in zip(target.shape[2:], patch, strict=True)]):
            box = tuple(slice(c * p, c * p + p) for c, p in zip(corner, patch, strict=True))
            for sample in target:
                block = sample[(slice(None), *box)]
                std = np.sqrt(block.var(ddof=1) + 1e-6)
                sample[(slice(None), *box)] = (block - block.mean()) / std
    return ((output - target) ** 2)[hidden].sum() / hidden.sum()


@pytest.mark.parametrize("loss_on", ["masked", "all"])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_loss_against_numpy_in_float64(case, normalise, loss_on):
    method = make(case, normalise_target=normalise, loss_on=loss_on)
    data = batch(method)
    mask = random_mask(data["seed"], method.grid, 0.75)
    hidden = voxels_of(mask, method) | (loss_on == "all")
    output = method(data["image"], mask)
    expected = expected_loss(output, data["image"], hidden, method.patch if normalise else None)
    loss = method.training_step(data, 0).loss.detach()
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("fill", ["zero", "lowest"])
@pytest.mark.parametrize("case", CASES)
def test_nothing_depends_on_what_is_hidden(case, fill, skips):
    method = make(case, fill=fill, skips=skips)
    image = batch(method)["image"]
    mask = random_mask(torch.tensor([3, 4, 5]), method.grid, 0.75)
    spoiled = torch.where(voxels_of(mask, method), float("nan"), image)
    output = method(image, mask)
    assert output.shape == image.shape and output.isfinite().all()
    assert torch.equal(output, method(spoiled, mask))
    assert not torch.equal(output, method(image + 1, mask))


def test_holes_are_zero_or_the_lowest_value_seen_of_each_sample_and_channel():
    image = torch.tensor([[[[5.0, -9.0], [3.0, 4.0]], [[1.0, 2.0], [7.0, 8.0]]]])
    mask = torch.tensor([[[[False, True], [False, False]]]])
    assert make_holes(image, mask, "zero")[0, :, 0, 1].tolist() == [0, 0]
    lowest = make_holes(image, mask, "lowest")
    assert lowest[0, :, 0, 1].tolist() == [3, 1]
    assert torch.equal(lowest[..., 1, :], image[..., 1, :])


def test_without_skips_only_the_last_level_reaches_the_decoder():
    with_skips, without = make(skips=True), make(skips=False)
    for method, reaches in ((with_skips, True), (without, False)):
        data = batch(method)
        mask = random_mask(data["seed"], method.grid, 0.75)
        before = method(data["image"], mask)
        forward = method.backbone.forward
        method.backbone.forward = lambda x, f=forward: [f(x)[0] + torch.randn(1), *f(x)[1:]]
        assert torch.allclose(before, method(data["image"], mask)) != reaches


def test_the_clean_target_is_moved_but_not_recoloured():
    drawn = Augment(rotate=10, shift=0.1, noise=0.2, gain=0.3)
    method = make(augment=augmenter(drawn, (-5.0, 5.0)), target="clean")
    data = batch(method)
    image, target, mask = method._draw(data)
    moved = method.augment(data["image"], data["seed"], intensity=False)
    assert torch.equal(target, moved) and not torch.equal(target, data["image"])
    assert torch.equal(image, method.augment(moved, data["seed"], spatial=False))
    expected = expected_loss(method(image, mask), target, voxels_of(mask, method))
    loss = method.training_step(data, 0).loss.detach()
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    method.target = "augmented"
    image, target, _ = method._draw(data)
    assert torch.equal(image, target)
    assert torch.equal(image, method.augment(data["image"], data["seed"]))


def test_a_range_of_ratios_is_drawn_for_each_batch_from_its_seeds():
    method = make("2d", patch=[2, 2], mask_ratio=[0.3, 0.9])
    shares = []
    for seed in range(20):
        data = {"image": torch.randn(2, 2, *method.size), "seed": torch.tensor([seed, 99])}
        mask = method._draw(data)[2]
        assert torch.equal(mask, method._draw(data)[2])
        assert mask[0].sum() == mask[1].sum()
        shares.append(float(mask.float().mean()))
    assert 0.28 < min(shares) < 0.45 and 0.75 < max(shares) < 0.92 and len(set(shares)) > 10
    one = make("2d", patch=[2, 2], mask_ratio=0.75)
    assert float(one._draw(data)[2].float().mean()) == 0.75


@pytest.mark.parametrize("skips", [True, False])
def test_every_weight_gets_a_gradient_under_autocast_and_the_loss_is_float32(skips):
    method = make("2d", skips=skips)
    with torch.autocast("cpu", torch.bfloat16):
        loss = method.training_step(batch(method), 0).loss
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


def test_blocks_are_chosen_to_divide_the_image():
    assert make("2d", patch=None).patch == (8, 12) and make("3d", patch=None).patch == (4, 6, 2)
    assert make("3d", patch=4).patch == (4, 4, 4)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"patch": [3, 4, 2]}, "method.patch"),
        ({"mask_ratio": [0.9, 0.6]}, "rising"),
        ({"mask_ratio": [0.1, 0.2, 0.3]}, "one share, or two"),
        ({"mask_ratio": 0.999}, "method.mask_ratio"),
        ({"mask_ratio": [0.001, 0.5]}, "method.mask_ratio"),
        ({"patch": [8, 12, 4]}, "method.mask_ratio"),
    ],
)
def test_impossible_masks_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        make("3d", **options)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_pictures_paste_the_input_where_it_was_visible(case, normalise):
    method = make(case, normalise_target=normalise)
    data = batch(method)
    picture = method.eval().pictures(data, 0)[0]
    hidden = voxels_of(method._draw(data)[2], method)[0, 0].numpy()
    assert np.array_equal(picture["output"][~hidden], picture["input"][~hidden])
    assert not np.allclose(picture["output"][hidden], picture["input"][hidden])
    assert (picture["masked"][hidden] == data["image"].amin().numpy()).all()


def test_a_transformer_of_one_level_will_do_and_the_decoder_is_the_one_of_segmentation():
    vit = build("vit", in_channels=1, ndim=3, patch=4, width=12, depth=1, heads=2)
    method = ConvMAE(vit, keep, size=[8, 8, 8], patch=4, width=4)
    assert method.training_step(batch(method, channels=1), 0).loss.isfinite()
    assert split_places(method._draw(batch(method))[2])[1].shape == (3, 6)
    from medssl.backbones.decoder import UNetDecoder

    state = UNetDecoder(method.backbone, 1, 4).state_dict()
    assert {k: v.shape for k, v in state.items()} == {
        k: v.shape for k, v in method.decoder.state_dict().items()
    }
