"""From a backbone's levels back to the image's resolution."""

import math
from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, adaptive_avg_pool3d, interpolate

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
NORM = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
POOL = {2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}


class UNetDecoder(nn.Module):
    """Upsample, join with the next finer level, convolve; down to stride 1.

    Built from the channels and strides that a backbone declares. Where the backbone has no level
    (finer than its first stride), the image itself, averaged to that resolution, is joined instead.
    Upsampling is by nearest neighbour with a convolution: a transposed one is ten times slower on CPU.
    """

    def __init__(self, backbone: nn.Module, classes: int, width: int = 8, deep: int = 0):
        """`deep`: of how many blocks before the last one classes are also told, while training."""
        super().__init__()
        ndim = backbone.ndim
        self.steps = steps(backbone)
        channels = backbone.channels[-1]
        blocks, widths = [], []
        for level, stride in self.steps:
            joined = backbone.channels[level] if level is not None else backbone.in_channels
            out = joined if level is not None else _narrow(channels, width, max(stride))
            blocks.append(_block(ndim, channels + joined, out))
            channels = out
            widths.append(out)
        # The head sees signed features: of a few that are never negative, a class whose first
        # weights happen to be negative makes a score that cannot rise, and it is not learnt.
        del blocks[-1][-1]
        self.blocks = nn.ModuleList(blocks)
        self.head = CONV[ndim](channels, classes, 1)
        coarser = widths[:-1][::-1][:deep]
        self.coarser = nn.ModuleList(CONV[ndim](c, classes, 1) for c in coarser)

    def forward(self, features: list[Tensor], image: Tensor) -> Tensor:
        """Class logits (B, classes, *space) from the levels of a backbone and its image."""
        return self.head(self.partial(features, image, len(self.blocks)))

    def deeply(self, features: list[Tensor], image: Tensor) -> list[Tensor]:
        """The same, and class logits of the `deep` maps before it, each coarser than the one before."""
        *maps, last = self.maps(features, image, len(self.blocks))
        pairs = zip(self.coarser, reversed(maps), strict=False)
        return [self.head(last), *(head(x) for head, x in pairs)]

    def partial(self, features: list[Tensor], image: Tensor, blocks: int) -> Tensor:
        """The map after the first `blocks` blocks, from coarse to fine."""
        last = deque(self.maps(features, image, blocks), maxlen=1)  # one map at a time is kept
        return last[0] if last else features[-1]

    def maps(self, features: list[Tensor], image: Tensor, blocks: int) -> Iterator[Tensor]:
        """The map after each of the first `blocks` blocks, from coarse to fine."""
        x = features[-1]
        for (level, stride), block in zip(self.steps[:blocks], self.blocks, strict=False):
            if level is not None:
                side = features[level]
            elif max(stride) > 1:
                size = [math.ceil(n / s) for n, s in zip(image.shape[2:], stride, strict=True)]
                side = POOL[len(size)](image, size)
            else:
                side = image
            if x.shape[2:] != side.shape[2:]:
                x = interpolate(x, side.shape[2:], mode="nearest")
            x = block(torch.cat([x, side], 1))
            yield x


def steps(backbone: nn.Module) -> list[tuple[int | None, tuple[int, ...]]]:
    """(level or None, stride) of every join from coarse to fine, the last at stride 1."""
    found: list[tuple[int | None, tuple[int, ...]]] = []
    strides = [tuple(s) for s in backbone.strides]
    current = strides[-1]
    for level in range(len(strides) - 2, -1, -1):
        # A jump of more than two (a ViT's single level, say) is bridged in halves.
        while any(c > 2 * s for c, s in zip(current, strides[level], strict=True)):
            current = tuple(max(c // 2, s) for c, s in zip(current, strides[level], strict=True))
            found.append((None, current))
        current = strides[level]
        found.append((level, current))
    while max(current) > 1:
        current = tuple(max(c // 2, 1) for c in current)
        found.append((None, current))
    return found


def _narrow(channels: int, width: int, stride: int) -> int:
    """Half the channels at every halving, `width` at full resolution where it is dearest."""
    return width if stride == 1 else max(channels // 2, width)


def _block(ndim: int, inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        CONV[ndim](inputs, outputs, 3, padding=1, bias=False),
        NORM[ndim](outputs, affine=True),
        nn.LeakyReLU(0.01, inplace=True),
        CONV[ndim](outputs, outputs, 3, padding=1, bias=False),
        NORM[ndim](outputs, affine=True),
        nn.LeakyReLU(0.01, inplace=True),
    )
