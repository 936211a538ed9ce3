"""A feature pyramid on the levels of any backbone (Lin et al., "Feature Pyramid Networks for Object
Detection", CVPR 2017)."""

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate


class Pyramid(nn.Module):
    """Maps of one width at every stride from `finest` on: what is coarser tells what is finer.

    Where the backbone has no level so fine (a ViT has a single one), its finest is enlarged.
    """

    def __init__(self, backbone: nn.Module, width: int, finest: int):
        from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork

        super().__init__()
        self.levels = levels(backbone.strides, finest)
        self.strides = [stride for _, stride in self.levels]
        self.own = [tuple(backbone.strides[level]) == stride for level, stride in self.levels]
        channels = [backbone.channels[level] for level, _ in self.levels]
        self.join = FeaturePyramidNetwork(backbone.ndim, channels, width)

    def forward(self, features: list[Tensor], size: Sequence[int]) -> list[Tensor]:
        """(B, width, *ceil(size / stride)) of each level, fine to coarse, from a backbone's levels."""
        maps = {}
        for (level, stride), own in zip(self.levels, self.own, strict=True):
            shape = [math.ceil(n / s) for n, s in zip(size, stride, strict=True)]
            x = features[level]
            maps[str(len(maps))] = x if own else interpolate(x, shape, mode="nearest")
        return list(self.join(maps).values())


def levels(strides: Sequence[Sequence[int]], finest: int) -> list[tuple[int, tuple[int, ...]]]:
    """(level of the backbone, stride) of each level of a pyramid, fine to coarse."""
    kept = [(i, tuple(s)) for i, s in enumerate(strides) if max(s) >= finest]
    kept = kept or [(len(strides) - 1, tuple(strides[-1]))]
    while max(kept[0][1]) >= 2 * finest:
        level, stride = kept[0]
        kept.insert(0, (level, tuple(max(s // 2, 1) for s in stride)))
    return kept
