"""Convolutions of the visible cells of an image, forward and backward.

There are three ways, chosen by what they cost: gather each cell with what surrounds it and convolve
these windows; gather what each output looks at and multiply; put the cells among zeros and convolve
the whole map. The backward pass gathers again instead of keeping copies.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from medssl.backbones.cells import Cells, behind

CONV = {2: torch.conv2d, 3: torch.conv3d}
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def _gather(rows: Tensor, index: Tensor, fill: float = 0.0) -> Tensor:
    return torch.cat([rows, rows.new_full((1, rows.shape[1]), fill)]).index_select(0, index)


def _scatter(rows: Tensor, index: Tensor, n: int) -> Tensor:
    """The transpose of `_gather`: sums (n, C) of rows by number."""
    return rows.new_zeros(n + 1, rows.shape[1]).index_add_(0, index, rows)[:n]


class Gather(torch.autograd.Function):
    """Rows (n, C) by number; the number behind the last one gives `fill`."""

    @staticmethod
    def forward(ctx, rows, index, fill):
        ctx.n, ctx.index = len(rows), index
        return _gather(rows, index, fill)

    @staticmethod
    def backward(ctx, gradient):
        return _scatter(gradient, ctx.index, ctx.n), None, None


class Convolve(torch.autograd.Function):
    """A convolution of a stack; x (N, *block, C), weight as the dense layer has it."""

    @staticmethod
    def forward(ctx, x, weight, bias, cells, stride, low, groups):
        ctx.save_for_backward(x, weight)
        ctx.rest = (cells, stride, low, groups)
        y = convolve(x, weight, cells, stride, low, groups)
        return y if bias is None else y.add_(bias)

    @staticmethod
    def backward(ctx, g):
        (x, weight), g = ctx.saved_tensors, g.contiguous()
        gx = data_gradient(g, x, weight, *ctx.rest) if ctx.needs_input_grad[0] else None
        gw = weight_gradient(g, x, weight, *ctx.rest) if ctx.needs_input_grad[1] else None
        gb = g.view(-1, g.shape[-1]).sum(0) if ctx.needs_input_grad[2] else None
        return gx, gw, gb, None, None, None, None


def as_product(out_block: Sequence[int], groups: int) -> bool:
    """The cost rule: gather what each output looks at and multiply, or convolve whole windows.

    Windows of small cells are mostly margin, and kernels for convolutions are slow on tiny images:
    up to 2 places an axis, one matrix product is faster (measured, 2D and 3D, 1.3 to 10 times).
    """
    return groups == 1 and math.prod(out_block) <= 2 ** len(out_block)


def as_map(cells: Cells, block: Sequence[int], kernel: Sequence[int], depthwise: bool) -> bool:
    """The other: a depthwise convolution costs no more than reading, and reads the whole map if its
    windows are larger still (measured: from twice the map on)."""
    window = math.prod(b + k - 1 for b, k in zip(block, kernel, strict=True))
    whole = math.prod(cells.shape) * math.prod(block)
    return depthwise and len(cells.cells) * window > 2 * whole


def convolve(x, weight, cells: Cells, stride, low, groups) -> Tensor:
    """Outputs (N, *block / stride, O)."""
    block, kernel = x.shape[1:-1], weight.shape[2:]
    out = [b // s for b, s in zip(block, stride, strict=True)]
    if as_product(out, groups):
        columns = _columns(x, cells, low, kernel, stride)
        y = columns @ weight.movedim(1, -1).reshape(len(weight), -1).t()
        return y.view(len(x), *out, -1)
    ndim = len(block)
    weight = weight.contiguous(memory_format=CHANNELS_LAST[ndim])
    if as_map(cells, block, kernel, groups == x.shape[-1]) and set(stride) == {1}:
        return cells.take(CONV[ndim](cells.put(x), weight, None, 1, low, groups=groups))
    windows = _windows(x, cells, low, kernel, stride)
    y = CONV[ndim](windows.movedim(-1, 1), weight, None, stride, groups=groups)
    return y.movedim(1, -1).contiguous()


def data_gradient(g, x, weight, cells: Cells, stride, low, groups) -> Tensor:
    """Gradient for x (N, *block, C); hidden neighbours give none and take none."""
    kernel, block = weight.shape[2:], x.shape[1:-1]
    ndim = len(kernel)
    if set(stride) == {1}:  # again a sparse convolution, with mirrored weights
        turned = weight.view(groups, len(weight) // groups, -1, *kernel).transpose(1, 2)
        turned = turned.flip(list(range(3, 3 + ndim))).reshape(x.shape[-1], -1, *kernel)
        return convolve(g, turned, cells, stride, behind(kernel, low, stride), groups)
    if as_product(g.shape[1:-1], groups):
        index = cells.taps(block, low, kernel, stride)
        gw = g.view(-1, g.shape[-1]) @ weight.movedim(1, -1).reshape(len(weight), -1)
    else:
        index = cells.windows(block, low, behind(kernel, low, stride))
        empty = x.new_empty(1).expand(len(x), x.shape[-1], *index.shape[1:])
        gw = _convolution_backward(g, empty, weight, stride, groups, (True, False))[0]
        gw = gw.movedim(1, -1)
    rows = gw.reshape(-1, x.shape[-1])
    return _scatter(rows, index.flatten(), x.shape[:-1].numel()).view(x.shape)


def weight_gradient(g, x, weight, cells: Cells, stride, low, groups) -> Tensor:
    kernel = weight.shape[2:]
    if as_product(g.shape[1:-1], groups):
        columns = _columns(x, cells, low, kernel, stride)
        gw = g.view(-1, g.shape[-1]).t() @ columns
        return gw.view(len(weight), *kernel, -1).movedim(-1, 1)
    windows = _windows(x, cells, low, kernel, stride)
    if groups == x.shape[-1] == len(weight) and set(stride) == {1} and not x.is_cuda:
        return depthwise_gradient(windows, g, kernel)
    return _convolution_backward(g, windows.movedim(-1, 1), weight, stride, groups, (False, True))[
        1
    ]


def depthwise_gradient(windows: Tensor, g: Tensor, kernel: Sequence[int]) -> Tensor:
    """Weight gradient (C, 1, *kernel) of a depthwise convolution of windows (N, *window, C).

    torch's own takes as long on a CPU as the rest of a ConvNeXt block. Small cells are summed tap by
    tap; of larger ones every place of a window is multiplied with every place of its cell, one
    matrix product a channel, and the pairs of each tap, a diagonal, are summed.
    """
    block, window, c = g.shape[1:-1], windows.shape[1:-1], g.shape[-1]
    if math.prod(block) <= 2 ** len(block):
        found = windows.new_empty(c, math.prod(kernel))
        for i, tap in enumerate(itertools.product(*map(range, kernel))):
            seen = windows
            for axis, (at, b) in enumerate(zip(tap, block, strict=True), start=1):
                seen = seen.narrow(axis, at, b)
            found[:, i] = (seen * g).flatten(0, -2).sum(0)
        return found.view(c, 1, *kernel)
    seen = windows.reshape(-1, c).t().contiguous().view(c, len(g), -1)
    pairs = seen.transpose(1, 2) @ g.reshape(-1, c).t().contiguous().view(c, len(g), -1)
    of_c, *steps = pairs.view(c, *window, *block).stride()
    of_window, of_block = steps[: len(block)], steps[len(block) :]
    diagonal = [a + b for a, b in zip(of_window, of_block, strict=True)]
    found = pairs.as_strided((c, *kernel, *block), (of_c, *of_window, *diagonal))
    return found.sum(tuple(range(-len(block), 0)))[:, None]


def _windows(x, cells: Cells, low, kernel, stride) -> Tensor:
    """Each cell with what surrounds it: (N, *window, C)."""
    index = cells.windows(x.shape[1:-1], low, behind(kernel, low, stride))
    return _gather(x.reshape(-1, x.shape[-1]), index.flatten()).view(*index.shape, -1)


def _columns(x, cells: Cells, low, kernel, stride) -> Tensor:
    """What each output looks at: (N * places, taps * C)."""
    index = cells.taps(x.shape[1:-1], low, kernel, stride)
    return _gather(x.reshape(-1, x.shape[-1]), index.flatten()).view(len(index), -1)


def _convolution_backward(g, windows, weight, stride, groups, wanted):
    zeros, ones = [0] * len(stride), [1] * len(stride)
    return torch.ops.aten.convolution_backward(
        g.movedim(-1, 1), windows, weight, None, stride, zeros, ones, False, zeros, groups,
        [*wanted, False],
    )  # fmt: skip
