"""The walk through timm's ResNets and ConvNeXts on visible cells only.

Modules and weights are timm's own; only the order in which they are called is written here.
"""

import torch
from timm.layers.grn import GlobalResponseNorm
from timm.layers.mlp import GlobalResponseNormMlp, Mlp
from timm.models.convnext import ConvNeXt, ConvNeXtBlock, ConvNeXtStage
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn
from torch.nn.functional import linear

from medssl.backbones.cells import Cells
from medssl.backbones.sparse import known, run


def is_sparse(net: nn.Module) -> bool:
    """Whether `levels` walks through a network: a ResNet or ConvNeXt without other parts.

    ResNets with attention, blurred pooling or dropped blocks are left out.
    """
    if type(net) is ResNet:
        stages = [net.layer1, net.layer2, net.layer3, net.layer4]
        stem = nn.Sequential(net.conv1, net.bn1, net.act1, net.maxpool)
        return known(stem) and all(_known_block(b) for stage in stages for b in stage)
    if type(net) is ConvNeXt:
        stages = [s for s in net.stages if isinstance(s, ConvNeXtStage)]
        fine = all(known(s.downsample) and all(map(_known_block, s.blocks)) for s in stages)
        return known(net.stem) and fine
    return False


def levels(net: nn.Module, wanted: list[int], x: Tensor, cells: Cells) -> list[Tensor]:
    """Stacks of the levels `wanted`, as timm counts them, from the image's stack."""
    walk = _resnet if isinstance(net, ResNet) else _convnext
    found = []
    for level, stack in enumerate(walk(net, x, cells)):
        if level in wanted:
            found.append(stack)
        if level == wanted[-1]:
            break
    return found


def _resnet(net: ResNet, x: Tensor, cells: Cells):
    for module in (net.conv1, net.bn1, net.act1):
        x = run(module, x, cells)
    yield x
    x = run(net.maxpool, x, cells)
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        for block in stage:
            x = _resnet_block(block, x, cells)
        yield x


def _resnet_block(block: nn.Module, x: Tensor, cells: Cells) -> Tensor:
    if isinstance(block, Bottleneck):
        before = (block.conv1, block.bn1, block.act1, block.conv2, block.bn2, block.drop_block)
        layers, last = (*before, block.act2, block.aa, block.conv3, block.bn3), block.act3
    else:
        before = (block.conv1, block.bn1, block.drop_block, block.act1, block.aa)
        layers, last = (*before, block.conv2, block.bn2), block.act2
    y = x
    for layer in layers:
        y = run(layer, y, cells)
    shortcut = x if block.downsample is None else run(block.downsample, x, cells)
    return run(last, y.add_(shortcut), cells)


def _convnext(net: ConvNeXt, x: Tensor, cells: Cells):
    x = run(net.stem, x, cells)
    for stage in net.stages:
        x = run(stage.downsample, x, cells)
        for block in stage.blocks:
            x = _convnext_block(block, x, cells)
        yield x


def _convnext_block(block: ConvNeXtBlock, x: Tensor, cells: Cells) -> Tensor:
    y = run(block.norm, run(block.conv_dw, x, cells), cells)
    y = block.mlp.act(_pointwise(block.mlp.fc1, y))
    if isinstance(block.mlp, GlobalResponseNormMlp):
        y = _response_norm(block.mlp.grn, y, cells)
    y = _pointwise(block.mlp.fc2, y)
    return x + y if block.gamma is None else torch.addcmul(x, y, block.gamma)


def _pointwise(module: nn.Module, x: Tensor) -> Tensor:
    """A linear layer, or the 1 x 1 convolution that some networks have in its place."""
    return linear(x, module.weight.flatten(1), module.bias)


def _response_norm(module: GlobalResponseNorm, x: Tensor, cells: Cells) -> Tensor:
    """Each channel by its norm over the visible places of its sample (ConvNeXt V2)."""
    response = torch.stack([rows.norm(dim=0) for rows in cells.samples(x)])
    response = response / (response.mean(1, keepdim=True) + module.eps)
    shown = torch.tensor([n for n in cells.of_sample if n], device=x.device)
    of_cell = response.repeat_interleave(shown, 0)
    of_cell = of_cell.view(len(x), *[1] * (x.ndim - 2), -1)
    return x + torch.addcmul(module.bias, module.weight, x * of_cell)


def _known_block(block: nn.Module) -> bool:
    if isinstance(block, (BasicBlock, Bottleneck)):
        return all(map(known, block.children()))
    if isinstance(block, ConvNeXtBlock):
        plain = all(isinstance(m, nn.Identity) for m in (block.shortcut, block.drop_path))
        mlp = type(block.mlp) in (Mlp, GlobalResponseNormMlp)
        return plain and mlp and known(block.conv_dw) and isinstance(block.norm, nn.LayerNorm)
    return False
