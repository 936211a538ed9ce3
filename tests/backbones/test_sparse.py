"""The sparse forward pass: blind to what is hidden, equal to the dense emulation and the dense net."""

import math

import pytest
import torch
from torch import nn

from medssl.backbones.base import build, expand_visible
from medssl.backbones.cells import Cells, cells_of
from medssl.backbones.sparse import known, run
from medssl.backbones.sparse_convolution import depthwise_gradient
from tests.backbones.dense_emulation import DenseEmulation

UNEVEN = {"channels": [4, 6, 8], "strides": [[1, 1, 1], [2, 2, 1], [2, 2, 2]], "blocks": 2}
# name, options, size, grid of the mask
CASES = {
    "resnet18": ("timm", {"model": "resnet18"}, (96, 64), (3, 2)),
    "resnet18, levels, wide cells": (
        "timm", {"model": "resnet18", "out_indices": [0, 1, 2]}, (48, 64), (3, 4),
    ),
    "resnet50": ("timm", {"model": "resnet50"}, (64, 64), (2, 2)),
    "resnet26d": ("timm", {"model": "resnet26d"}, (64, 64), (2, 2)),
    "convnext_atto": ("timm", {"model": "convnext_atto"}, (64, 96), (2, 3)),
    "convnext_atto, a third": ("timm", {"model": "convnext_atto"}, (96, 96), (3, 3)),
    "convnextv2_atto": ("timm", {"model": "convnextv2_atto"}, (64, 96), (2, 3)),
    "res_unet 2d": ("res_unet", {"ndim": 2, "channels": [4, 8]}, (24, 32), (3, 4)),
    "res_unet 3d": ("res_unet", {"channels": [4, 6, 8], "blocks": 2}, (24, 32, 16), (3, 4, 2)),
    "res_unet uneven": ("res_unet", UNEVEN, (16, 24, 12), (2, 3, 3)),
    "res_unet uneven, cells of one": ("res_unet", UNEVEN, (16, 24, 12), (4, 6, 6)),
}  # fmt: skip
SMALL = [c for c in CASES if c not in ("resnet50", "resnet26d")]


def made(case: str, seed: int = 0):
    name, options, size, grid = CASES[case]
    torch.manual_seed(seed)
    backbone = build(name, in_channels=2, **options)
    with torch.no_grad():  # some layers start at 0 and would hide what is before them
        for parameter in backbone.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return backbone, torch.randn(2, 2, *size), random_cells(grid)


