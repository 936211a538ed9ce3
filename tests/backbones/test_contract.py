"""What every backbone of the table promises, in the smallest form of each."""

import math

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from medssl.backbones.base import BACKBONES, build
from medssl.config import options_model, resolve
from medssl.errors import UserError
from medssl.training.speed import recompute

SWIN = {"feature_size": 12, "depths": [1, 2, 1, 1], "heads": [2, 2, 4, 4], "window": 4}
RESENC = {"channels": [4, 6, 8], "blocks": [1, 1, 2], "strides": [[1], [2], [2, 2, 1]]}
LEARNED = {"patch": 4, "width": 24, "depth": 2}
BATCH = {"width": 4, "blocks": [1, 1], "norm": "batch", "ndim": 2}
UNEVEN = {"channels": [4, 6, 8], "strides": [[1, 1, 1], [2, 2, 1], [2, 2, 2]], "blocks": 2}

# (name, options, size of an image that is not a cube, grid of a mask)
CASES = {
    "timm resnet": ("timm", {"model": "resnet18"}, (64, 96), (2, 3)),
    "timm resnet, levels": ("timm", {"model": "resnet18", "out_indices": [0, 2]}, (64, 40), (8, 5)),
    "timm convnext": ("timm", {"model": "convnext_atto"}, (64, 96), (4, 6)),
    "timm vit": ("timm", {"model": "vit_tiny_patch16_224"}, (32, 48), (2, 3)),
    "timm swin": ("timm", {"model": "swin_tiny_patch4_window7_224"}, (64, 96), (4, 6)),
    "res_unet 2d": ("res_unet", {"ndim": 2, "channels": [4, 8]}, (12, 20), (3, 5)),
    "res_unet 3d": ("res_unet", {"channels": [4, 6, 8], "blocks": 2}, (16, 24, 8), (4, 3, 2)),
    "res_unet uneven": ("res_unet", UNEVEN, (8, 12, 6), (2, 3, 3)),
    "swin_unetr 2d": ("swin_unetr", {"ndim": 2, **SWIN}, (64, 96), (4, 6)),
    "swin_unetr 3d": ("swin_unetr", SWIN, (32, 64, 32), (2, 4, 2)),
    "swin_unetr v2": ("swin_unetr", {"ndim": 2, "v2": True, **SWIN}, (64, 32), (2, 1)),
    "vit 2d": ("vit", {"ndim": 2, "patch": [8, 4], "width": 24, "depth": 2}, (24, 20), (3, 5)),
    "vit 3d": (
        "vit",
        {"patch": 4, "width": 24, "depth": 3, "drop_path": 0.3},
        (8, 12, 16),
        (2, 3, 2),
    ),
    "vit learned": ("vit", {**LEARNED, "grid": [2, 3, 2]}, (8, 12, 16), (2, 3, 2)),
    "resenc 2d": ("resenc", {"ndim": 2, "channels": [4, 8], "blocks": [1, 2]}, (12, 20), (3, 5)),
    "resenc 3d": ("resenc", RESENC, (8, 12, 8), (1, 3, 2)),
    "segresnet": ("segresnet", {"width": 4, "blocks": [1, 2, 1]}, (8, 16, 12), (2, 4, 3)),
    "segresnet batch": ("segresnet", BATCH, (8, 16), (2, 4)),
    "resnet 10": ("resnet", {"depth": 10, "width": 4, "stem_kernel": 3}, (32, 64, 32), (1, 2, 2)),
    "resnet 18": (
        "resnet",
        {"depth": 18, "width": 4, "ndim": 2, "shortcut": "B"},
        (64, 32),
        (2, 1),
    ),
    "genesis": ("genesis", {"width": 2, "levels": 3}, (8, 12, 16), (2, 3, 2)),
}


def made(case: str, in_channels: int = 1, seed: int = 0):
    name, options, size, grid = CASES[case]
    torch.manual_seed(seed)
    return build(name, in_channels=in_channels, **options).eval(), size, grid


