"""nnU-Net's residual encoder, its weights named as `dynamic_network_architectures` names them.

Isensee et al., "nnU-Net Revisited", MICCAI 2024; the network of nnssl's published weights (Wald et al.,
"Revisiting MAE pre-training for 3D medical image segmentation", CVPR 2025) and of their ResEnc-L.
"""

from itertools import accumulate
from typing import Annotated

from torch import Tensor, nn

from medssl.backbones.base import again, check_size, checked_ndim, hide, per_axis
from medssl.backbones.cells import Cells, cells_of
from medssl.backbones.decoder import CONV, NORM
from medssl.backbones.sparse import run
from medssl.config import Count
from medssl.errors import UserError

POOL = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


class ResidualEncoder(nn.Module):
    """A convolution at full resolution, then residual stages; instance norm, leaky ReLU.

    With its defaults the ResEnc-L of nnU-Net: 102 million weights in the whole U-Net.
    """

    sparse, recompute = True, False

    def __init__(
        self, in_channels: int, *,
        channels: Annotated[list[Count], "of every stage"] = (32, 64, 128, 256, 320, 320),
        blocks: Annotated[list[Count], "residual blocks of every stage"] = (1, 3, 4, 6, 6, 6),
        strides: Annotated[list[list[Count]] | None, "of every stage; none: 1, then 2"] = None,
        kernels: Annotated[list[list[Count]] | None, "of every stage, odd; none: 3"] = None,
        ndim: Annotated[int, "2 for films and slices, 3 for volumes"] = 3,
    ):  # fmt: skip
        super().__init__()
        self.ndim, self.in_channels, self.channels = (
            checked_ndim(ndim),
            in_channels,
            tuple(channels),
        )
        n = len(channels)
        strides = [[1], *[[2]] * (n - 1)] if strides is None else strides
        kernels = [[3]] * n if kernels is None else kernels
        if not n or len({n, len(blocks), len(strides), len(kernels)}) > 1:
            raise UserError(
                "CONFIG", "backbone.channels",
                f"found {n} channels, {len(blocks)} blocks, {len(strides)} strides, {len(kernels)} kernels",
                "give one of each for every stage",
            )  # fmt: skip
        self.steps = [per_axis(step, ndim, "backbone.strides") for step in strides]
        self.kernels = [per_axis(kernel, ndim, "backbone.kernels") for kernel in kernels]
        odd = all(k % 2 for kernel in self.kernels for k in kernel)
        if not odd or max(map(max, self.steps)) > 2:
            raise UserError(
                "CONFIG", "backbone.strides, backbone.kernels",
                f"found strides {self.steps} and kernels {self.kernels}",
                "strides are 1 or 2, kernels are odd",
            )  # fmt: skip
        self.strides = tuple(
            accumulate(self.steps, lambda a, b: tuple(x * y for x, y in zip(a, b, strict=True)))
        )
        self.divisor, self.blocks = self.strides[-1], tuple(blocks)
        self.n_layers = 1 + sum(blocks)
        once = (1,) * ndim
        self.stem = nn.Module()
        first = ConvNorm(ndim, in_channels, channels[0], self.kernels[0], once)
        self.stem.convs = nn.ModuleList([first])
        self.stages = nn.ModuleList()
        inputs = [channels[0], *channels]
        for i, (out, count, kernel) in enumerate(zip(channels, blocks, self.kernels, strict=True)):
            stage = nn.Module()
            stage.blocks = nn.ModuleList(
                Block(ndim, out if b else inputs[i], out, kernel, once if b else self.steps[i])
                for b in range(count)
            )
            self.stages.append(stage)

    def forward(self, image: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        """Maps (B, channels[i], *size / strides[i]) of an image (B, C, *size).

        Only visible cells are computed, and the rest is exactly 0, if cells are multiples of
        `divisor`; otherwise hidden voxels are seen as 0.
        """
        check_size(image, self.divisor)
        if tuple(image.shape[2:]) == self.divisor:
            raise ValueError(f"an image of {list(self.divisor)} leaves one voxel; double its size")
        cells = cells_of(image, visible, self.divisor)
        x, levels = cells.take(image) if cells else hide(image, visible), []
        x = again(self.recompute, self.stem.convs[0], x, cells)
        for stage in self.stages:
            for block in stage.blocks:
                x = again(self.recompute, block, x, cells)
            levels.append(cells.put(x) if cells else x)
        return levels

    def recompute_activations(self) -> None:
        self.recompute = True

    def units(self) -> list[nn.Module]:
        return [block for stage in self.stages for block in stage.blocks]

    def layer_of(self, parameter: str) -> int:
        """0 the stem, then every block."""
        part, *rest = parameter.split(".")
        if part == "stem":
            return 0
        return 1 + sum(self.blocks[: int(rest[0])]) + int(rest[2])


class ConvNorm(nn.Module):
    """Convolution, instance norm and, unless it is told not to, a leaky ReLU."""

    def __init__(self, ndim, inputs, outputs, kernel, stride, bias=True, active=True):
        super().__init__()
        padding = tuple(k // 2 for k in kernel)
        self.conv = CONV[ndim](inputs, outputs, kernel, stride, padding, bias=bias)
        self.norm = NORM[ndim](outputs, affine=True)
        self.nonlin = nn.LeakyReLU(0.01, inplace=True) if active else nn.Identity()

    def forward(self, x: Tensor, cells: Cells | None = None) -> Tensor:
        for layer in (self.conv, self.norm, self.nonlin):
            x = run(layer, x, cells) if cells else layer(x)
        return x


class Block(nn.Module):
    """Two convolutions beside a way around them that pools, then projects."""

    def __init__(self, ndim, inputs, outputs, kernel, stride):
        super().__init__()
        self.conv1 = ConvNorm(ndim, inputs, outputs, kernel, stride)
        self.conv2 = ConvNorm(ndim, outputs, outputs, kernel, (1,) * ndim, active=False)
        self.nonlin2 = nn.LeakyReLU(0.01, inplace=True)
        ways = [POOL[ndim](stride, stride)] if max(stride) > 1 else []
        if inputs != outputs:
            one = (1,) * ndim
            ways.append(ConvNorm(ndim, inputs, outputs, one, one, bias=False, active=False))
        self.skip = nn.Sequential(*ways)

    def forward(self, x: Tensor, cells: Cells | None = None) -> Tensor:
        beside = x
        for way in self.skip:
            if isinstance(way, ConvNorm):
                beside = way(beside, cells)
            else:
                beside = run(way, beside, cells) if cells else way(beside)
        return self.nonlin2(self.conv2(self.conv1(x, cells), cells) + beside)
