"""Convolutional networks of published 3D weights: CT-FM's, MedicalNet's and Models Genesis'.

Their parameters are named as the libraries name them that the weights were published for.
"""

from typing import Annotated, Literal

import torch
from monai.networks.nets.resnet import ResNet, ResNetBlock, ResNetBottleneck
from monai.networks.nets.segresnet_ds import SegResEncoder
from torch import Tensor, nn

from medssl.backbones.base import again, check_size, checked_ndim, hide
from medssl.config import Count
from medssl.errors import UserError

# Blocks of every stage, by depth.
RESNETS = {
    10: (ResNetBlock, (1, 1, 1, 1)), 18: (ResNetBlock, (2, 2, 2, 2)),
    34: (ResNetBlock, (3, 4, 6, 3)), 50: (ResNetBottleneck, (3, 4, 6, 3)),
    101: (ResNetBottleneck, (3, 4, 23, 3)), 152: (ResNetBottleneck, (3, 8, 36, 3)),
}  # fmt: skip


class SegResNet(nn.Module):
    """The encoder of MONAI's SegResNetDS (Myronenko, BrainLes 2018), at full resolution first.

    With blocks 1,2,2,4,4 and batch norm that of CT-FM (Pai et al., "Vision foundation models for
    computed tomography", 2025). Hidden voxels are seen as 0.
    """

    recompute = False

    def __init__(
        self, in_channels: int, *,
        width: Annotated[Count, "channels of the first level; each further one has twice as many"] = 32,
        blocks: Annotated[list[Count], "residual blocks of every level"] = (1, 2, 2, 4),
        norm: Annotated[Literal["batch", "instance"], "which norm"] = "instance",
        ndim: Annotated[int, "2 for films and slices, 3 for volumes"] = 3,
    ):  # fmt: skip
        super().__init__()
        self.ndim, self.in_channels = checked_ndim(ndim), in_channels
        self.channels = tuple(width * 2**i for i in range(len(blocks)))
        self.strides = tuple((2**i,) * ndim for i in range(len(blocks)))
        self.divisor, self.blocks, self.norm = self.strides[-1], tuple(blocks), norm
        self.n_layers = 1 + sum(blocks)
        self.encoder = SegResEncoder(
            ndim, width, in_channels, norm=norm, blocks_down=self.blocks,
            act=("relu", {"inplace": False}),
        )  # fmt: skip

    def forward(self, image: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        """Maps (B, channels[i], *size / 2^i) of an image (B, C, *size)."""
        check_size(image, self.divisor)
        x, levels = self.encoder.conv_init(hide(image, visible)), []
        for level in self.encoder.layers:
            for block in level["blocks"]:
                x = again(self.recompute, block, x)
            levels.append(x)
            x = level["downsample"](x)
        return levels

    def recompute_activations(self) -> None:
        self.recompute = True

    def units(self) -> list[nn.Module]:
        return [block for level in self.encoder.layers for block in level["blocks"]]

    def layer_of(self, parameter: str) -> int:
        """0 the first convolution, then every block; what halves goes with the block before it."""
        _, part, *rest = parameter.split(".")
        if part == "conv_init":
            return 0
        level = int(rest[0])
        first = 1 + sum(self.blocks[:level])
        return first + (int(rest[2]) if rest[1] == "blocks" else self.blocks[level] - 1)


class ResNet3D(nn.Module):
    """MONAI's ResNet (He et al., CVPR 2016) in 2D or 3D, with batch norm.

    With its defaults as Med3D's published weights take it (Chen et al., "Med3D", 2019), but for the
    dilation of the last two stages, which has no weights. Hidden voxels are seen as 0.
    """

    def __init__(
        self, in_channels: int, *,
        depth: Annotated[Literal[10, 18, 34, 50, 101, 152], "layers"] = 18,
        width: Annotated[Count, "channels of the first stage; each further one has twice as many"] = 64,
        shortcut: Annotated[Literal["A", "B", ""], "A pads, B convolves; empty: as Med3D has it"] = "",
        stem_kernel: Annotated[Count, "of the first convolution, odd"] = 7,
        stem_stride: Annotated[Count, "of the first convolution"] = 2,
        ndim: Annotated[int, "2 for films and slices, 3 for volumes"] = 3,
    ):  # fmt: skip
        super().__init__()
        self.ndim, self.in_channels = checked_ndim(ndim), in_channels
        if stem_kernel % 2 == 0 or stem_stride > 2:
            raise UserError(
                "CONFIG", "backbone.stem_kernel", f"found {stem_kernel} with stride {stem_stride}",
                "give an odd kernel, and stride 1 or 2",
            )  # fmt: skip
        block, stages = RESNETS[depth]
        self.stages, widths = stages, [width * 2**i for i in range(4)]
        self.channels = tuple(w * block.expansion for w in widths)
        self.strides = tuple((stem_stride * 2**i,) * ndim for i in range(1, 5))
        self.divisor, self.n_layers = self.strides[-1], 1 + sum(stages)
        self.arguments = {
            "block": "basic" if block is ResNetBlock else "bottleneck", "layers": list(stages),
            "block_inplanes": widths, "spatial_dims": ndim, "n_input_channels": in_channels,
            "conv1_t_size": stem_kernel, "conv1_t_stride": stem_stride, "feed_forward": False,
            "shortcut_type": shortcut or ("A" if depth in (18, 34) else "B"),
            "bias_downsample": False,
        }  # fmt: skip
        self.net = ResNet(**self.arguments)

    def forward(self, image: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        """Maps (B, channels[i], *size / strides[i]) of an image (B, C, *size)."""
        check_size(image, self.divisor)
        net, levels = self.net, []
        x = net.maxpool(net.act(net.bn1(net.conv1(hide(image, visible)))))
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = stage(x)
            levels.append(x)
        return levels

    def units(self) -> list[nn.Module]:
        net = self.net
        return [b for stage in (net.layer1, net.layer2, net.layer3, net.layer4) for b in stage]

    def layer_of(self, parameter: str) -> int:
        """0 the first convolution and its norm, then every block."""
        _, part, *rest = parameter.split(".")
        if not part.startswith("layer"):
            return 0
        return 1 + sum(self.stages[: int(part[-1]) - 1]) + int(rest[0])


class GenesisEncoder(nn.Module):
    """The encoder of Models Genesis' 3D U-Net (Zhou et al., Medical Image Analysis 2021).

    Plain convolutions with batch norm; the first level is at full resolution. Hidden voxels are seen
    as 0.
    """

    def __init__(
        self, in_channels: int, *,
        width: Annotated[Count, "half the channels of the first level"] = 32,
        levels: Annotated[Count, "each halving the resolution of the one before"] = 4,
    ):  # fmt: skip
        super().__init__()
        self.ndim, self.in_channels = 3, in_channels
        self.channels = tuple(2 * width * 2**i for i in range(levels))
        self.strides = tuple((2**i,) * 3 for i in range(levels))
        self.divisor, self.n_layers = self.strides[-1], 2 * levels
        for out, inputs in zip(self.channels, [in_channels, *self.channels], strict=False):
            level = nn.Module()
            level.ops = nn.ModuleList([_Layer(inputs, out // 2), _Layer(out // 2, out)])
            self.add_module(f"down_tr{out * 32 // width}", level)
        self.pool = nn.MaxPool3d(2)

    def forward(self, image: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        """Maps (B, channels[i], *size / 2^i) of an image (B, C, *size)."""
        check_size(image, self.divisor)
        x, levels = hide(image, visible), []
        for name, level in self.named_children():
            if name == "pool":
                continue
            x = self.pool(x) if levels else x
            for layer in level.ops:
                x = layer(x)
            levels.append(x)
        return levels

    def units(self) -> list[nn.Module]:
        levels = (level for name, level in self.named_children() if name != "pool")
        return [layer for level in levels for layer in level.ops]

    def layer_of(self, parameter: str) -> int:
        """Every convolution with its norm."""
        level, _, layer, *_ = parameter.split(".")
        names = [name for name, _ in self.named_children()]
        return 2 * names.index(level) + int(layer)


class _Layer(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv3d(inputs, outputs, 3, padding=1), nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn1(self.conv1(x)))
