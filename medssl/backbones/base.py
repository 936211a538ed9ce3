"""What a backbone is, and the table of those that ship."""

import difflib
import importlib
from typing import Protocol

import torch
from torch import Tensor, nn

from medssl.errors import UserError

BACKBONES = {
    "timm": "medssl.backbones.timm2d:TimmBackbone",
    "res_unet": "medssl.backbones.monai3d:ResUNetEncoder",
    "swin_unetr": "medssl.backbones.monai3d:SwinEncoder",
    "vit": "medssl.backbones.vit:ViT",
}


class Backbone(Protocol):
    """An `nn.Module` that declares what it gives back, level by level, fine to coarse.

    channels  of every level
    strides   of every level, one value a spatial axis
    divisor   image sizes must be multiples of it
    n_layers  depth for layer-wise learning rates; layer_of(name) is 0 at the stem, n_layers - 1 at
              the end
    """

    ndim: int
    in_channels: int
    channels: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    divisor: tuple[int, ...]
    n_layers: int

    def __call__(self, image: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        """Level i of an image (B, C, *space) is (B, channels[i], *ceil(space / strides[i])).

        visible, bool (B, 1, *grid), True where the network may look; the grid divides the image.
        What comes out never depends on hidden pixels: a ViT drops hidden tokens (and is 0 there), a
        convnet sees 0 in their place.
        """

    def layer_of(self, name: str) -> int:
        """Layer of a parameter by its name."""


def build(name: str, *, in_channels: int, **options) -> nn.Module:
    """A backbone by its name in the table or as `module:Class`. Raises UserError if unknown."""
    target = BACKBONES.get(name, name)
    if ":" not in target:
        near = difflib.get_close_matches(name, BACKBONES, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise UserError(
            "CONFIG", f"backbone={name}", f"unknown backbone{hint}",
            f"choose one of {', '.join(BACKBONES)}, or give module:Class",
        )  # fmt: skip
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)(in_channels, **options)


def pool(features: list[Tensor]) -> Tensor:
    """Global averages of every level side by side: (B, sum of channels)."""
    return torch.cat([level.flatten(2).mean(2) for level in features], dim=1)


def expand_visible(visible: Tensor, size: tuple[int, ...]) -> Tensor:
    """A mask over a grid (B, 1, *grid) repeated to the size of the image."""
    for axis, (cells, n) in enumerate(zip(visible.shape[2:], size, strict=True)):
        if n % cells:
            raise ValueError(f"a grid of {cells} cells does not divide {n} voxels")
        visible = visible.repeat_interleave(n // cells, axis + 2)
    return visible


def hide(image: Tensor, visible: Tensor | None) -> Tensor:
    """The image with 0 in hidden places, whatever was there (NaN included)."""
    if visible is None:
        return image
    return torch.where(expand_visible(visible, image.shape[2:]), image, 0.0)