def random_cells(grid, n=2, keep=0.5):
    """As many visible cells in every sample, others in each."""
    cells = math.prod(grid)
    generator = torch.Generator().manual_seed(3)
    ranks = torch.stack([torch.randperm(cells, generator=generator) for _ in range(n)])
    return (ranks < max(2, round(keep * cells))).view(n, 1, *grid)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_levels_and_gradients_equal_the_dense_emulation(case, train):
    backbone, image, visible = made(case)
    backbone, image = backbone.double().train(train), image.double()
    dense = DenseEmulation(backbone).train(train)
    inputs = [image.clone().requires_grad_(), image.clone().requires_grad_()]
    ours, theirs = backbone(inputs[0], visible), dense(inputs[1], visible)
    weights = [torch.randn_like(x) for x in ours]
    for levels in (ours, theirs):
        sum((x * w).sum() for x, w in zip(levels, weights, strict=True)).backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-7, atol=1e-8)
    other = dict(dense.backbone.named_parameters())
    for name, p in backbone.named_parameters():
        scale = float(other[name].grad.abs().max())
        torch.testing.assert_close(p.grad, other[name].grad, rtol=1e-7, atol=1e-8 * (1 + scale))
    for a, b in zip(backbone.buffers(), dense.backbone.buffers(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("case", SMALL)
def test_hidden_voxels_change_nothing_and_hidden_places_are_zero(case, train):
    backbone, image, visible = made(case)
    backbone.train(train)
    state = {k: v.clone() for k, v in backbone.state_dict().items()}
    seen = expand_visible(visible, image.shape[2:])
    with torch.no_grad():
        expected = backbone(image, visible)
        after = {k: v.clone() for k, v in backbone.state_dict().items()}
        for other in (100 * torch.randn_like(image), torch.full_like(image, math.nan)):
            backbone.load_state_dict(state)
            levels = backbone(torch.where(seen, image, other), visible)
            for a, b in zip(levels, expected, strict=True):
                assert torch.equal(a, b)
                assert not a[~expand_visible(visible, a.shape[2:]).expand_as(a)].any()
                assert a.any()
            for key, value in backbone.state_dict().items():  # running statistics
                assert torch.equal(value, after[key])


@pytest.mark.parametrize("case", ["resnet18", "res_unet 3d"])
def test_a_leak_through_the_stem_is_noticed(case):
    """The published fault: the whole image goes in and only what comes out is masked."""
    backbone, image, visible = made(case)
    leaking = DenseEmulation(backbone.eval(), leak=True).eval()
    seen = expand_visible(visible, image.shape[2:])
    with torch.no_grad():
        changed = torch.where(seen, image, torch.randn_like(image))
        pairs = zip(leaking(image, visible), leaking(changed, visible), strict=True)
        assert not any(torch.allclose(a, b, atol=1e-6) for a, b in pairs)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("case", SMALL)
def test_with_all_visible_it_is_the_dense_network(case, train):
    backbone, image, visible = made(case)
    twin, _, _ = made(case)
    backbone, twin, image = (
        backbone.double().train(train),
        twin.double().train(train),
        image.double(),
    )
    for a, b in zip(backbone(image, torch.ones_like(visible)), twin(image), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)
    for a, b in zip(backbone.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(a, b)


def test_dense_weights_keep_timms_names():
    import timm

    backbone = build("timm", in_channels=3, model="resnet18")
    backbone(torch.randn(2, 3, 64, 64), random_cells((2, 2)))
    whole = timm.create_model("resnet18", num_classes=0)
    assert not any(whole.load_state_dict(backbone.net.state_dict()))


def test_statistics_are_those_of_the_visible_places():
    visible, x = random_cells((3, 4)), torch.randn(2, 5, 12, 16) * 3 + 7
    cells, norm = Cells(visible), nn.BatchNorm2d(5)
    out = run(norm, cells.take(x), cells)
    places = x.movedim(1, -1)[expand_visible(visible, (12, 16))[:, 0]]
    torch.testing.assert_close(norm.running_mean, 0.1 * places.mean(0))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * places.var(0))
    torch.testing.assert_close(out.flatten(0, 2).mean(0), torch.zeros(5), atol=1e-5, rtol=0)
    out = cells.put(run(nn.InstanceNorm2d(5, affine=True), cells.take(x), cells))
    for level, seen in zip(out, expand_visible(visible, (12, 16)), strict=True):
        values = level[:, seen[0]]
        torch.testing.assert_close(values.mean(1), torch.zeros(5), atol=1e-5, rtol=0)
        torch.testing.assert_close(values.var(1, correction=0), torch.ones(5), atol=1e-3, rtol=0)


def test_samples_may_show_different_numbers_of_cells():
    visible = torch.tensor([[1, 1, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]).bool().view(3, 1, 2, 2)
    backbone = build("res_unet", in_channels=1, ndim=2, channels=[4, 8])
    image = torch.randn(3, 1, 16, 16)
    dense = DenseEmulation(backbone)
    for a, b in zip(backbone(image, visible)[:1], dense(image, visible)[:1], strict=True):
        torch.testing.assert_close(a[:2], b[:2], atol=1e-5, rtol=1e-4)
        assert not a[2].any()


@pytest.mark.parametrize("size", [(8, 12), (4, 8, 6)])
def test_take_and_put_are_inverse_and_each_place_has_its_own(size):
    ndim = len(size)
    grid = tuple(s // 2 for s in size)
    visible, x = random_cells(grid), torch.randn(2, 3, *size)
    cells, seen = Cells(visible), expand_visible(visible, size)
    stack = cells.take(x)
    assert stack.shape == (int(visible.sum()), *[2] * ndim, 3)
    assert torch.equal(cells.put(stack), torch.where(seen, x, 0.0))
    token = torch.tensor([1.0, 2.0, 3.0])
    filled = torch.where(seen, x, token.view(1, 3, *[1] * ndim))
    assert torch.equal(cells.put(stack, token), filled)


@pytest.mark.parametrize("block", [(1, 1), (2, 1), (2, 2), (3, 2), (4, 4), (2, 4, 2)])
def test_the_depthwise_gradient_is_torchs(block):
    kernel = (7, 5, 3)[: len(block)]
    window = [b + k - 1 for b, k in zip(block, kernel, strict=True)]
    windows, g = torch.randn(5, *window, 6).double(), torch.randn(5, *block, 6).double()
    weight = torch.zeros(6, 1, *kernel).double().requires_grad_()
    convolution = {2: torch.conv2d, 3: torch.conv3d}[len(block)]
    y = convolution(windows.movedim(-1, 1), weight, groups=6).movedim(1, -1)
    (expected,) = torch.autograd.grad(y, weight, g)
    torch.testing.assert_close(depthwise_gradient(windows, g, kernel), expected)


def test_cells_finer_than_the_coarsest_stride_are_hidden_densely():
    image = torch.randn(1, 1, 64, 96)
    fine = torch.ones(1, 1, 8, 12, dtype=torch.bool)
    assert cells_of(image, fine, (32, 32)) is None and cells_of(image, fine, (8, 8)) is not None
    assert cells_of(image, torch.ones(1, 1, 5, 7).bool(), (1, 1)) is None
    backbone = build("timm", in_channels=1, model="resnet18").eval()
    fine[..., :3] = False
    holes = image.clone()
    holes[..., :24] = 0
    with torch.no_grad():
        for a, b in zip(backbone(image, fine), backbone(holes), strict=True):
            assert torch.equal(a, b)


def test_a_mask_that_hides_all_is_refused():
    with pytest.raises(ValueError, match="no cell"):
        Cells(torch.zeros(2, 1, 2, 2, dtype=torch.bool))


@pytest.mark.parametrize(
    ("model", "sparse"),
    [
        ("resnet34", True), ("resnet50", True), ("convnext_atto", True), ("resnet26d", True),
        ("seresnet18", False), ("resnetblur18", False), ("efficientnet_b0", False),
        ("vit_tiny_patch16_224", False),
    ],
)  # fmt: skip
def test_which_networks_have_a_sparse_form(model, sparse):
    assert build("timm", in_channels=1, model=model).sparse is sparse


def test_layers_without_a_sparse_form_are_named():
    cells = Cells(torch.ones(1, 1, 2, 2, dtype=torch.bool))
    for layer in (nn.PixelShuffle(2), nn.GroupNorm(1, 4), nn.Dropout(0.5)):
        assert not known(layer)
        with pytest.raises(TypeError, match=type(layer).__name__):
            run(layer, torch.zeros(4, 2, 2, 4), cells)
    for layer in (nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, padding=2, dilation=2),
                  nn.Conv2d(4, 4, 3, padding="same"), nn.Conv2d(4, 4, 2, padding=1),
                  nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
                  nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.AvgPool2d(3, 1, 1)):  # fmt: skip
        assert not known(layer)


def test_under_autocast_levels_are_close_to_those_in_full_precision():
    backbone, image, visible = made("convnext_atto")
    with torch.no_grad():
        expected = backbone(image, visible)[0]
        with torch.autocast("cpu", torch.bfloat16):
            level = backbone(image, visible)[0]
    torch.testing.assert_close(level.float(), expected, rtol=0.1, atol=0.1)
