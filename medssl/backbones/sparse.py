"""Convolutional layers that see, compute and fill the visible part of an image, and nothing else.

What is computed is that of Tian et al., "Designing BERT for Convolutional Networks: Sparse and
Hierarchical Masked Modeling", ICLR 2023: a hidden place is 0 in front of every convolution, is in
no norm's statistics, and stays 0. There it is emulated on dense maps, at the price of the whole
image; here only visible cells are computed, by the layers of the dense network and with their
weights. With everything visible, the result is the dense network's.

A level of the network is a *stack* (N, *block, C): the N visible cells of the batch, each a small
image with its channels last. A layer that looks at single places works on it as it lies. A wider
convolution first gathers what surrounds each cell (`sparse_convolution`).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medssl.backbones.cells import Cells, behind
from medssl.backbones.sparse_convolution import Convolve, Gather

ELEMENTWISE = [
    nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.ELU, nn.Mish, nn.Hardswish,
]  # fmt: skip


def run(module: nn.Module, x: Tensor, cells: Cells) -> Tensor:
    """A layer of the dense network applied to a stack. Raises TypeError for one not known here."""
    for kinds, apply in LAYERS:
        if isinstance(module, kinds):
            return apply(module, x, cells)
    raise TypeError(f"{type(module).__name__} has no sparse form")


def known(module: nn.Module) -> bool:
    """Whether `run` takes a layer, and all layers of a sequence."""
    if isinstance(module, nn.Sequential):
        return all(known(m) for m in module)
    if isinstance(module, (nn.Conv2d, nn.Conv3d)):
        return _keeps_cells(module)
    if isinstance(module, nn.modules.instancenorm._InstanceNorm):
        return not module.track_running_stats
    if isinstance(module, (nn.MaxPool2d, nn.MaxPool3d)):
        k, p, s = (np.array(v) for v in (module.kernel_size, module.padding, module.stride))
        return module.dilation == 1 and not module.ceil_mode and _one_a_cell(k, p, s)
    if isinstance(module, (nn.AvgPool2d, nn.AvgPool3d)):
        return module.kernel_size == module.stride and module.padding == 0
    return any(isinstance(module, kinds) for kinds, _ in LAYERS)


def _sequence(module: nn.Sequential, x: Tensor, cells: Cells) -> Tensor:
    for layer in module:
        x = run(layer, x, cells)
    return x


def _elementwise(module: nn.Module, x: Tensor, cells: Cells) -> Tensor:
    return module(x)


def _batch_norm(module: nn.Module, x: Tensor, cells: Cells) -> Tensor:
    """Statistics, the running ones too, over the visible places of the batch."""
    return _from_image(module(_as_image(x.reshape(-1, x.shape[-1]))), x)


def _instance_norm(module: nn.Module, x: Tensor, cells: Cells) -> Tensor:
    """Statistics over the visible places of each sample."""
    # As batch norms of one sample each: the kernel for channels-last memory, and no cancellation
    # of squares, which group norm has in that memory.
    done = [
        F.batch_norm(_as_image(r), None, None, module.weight, module.bias, True, eps=module.eps)
        for r in cells.samples(x)
    ]
    return _from_image(torch.cat(done, 2), x)


def _as_image(rows: Tensor) -> Tensor:
    """Rows (M, C) as an image (1, C, M, 1) in channels-last memory, for kernels made for that."""
    return rows.view(1, len(rows), 1, -1).permute(0, 3, 1, 2)


def _from_image(image: Tensor, like: Tensor) -> Tensor:
    return image.permute(0, 2, 3, 1).reshape(like.shape)


def _layer_norm(module: nn.LayerNorm, x: Tensor, cells: Cells) -> Tensor:
    return F.layer_norm(x, module.normalized_shape, module.weight, module.bias, module.eps)


def _max_pool(module: nn.Module, x: Tensor, cells: Cells) -> Tensor:
    """Over visible places; after a ReLU the same as with zeros for hidden ones, as published."""
    ndim = x.ndim - 2
    k, s, p = (_per_axis(v, ndim) for v in (module.kernel_size, module.stride, module.padding))
    index = cells.windows(x.shape[1:-1], p, behind(k, p, s))
    windows = Gather.apply(x.reshape(-1, x.shape[-1]), index.flatten(), -math.inf)
    windows = windows.view(*index.shape, x.shape[-1]).movedim(-1, 1)
    pool = {2: F.max_pool2d, 3: F.max_pool3d}[ndim]
    return pool(windows, k, s).movedim(1, -1).contiguous()


def _avg_pool(module: nn.Module, x: Tensor, cells: Cells) -> Tensor:
    return module(x.movedim(-1, 1)).movedim(1, -1).contiguous()


def _convolution(module: nn.Module, x: Tensor, cells: Cells) -> Tensor:
    kernel, stride, low = module.kernel_size, module.stride, module.padding
    weight, bias = module.weight, module.bias
    if max(kernel) == 1 and module.groups == 1:
        for axis, step in enumerate(stride, start=1):
            x = x[(slice(None),) * axis + (slice(None, None, step),)] if step > 1 else x
        return F.linear(x, weight.flatten(1), bias)
    if not any(low) and kernel == stride and module.groups == 1:
        return _patches(x, kernel, weight, bias)
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        half = torch.get_autocast_dtype(kind)
        x, weight, bias = x.to(half), weight.to(half), None if bias is None else bias.to(half)
    return Convolve.apply(x, weight, bias, cells, stride, low, module.groups)


def _patches(x: Tensor, kernel: Sequence[int], weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution that steps by its own size, as a linear layer of the patches it looks at."""
    ndim = len(kernel)
    for axis, k in enumerate(kernel):
        x = x.unflatten(1 + 2 * axis, (-1, k))
    places, taps = range(1, 2 * ndim, 2), range(2, 2 * ndim + 1, 2)
    x = x.permute(0, *places, *taps, 2 * ndim + 1).flatten(1 + ndim)
    return F.linear(x, weight.movedim(1, -1).flatten(1), bias)


LAYERS: list[tuple] = [
    (nn.Sequential, _sequence),
    (tuple(ELEMENTWISE), _elementwise),
    ((nn.Conv2d, nn.Conv3d), _convolution),
    (nn.modules.batchnorm._BatchNorm, _batch_norm),
    (nn.modules.instancenorm._InstanceNorm, _instance_norm),
    (nn.LayerNorm, _layer_norm),
    ((nn.MaxPool2d, nn.MaxPool3d), _max_pool),
    ((nn.AvgPool2d, nn.AvgPool3d), _avg_pool),
]


def _keeps_cells(module: nn.Module) -> bool:
    """Whether a convolution's output is its input's size over its stride, cell by cell."""
    padding = module.padding
    return (
        not isinstance(padding, str)
        and module.padding_mode == "zeros"
        and set(module.dilation) == {1}
        and _one_a_cell(*map(np.array, (module.kernel_size, padding, module.stride)))
    )


def _one_a_cell(kernel: np.ndarray, padding: np.ndarray, stride: np.ndarray) -> bool:
    return bool(np.all((kernel - 2 * padding > 0) & (kernel - 2 * padding <= stride)))


def _per_axis(value: int | tuple[int, ...], ndim: int) -> tuple[int, ...]:
    return (value,) * ndim if isinstance(value, int) else tuple(value)
