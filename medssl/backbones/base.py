"""What a backbone is, the table of those that ship, and what all of them share."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medssl.config import Part
from medssl.errors import UserError

BACKBONES = {
    "timm": "medssl.backbones.timm2d:TimmBackbone",
    "res_unet": "medssl.backbones.monai3d:ResUNetEncoder",
    "swin_unetr": "medssl.backbones.monai3d:SwinEncoder",
    "vit": "medssl.backbones.vit:ViT",
    "resenc": "medssl.backbones.resenc:ResidualEncoder",
    "segresnet": "medssl.backbones.published3d:SegResNet",
    "resnet": "medssl.backbones.published3d:ResNet3D",
    "genesis": "medssl.backbones.published3d:GenesisEncoder",
}

# Options that say where first weights come from, not what the network is.
START_ONLY = ("pretrained_weights",)
# Options that change how a network is trained, and none of its weights.
TRAINING_ONLY = ("drop_path", "recompute")


class Backbone(Protocol):
    """An `nn.Module` built as `Backbone(in_channels, *, options...)`.

    channels  of every level, fine to coarse
    strides   of every level, one value for each spatial axis
    divisor   input sizes must be multiples of it, axis by axis
    n_layers  number of layers, for layer-wise learning rates; the head comes after the last
    sparse    True, where there is one: with `visible`, hidden places are exactly 0 at every level
              and in no norm

    One that can has a `recompute_activations()`: from then on its blocks keep what they are given and make
    the rest again in the backward pass (`again`). One whose blocks are entered through their `forward`
    alone names them in `units()`: with fit.shard each has its whole weights only while it computes. What
    they give must not be written into.
    """

    in_channels: int
    ndim: int
    channels: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    divisor: tuple[int, ...]
    n_layers: int

    def forward(self, image: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        """Level i has shape (B, channels[i], *ceil(size / strides[i])) for image (B, C, *size).

        visible bool (B, 1, *grid), True = may be looked at; grid divides the image evenly. Nothing
        that is returned depends on hidden voxels, be they NaN.
        """

    def layer_of(self, parameter: str) -> int:
        """0 for the stem, rising with depth to n_layers - 1."""


def build(name: str, *, in_channels: int, **options) -> nn.Module:
    """The backbone called `name` in the table, or `module:Class`. Raises UserError."""
    return Part(name=name, **options).build(BACKBONES, "backbone", in_channels=in_channels)


def architecture(options: dict) -> dict:
    """Options without those that only say where first weights come from: what a card keeps."""
    return {key: value for key, value in options.items() if key not in START_ONLY}


def again(wanted: bool, block: Callable[..., Tensor], *inputs) -> Tensor:
    """What a block gives; if that is wanted, with activations that are made again when gradients are."""
    if wanted and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False)
    return block(*inputs)


def pool(features: list[Tensor]) -> Tensor:
    """Global averages of every level side by side: (B, sum of channels)."""
    return torch.cat([level.flatten(2).mean(-1) for level in features], 1)


def expand_visible(visible: Tensor, size: Sequence[int]) -> Tensor:
    """Bool (B, 1, *grid) to (B, 1, *size). Raises ValueError where grid does not divide size."""
    grid = visible.shape[2:]
    if len(grid) != len(size) or any(s % g for s, g in zip(size, grid, strict=True)):
        raise ValueError(f"a grid of {list(grid)} does not divide {list(size)} evenly")
    for axis, (s, g) in enumerate(zip(size, grid, strict=True), start=2):
        visible = visible.repeat_interleave(s // g, axis)
    return visible


def hide(image: Tensor, visible: Tensor | None) -> Tensor:
    """The image with 0 where it is hidden; chosen, not multiplied, so that NaN does not pass."""
    if visible is None:
        return image
    return torch.where(expand_visible(visible, image.shape[2:]), image, 0.0)


def per_axis(value: int | Sequence[int], ndim: int, what: str) -> tuple[int, ...]:
    """One positive whole number for each axis, from one for all or a list. Raises UserError."""
    values = [value] if isinstance(value, int) else list(value)
    values = values * ndim if len(values) == 1 else values
    if len(values) != ndim or min(values) < 1:
        raise UserError(
            "CONFIG", what, f"found {value}, expected {ndim} numbers above 0, or one for all axes",
            f"e.g. {','.join(['2'] * ndim)}",
        )  # fmt: skip
    return tuple(values)


def checked_ndim(ndim: int) -> int:
    if ndim not in (2, 3):
        raise UserError(
            "CONFIG", "backbone.ndim", f"found {ndim}", "use 2 for films, 3 for volumes"
        )
    return ndim


def check_size(image: Tensor, divisor: Sequence[int]) -> None:
    """Raises ValueError unless every axis of the image is a multiple of the divisor."""
    size = list(image.shape[2:])
    if len(size) != len(divisor) or any(s % d for s, d in zip(size, divisor, strict=True)):
        raise ValueError(f"an image of {size} is not a multiple of {list(divisor)}")
