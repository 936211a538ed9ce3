"""Encoders built from MONAI's blocks: a residual U-Net's, and SwinUNETR's."""

import math
from typing import Annotated

from monai.networks.blocks.dynunet_block import UnetResBlock
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import Tensor, nn

from medssl.backbones.base import hide


class ResUNetEncoder(nn.Module):
    """Residual stages, each after the first halving the resolution; instance norm, leaky ReLU."""

    def __init__(
        self, in_channels: int, *,
        channels: Annotated[list[int], "of every level"] = (24, 48, 96),
        stem_stride: Annotated[int, "stride of the first level"] = 2,
        strides: Annotated[list[list[int]] | None, "step of every level, one value an axis"] = None,
        blocks: Annotated[int, "residual blocks of a level"] = 1,
        ndim: Annotated[int, "2 for films and slices, 3 for volumes"] = 3,
    ):  # fmt: skip
        super().__init__()
        self.ndim, self.in_channels, self.channels = ndim, in_channels, tuple(channels)
        steps = strides or [[stem_stride] * ndim] + [[2] * ndim] * (len(self.channels) - 1)
        self.strides = tuple(
            tuple(math.prod(s[axis] for s in steps[: i + 1]) for axis in range(ndim))
            for i in range(len(steps))
        )
        self.divisor, self.n_layers = self.strides[-1], len(self.channels)
        stages, inputs = [], in_channels
        for out, step in zip(self.channels, steps, strict=True):
            made = [
                _block(ndim, inputs if i == 0 else out, out, step if i == 0 else 1)
                for i in range(blocks)
            ]
            stages.append(nn.Sequential(*made))
            inputs = out
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        x, levels = hide(image, visible), []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels

    def layer_of(self, name: str) -> int:
        return int(name.split(".")[1])


class SwinEncoder(nn.Module):
    """SwinUNETR's encoder, its weights named as MONAI names them (`swinViT.*`)."""

    def __init__(
        self, in_channels: int, *,
        feature_size: Annotated[int, "channels of the first level, a multiple of 12"] = 24,
        depths: Annotated[list[int], "blocks of every stage"] = (2, 2, 2, 2),
        heads: Annotated[list[int], "attention heads of every stage"] = (3, 6, 12, 24),
        window: Annotated[int, "voxels along a side of an attention window"] = 7,
        ndim: Annotated[int, "2 for films and slices, 3 for volumes"] = 3,
    ):  # fmt: skip
        super().__init__()
        self.ndim, self.in_channels = ndim, in_channels
        levels = len(depths) + 1
        self.channels = tuple(feature_size * 2**i for i in range(levels))
        self.strides = tuple((2 ** (i + 1),) * ndim for i in range(levels))
        self.divisor, self.n_layers = self.strides[-1], levels
        self.swinViT = SwinTransformer(
            in_chans=in_channels, embed_dim=feature_size, window_size=(window,) * ndim,
            patch_size=(2,) * ndim, depths=tuple(depths), num_heads=tuple(heads), spatial_dims=ndim,
        )  # fmt: skip

    def forward(self, image: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        return self.swinViT(hide(image, visible), normalize=True)

    def layer_of(self, name: str) -> int:
        part = name.split(".")[1]
        return (
            int(part.removeprefix("layers").removesuffix("c")) if part.startswith("layers") else 0
        )


def _block(ndim: int, inputs: int, outputs: int, step) -> nn.Module:
    return UnetResBlock(ndim, inputs, outputs, 3, step, ("instance", {"affine": True}))
