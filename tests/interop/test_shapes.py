import pytest
import torch
from torch.nn.functional import conv2d, conv3d

from medssl.backbones.vit import cut_patches
from medssl.interop.shapes import adapt

FLAT, DEEP = {"in_channels": 1, "ndim": 2}, {"in_channels": 1, "ndim": 3}


def adapted(name, given, shape, context):
    return adapt(name, given, torch.empty(shape), context)


def test_positions_keep_their_place_when_the_grid_grows():
    ramp = torch.linspace(0, 1, 4)[None, None, :, None].expand(1, 6, 4, 4).contiguous()
    found, how = adapted("places.positions", ramp, (1, 6, 8, 8), FLAT)
    assert how == "positions stretched from 4x4 to 8x8 patches"
    assert (found.diff(dim=2) >= 0).all() and torch.allclose(found.mean(), ramp.mean(), atol=1e-6)


def test_positions_of_a_class_token_stay_with_it():
    tokens = torch.randn(1, 17, 6)
    found, how = adapted("pos_embed", tokens, (1, 26, 6), FLAT)
    assert torch.equal(found[:, 0], tokens[:, 0]) and "4x4 to 5x5" in how
    ours, how = adapted("places.positions", tokens, (1, 6, 4, 4), FLAT)
    assert "class token left out" in how
    assert torch.equal(ours.flatten(2)[0].T, tokens[0, 1:])
    assert adapted("pos_embed", torch.randn(1, 16, 6), (1, 26, 6), FLAT) is None


def test_positions_of_a_grid_that_is_no_cube_are_taken_where_the_count_is_the_same():
    tokens = torch.randn(1, 6, 4)
    found, _ = adapted("places.positions", tokens, (1, 4, 1, 2, 3), DEEP)
    assert torch.equal(found[0, :, 0, 1, 2], tokens[0, 5])
    assert adapted("places.positions", tokens, (1, 4, 2, 2, 2), DEEP) is None


def test_a_strided_convolution_becomes_the_linear_layer_of_the_same_answers():
    weight, image = torch.randn(5, 2, 4, 4, 4), torch.randn(1, 2, 8, 8, 8)
    context = {"in_channels": 2, "ndim": 3, "patch": (4, 4, 4)}
    found, _ = adapted("embed.weight", weight, (5, 128), context)
    ours = cut_patches(image, (4, 4, 4)) @ found.T
    assert torch.allclose(
        ours, conv3d(image, weight, stride=4).flatten(2).transpose(1, 2), atol=1e-4
    )


def test_monai_s_perceptron_has_channels_fastest():
    weight = torch.randn(5, 2 * 8)
    context = {"in_channels": 2, "ndim": 3, "patch": (2, 2, 2)}
    found, how = adapted("embed.weight", weight, (5, 16), context)
    assert how == "channels put first"
    assert torch.equal(found.view(5, 2, 8)[:, 1], weight.view(5, 8, 2)[..., 1])


@pytest.mark.parametrize("patch", [(8, 8), (2, 2)])
def test_a_patch_of_another_size_answers_to_an_even_image_as_before(patch):
    weight = torch.randn(5, 1, 4, 4)
    context = {"in_channels": 1, "ndim": 2, "patch": patch}
    found, how = adapted("embed.weight", weight, (5, patch[0] ** 2), context)
    assert "patches of 4x4 stretched" in how
    assert torch.allclose(found.sum(1), weight.flatten(1).sum(1), atol=0.8)


def test_2d_patches_become_3d_ones_along_the_last_axis():
    weight = torch.randn(5, 3, 4, 4)
    context = {"in_channels": 1, "ndim": 3, "patch": (4, 4, 2)}
    found, how = adapted("embed.weight", weight, (5, 32), context)
    assert "depth of 2" in how and "3 input channels summed to 1" in how
    assert torch.allclose(found.view(5, 4, 4, 2).sum(-1), weight.sum(1), atol=1e-5)


def test_a_kernel_of_another_extent_keeps_its_middle():
    weight = torch.randn(4, 1, 7, 7, 7)
    found, how = adapted("conv1.weight", weight, (4, 1, 3, 7, 7), DEEP)
    assert how == "kernels of 7x7x7 cut to 3x7x7" and torch.equal(found, weight[:, :, 2:5])
    grown, how = adapted("conv1.weight", weight, (4, 1, 9, 7, 7), DEEP)
    assert "padded" in how and torch.equal(grown[:, :, 1:8], weight) and not grown[:, :, 0].any()
    image = torch.randn(1, 1, 12, 12, 12)
    assert torch.allclose(
        conv3d(image, grown, padding=(4, 3, 3)), conv3d(image, weight, padding=3), atol=1e-4
    )


def test_windows_are_stretched_and_the_same_one_stays():
    table = torch.randn(7**3, 4)
    found, how = adapted("attn.relative_position_bias_table", table, (13**3, 4), DEEP)
    assert how == "windows of 4 stretched to 7 tokens"
    old, new = table.view(7, 7, 7, 4), found.view(13, 13, 13, 4)
    assert torch.allclose(new[::2, ::2, ::2], old, atol=1e-5)


def test_1x1_convolutions_are_linear_layers():
    found, how = adapted("head.weight", torch.arange(12.0).view(3, 4, 1, 1), (3, 4), FLAT)
    assert torch.equal(found, torch.arange(12.0).view(3, 4)) and "axes of length 1" in how


@pytest.mark.parametrize(
    "name, given, wanted",
    [
        ("stage.conv.weight", (4, 8, 3, 3), (4, 6, 3, 3)),  # not the first convolution
        ("stage.conv.weight", (4, 1, 3, 3), (8, 1, 3, 3)),
        ("stage.conv.weight", (4, 1, 4, 4), (4, 1, 3, 3)),  # no middle
        ("norm.weight", (4,), (8,)),
        ("fc.weight", (4, 8), (8, 4)),
        ("conv.weight", (4, 1, 3, 3), (4, 2, 3, 3, 3)),
    ],
)
def test_what_no_rule_adapts_is_left(name, given, wanted):
    assert adapted(name, torch.randn(given), wanted, FLAT) is None


def test_depth_is_spread_so_that_equal_slices_answer_as_one():
    weight, image = torch.randn(4, 1, 3, 3), torch.randn(1, 1, 8, 8)
    found, _ = adapted("conv.weight", weight, (4, 1, 3, 3, 3), DEEP)
    volume = image[..., None].expand(1, 1, 8, 8, 5)
    assert torch.allclose(conv3d(volume, found)[..., 1], conv2d(image, weight), atol=1e-4)
