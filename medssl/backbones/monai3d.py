"""Encoders built from MONAI's blocks: a residual U-Net's, and SwinUNETR's."""

from itertools import accumulate
from typing import Annotated

from monai.networks.blocks.dynunet_block import UnetResBlock
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import Tensor, nn

from medssl.backbones.base import again, check_size, checked_ndim, hide, per_axis
from medssl.backbones.cells import Cells, cells_of
from medssl.backbones.sparse import run
from medssl.config import Count, Fraction
from medssl.errors import UserError


class ResUNetEncoder(nn.Module):
    """Residual stages, each after the first halving the resolution; instance norm, leaky ReLU.

    The first stage's strided block is the stem: it works at that stage's resolution from its first
    layer on, which is what makes the network cheap on volumes.
    """

    sparse, recompute = True, False

    def __init__(
        self, in_channels: int, *,
        channels: Annotated[list[Count], "of every level, fine to coarse"] = (24, 48, 96),
        stem_stride: Annotated[Count, "stride of the first level; 1 keeps full resolution"] = 2,
        strides: Annotated[list[list[Count]] | None, "step of every level, one value an axis"] = None,
        blocks: Annotated[Count, "residual blocks of a level"] = 1,
        ndim: Annotated[int, "2 for films and slices, 3 for volumes"] = 3,
    ):  # fmt: skip
        super().__init__()
        self.ndim, self.in_channels = checked_ndim(ndim), in_channels
        self.channels = tuple(channels)
        steps = [[stem_stride], *[[2]] * (len(channels) - 1)] if strides is None else strides
        if not channels or blocks < 1 or len(steps) != len(channels):
            raise UserError(
                "CONFIG", "backbone.strides" if strides else "backbone.channels",
                f"found {len(channels)} channels, {len(steps)} strides, {blocks} blocks a level",
                "give one stride a channel count, and at least one of each",
            )  # fmt: skip
        steps = [per_axis(step, ndim, "backbone.strides") for step in steps]
        if max(map(max, steps)) > 2:
            raise UserError(
                "CONFIG", "backbone.strides", f"found {[list(s) for s in steps]}, expected 1 or 2",
                "reach coarser levels in more stages",
            )  # fmt: skip
        self.strides = tuple(accumulate(steps, _multiplied))
        self.divisor, self.n_layers = self.strides[-1], len(channels) * blocks
        self.stages = nn.ModuleList()
        for inputs, out, step in zip([in_channels, *channels], self.channels, steps, strict=False):
            rest = [_block(ndim, out, out, (1,) * ndim) for _ in range(blocks - 1)]
            self.stages.append(nn.Sequential(_block(ndim, inputs, out, step), *rest))

    def forward(self, image: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        """Maps (B, channels[i], *size / strides[i]) of an image (B, C, *size).

        Only visible cells are computed, and the rest is exactly 0, if cells are multiples of
        `divisor`; otherwise hidden voxels are seen as 0. Raises ValueError if one voxel would be
        left at the end: it cannot be normalised.
        """
        check_size(image, self.divisor)
        if tuple(image.shape[2:]) == self.divisor:
            raise ValueError(f"an image of {list(self.divisor)} leaves one voxel; double its size")
        cells = cells_of(image, visible, self.divisor)
        x, levels = cells.take(image) if cells else hide(image, visible), []
        for stage in self.stages:
            for block in stage:
                x = again(self.recompute, block, x, cells)
            levels.append(cells.put(x) if cells else x)
        return levels

    def recompute_activations(self) -> None:
        self.recompute = True

    def units(self) -> list[nn.Module]:
        return [block for stage in self.stages for block in stage]

    def layer_of(self, parameter: str) -> int:
        """One layer a residual block."""
        _, stage, block, *_ = parameter.split(".")
        return int(stage) * len(self.stages[0]) + int(block)


class SwinEncoder(nn.Module):
    """SwinUNETR's encoder, its weights named as MONAI names them (`swinViT.*`).

    Hatamizadeh et al., "Swin UNETR", 2022; with `v2`, a residual convolution before every stage
    (He et al., "SwinUNETR-V2", MICCAI 2023), as the published VoCo weights have it.
    """

    def __init__(
        self, in_channels: int, *,
        feature_size: Annotated[Count, "channels of the first level, a multiple of 12"] = 24,
        depths: Annotated[list[Count], "blocks of every stage"] = (2, 2, 2, 2),
        heads: Annotated[list[Count], "attention heads of every stage"] = (3, 6, 12, 24),
        window: Annotated[list[Count] | Count, "tokens of a window along each axis, or along all"] = 7,
        v2: Annotated[bool, "a residual convolution before every stage"] = False,
        drop_path: Annotated[Fraction, "share of branches left out, in the last block, 0..1"] = 0.0,
        recompute: Annotated[bool, "less memory: activations are made twice"] = False,
        ndim: Annotated[int, "2 for films and slices, 3 for volumes"] = 3,
    ):  # fmt: skip
        super().__init__()
        self.ndim, self.in_channels = checked_ndim(ndim), in_channels
        widths = [feature_size * 2**i for i in range(4)]
        divide = all(w % h == 0 for w, h in zip(widths, heads, strict=False))
        if len(depths) != 4 or len(heads) != 4 or not divide:
            raise UserError(
                "CONFIG", "backbone.heads", f"found depths {list(depths)} and heads {list(heads)}",
                f"give four of each, heads that divide {widths}",
            )  # fmt: skip
        if feature_size < 12 or feature_size % 12:
            raise UserError(
                "CONFIG", "backbone.feature_size", f"{feature_size} is no multiple of 12",
                f"use {max(12, round(feature_size / 12) * 12)}",
            )  # fmt: skip
        self.channels = (*widths, 2 * widths[-1])
        self.strides = tuple((2**i,) * ndim for i in range(1, 6))
        self.divisor, self.n_layers, self.depths = self.strides[-1], 1 + sum(depths), tuple(depths)
        self.swinViT = SwinTransformer(
            in_chans=in_channels, embed_dim=feature_size, patch_size=(2,) * ndim, spatial_dims=ndim,
            window_size=per_axis(window, ndim, "backbone.window"), depths=self.depths,
            num_heads=tuple(heads), drop_path_rate=drop_path, use_checkpoint=recompute, use_v2=v2,
        )  # fmt: skip

    def forward(self, image: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        """Five maps (B, channels[i], *size / 2^(i + 1)) of an image (B, C, *size)."""
        check_size(image, self.divisor)
        return self.swinViT(hide(image, visible), normalize=True)

    def recompute_activations(self) -> None:
        for module in self.swinViT.modules():
            if hasattr(module, "use_checkpoint"):
                module.use_checkpoint = True

    def units(self) -> list[nn.Module]:
        net = self.swinViT
        stages = (net.layers1, net.layers2, net.layers3, net.layers4)
        return [block for stage in stages for block in stage[0].blocks]

    def layer_of(self, parameter: str) -> int:
        """0 the patch embedding, then every block; what opens or closes a stage goes with it."""
        _, part, *rest = parameter.split(".")
        if part == "patch_embed":
            return 0
        stage = int(part.removeprefix("layers").removesuffix("c"))  # layers1 to 4, layers1c to 4c
        first, last = 1 + sum(self.depths[: stage - 1]), sum(self.depths[:stage])
        if part.endswith("c"):
            return first
        return first + int(rest[2]) if rest[1] == "blocks" else last


def _block(ndim: int, inputs: int, outputs: int, step: tuple[int, ...]) -> nn.Module:
    return _ResBlock(ndim, inputs, outputs, 3, step, ("instance", {"affine": True}))


class _ResBlock(UnetResBlock):
    def forward(self, x: Tensor, cells: Cells | None = None) -> Tensor:
        """MONAI's; with `cells` the same layers, in the same order, on a stack of visible cells."""
        if cells is None:
            return super().forward(x)
        y = x
        for layer in (self.conv1, self.norm1, self.lrelu, self.conv2, self.norm2):
            y = run(layer, y, cells)
        if self.downsample:
            x = run(self.norm3, run(self.conv3, x, cells), cells)
        return self.lrelu(y + x)


def _multiplied(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(x * y for x, y in zip(a, b, strict=True))