def half_hidden(grid: tuple[int, ...], n: int = 2) -> torch.Tensor:
    """Every sample shows half of the grid's cells, each sample others."""
    cells = math.prod(grid)
    generator = torch.Generator().manual_seed(1)
    ranks = torch.stack([torch.randperm(cells, generator=generator) for _ in range(n)])
    return (ranks < cells // 2).view(n, 1, *grid)


def spread(mask: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """The mask at the image's resolution, by indexing."""
    places = [torch.arange(s) * g // s for s, g in zip(size, mask.shape[2:], strict=True)]
    return mask[(slice(None), slice(None), *torch.meshgrid(*places, indexing="ij"))]


def test_every_name_of_the_table_is_covered():
    assert {name for name, *_ in CASES.values()} == set(BACKBONES)


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_levels_have_the_declared_channels_and_strides(case, in_channels):
    backbone, size, _ = made(case, in_channels)
    assert backbone.in_channels == in_channels and backbone.ndim == len(size)
    assert len(backbone.channels) == len(backbone.strides)
    assert list(backbone.strides) == sorted(backbone.strides)
    assert all(s % d == 0 for s, d in zip(size, backbone.divisor, strict=True))
    with torch.no_grad():
        levels = backbone(torch.randn(2, in_channels, *size))
    shapes = [
        (2, c, *[math.ceil(n / s) for n, s in zip(size, strides, strict=True)])
        for c, strides in zip(backbone.channels, backbone.strides, strict=True)
    ]
    assert [tuple(level.shape) for level in levels] == shapes


@pytest.mark.parametrize("case", CASES)
def test_hidden_voxels_change_nothing(case):
    backbone, size, grid = made(case)
    visible = half_hidden(grid)
    image, seen = torch.randn(2, 1, *size), spread(visible, size)
    with torch.no_grad():
        expected = backbone(image, visible)
        for other in (torch.randn_like(image), torch.full_like(image, float("nan"))):
            levels = backbone(torch.where(seen, image, other), visible)
            assert all(torch.equal(a, b) for a, b in zip(levels, expected, strict=True))
        changed = backbone(torch.where(seen, image + 1, image), visible)
    assert any(not torch.allclose(a, b) for a, b in zip(changed, expected, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_gradients_reach_every_parameter_and_no_hidden_voxel(case):
    backbone, size, grid = made(case)
    with torch.no_grad():  # some layers start at 0 and would hold back what is before them
        for parameter in backbone.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    visible = half_hidden(grid)
    image = torch.randn(2, 1, *size, requires_grad=True)
    sum((level * torch.randn_like(level)).sum() for level in backbone(image, visible)).backward()
    without = [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without
    assert not image.grad[~spread(visible, size)].any() and image.grad.any()


@pytest.mark.parametrize("case", CASES)
def test_weights_through_safetensors_give_the_same_features(case):
    backbone, size, _ = made(case)
    other, _, _ = made(case, seed=1)
    image = torch.randn(1, 1, *size)
    state = {k: v.contiguous() for k, v in backbone.state_dict().items()}
    with torch.no_grad():
        expected = backbone(image)
        assert not torch.equal(other(image)[-1], expected[-1])
        other.load_state_dict(load(save(state)))
        assert all(torch.equal(a, b) for a, b in zip(other(image), expected, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_layers_cover_all_parameters_and_rise_with_depth(case):
    backbone, size, _ = made(case)
    order = []  # modules in the order in which the forward pass finishes them
    for name, module in backbone.named_modules():
        if list(module.parameters(recurse=False)):
            module.register_forward_hook(lambda *_, name=name: order.append(name))
    with torch.no_grad():
        backbone(torch.randn(1, 1, *size))
    layers = {name: backbone.layer_of(name) for name, _ in backbone.named_parameters()}
    assert set(layers.values()) == set(range(backbone.n_layers))
    depth = {}
    for name, layer in layers.items():
        depth.setdefault(name.rpartition(".")[0], layer)
    visited = [depth[name] for name in order]
    assert visited[0] == 0 and visited == sorted(visited)


@pytest.mark.parametrize("case", CASES)
def test_a_size_that_does_not_fit_is_refused(case):
    backbone, size, _ = made(case)
    if max(backbone.divisor) > 1:
        with pytest.raises(ValueError, match="multiple"):
            backbone(torch.zeros(1, 1, size[0] + 1, *size[1:]))


@pytest.mark.parametrize("name", BACKBONES)
def test_every_option_says_what_it_means_and_has_a_default(name):
    fields = options_model(resolve(name, BACKBONES, "backbone")).model_fields
    assert fields
    for option, field in fields.items():
        assert not field.is_required() and len(field.description) > 3, option


BATCH_NORM = {
    "timm resnet", "timm resnet, levels", "segresnet batch", "resnet 10", "resnet 18", "genesis"
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_activations_made_again_give_the_same_gradients(case):
    """Random branches too; networks whose norms would count a sample twice say so."""
    found = []
    for anew in (False, True):
        backbone, size, grid = made(case)
        backbone.train()
        if anew and case in BATCH_NORM:
            with pytest.raises(UserError, match="batch norms"):
                recompute(backbone)
            return
        if anew:
            recompute(backbone)
        calls = []
        for module in backbone.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv3d)):
                module.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        image = torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(3))
        torch.manual_seed(4)
        levels = backbone(image)
        sum(level.square().mean() for level in levels).backward()
        torch.manual_seed(5)
        levels = backbone(image, half_hidden(grid))
        sum(level.square().mean() for level in levels).backward()
        found.append((len(calls), {n: p.grad for n, p in backbone.named_parameters()}))
    (once, plain), (twice, anew) = found
    assert twice > 1.3 * once
    for name, gradient in plain.items():
        if gradient is None:
            assert anew[name] is None
        else:
            torch.testing.assert_close(
                anew[name], gradient, rtol=1e-6, atol=1e-6 * gradient.abs().max()
            )


@pytest.mark.parametrize("case", CASES)
def test_units_are_entered_through_forward_alone(case):
    """Each has its weights only while its `forward` runs; sparse or not, levels are those of always."""
    backbone, size, grid = made(case)
    if not hasattr(backbone, "units"):
        return  # fit.shard puts all of it together at once
    image = torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(3))
    visible = half_hidden(grid)
    with torch.no_grad():
        expected = [backbone(image), backbone(image, visible)]
        for unit in backbone.units():
            kept = [p.data for p in unit.parameters()]

            def give(unit, _given, kept=kept):
                for p, data in zip(unit.parameters(), kept, strict=True):
                    p.data = data

            def take(unit, *_given):
                for p in unit.parameters():
                    p.data = torch.full_like(p, torch.nan)

            take(unit)
            unit.register_forward_pre_hook(give)
            unit.register_forward_hook(take)
        found = [backbone(image), backbone(image, visible)]
    assert all(p.isnan().all() for unit in backbone.units() for p in unit.parameters())
    for a, b in zip(expected, found, strict=True):
        for x, y in zip(a, b, strict=True):
            assert torch.equal(x, y)
