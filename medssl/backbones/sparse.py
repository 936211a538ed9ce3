"""Convolutional layers that see, compute and fill the visible part of an image, and nothing else.

What is computed is that of Tian et al., "Designing BERT for Convolutional Networks: Sparse and
Hierarchical Masked Modeling", ICLR 2023: a hidden place is 0 in front of every convolution, is in
no norm's statistics, and stays 0. There it is emulated on dense maps, at the price of the whole
image; here only visible cells are computed, by the layers of the dense network and with their
weights. With everything visible, the result is the dense network's.

A level of the network is a *stack* (N, *block, C): the N visible cells of the batch, each a small
image with its channels last. A layer that looks at single places works on it as it lies. A wider
convolution first gathers what surrounds each cell. Its backward pass gathers again instead of
keeping copies, so that less memory is held than by the dense layer.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONV = {2: torch.conv2d, 3: torch.conv3d}
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
ELEMENTWISE = [
    nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.ELU, nn.Mish, nn.Hardswish,
]  # fmt: skip


class Cells:
    """The visible cells of a batch, and where their places lie at every resolution.

    visible bool (B, 1, *grid). Index maps are made once for each resolution and kept for all layers
    that ask for them. Raises ValueError if no cell is visible.
    """

    def __init__(self, visible: Tensor):
        shown = visible[:, 0]
        self.cells = shown.nonzero()  # (N, 1 + ndim), samples in order
        if not len(self.cells):
            raise ValueError("no cell of the mask is visible")
        self.shape = tuple(shown.shape)
        self.of_sample = shown.flatten(1).sum(1).tolist()
        self.number = torch.full(self.shape, -1, device=visible.device)
        self.number[shown] = torch.arange(len(self.cells), device=visible.device)
        self._made: dict[tuple, Tensor] = {}

    def take(self, image: Tensor) -> Tensor:
        """The visible part of (B, C, *size) as a stack (N, *block, C), one cell after the other."""
        block = [s // g for s, g in zip(image.shape[2:], self.shape[1:], strict=True)]
        rows = image.movedim(1, -1).reshape(-1, image.shape[1])
        return rows.index_select(0, self._places(block)).view(-1, *block, image.shape[1])

    def put(self, stack: Tensor, fill: Tensor | None = None) -> Tensor:
        """A stack at its places in (B, C, *size); elsewhere 0, or `fill` (C,)."""
        block, c = stack.shape[1:-1], stack.shape[-1]
        size = [g * b for g, b in zip(self.shape[1:], block, strict=True)]
        everywhere = stack.new_zeros(self.shape[0] * math.prod(size), c)
        if fill is not None:
            everywhere = everywhere + fill.to(stack.dtype)
        filled = everywhere.index_copy_(0, self._places(block), stack.reshape(-1, c))
        return filled.view(self.shape[0], *size, c).movedim(-1, 1)

    def samples(self, stack: Tensor) -> list[Tensor]:
        """Rows (places, C) of each sample that shows something."""
        places, c = math.prod(stack.shape[1:-1]), stack.shape[-1]
        return stack.reshape(-1, c).split([n * places for n in self.of_sample if n])

    def _places(self, block: Sequence[int]) -> Tensor:
        """Row of every place of a stack in the flattened (B, *size)."""
        return self._once(("places", *block), lambda: self._find_places(block))

    def windows(self, block: Sequence[int], low: Sequence[int], high: Sequence[int]) -> Tensor:
        """Rows (N, *window) of each cell's places, `low` before and `high` behind it added.

        What is hidden or outside has the number behind the last row.
        """
        key = ("windows", *block, *low, *high)
        return self._once(key, lambda: self._find_windows(block, low, high))

    def taps(self, block, low, kernel, stride) -> Tensor:
        """Rows (N * places, taps) that each place of a convolution's output looks at."""
        key = ("taps", *block, *low, *kernel, *stride)
        return self._once(key, lambda: self._find_taps(block, low, kernel, stride))

    def _once(self, key: tuple, make: Callable[[], Tensor]) -> Tensor:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _find_places(self, block: Sequence[int]) -> Tensor:
        rows = self._along(self.cells[:, 0], 0)
        for axis, (g, b) in enumerate(zip(self.shape[1:], block, strict=True), start=1):
            at = self.cells[:, axis, None] * b + torch.arange(b, device=rows.device)
            rows = rows * (g * b) + self._along(at, axis)
        return rows.flatten()

    def _find_windows(self, block, low, high) -> Tensor:
        reach = [
            max(-(-lo // b), -(-hi // b), 0) for b, lo, hi in zip(block, low, high, strict=True)
        ]
        number = F.pad(self.number, [r for r in reversed(reach) for _ in (0, 1)], value=-1)
        where, within = [self._along(self.cells[:, 0], 0)], 0
        for axis, (b, lo, hi, r) in enumerate(zip(block, low, high, reach, strict=True), start=1):
            offset = torch.arange(-lo, b + hi, device=number.device)
            cell = self.cells[:, axis, None] + offset.div(b, rounding_mode="floor") + r
            where.append(self._along(cell, axis))
            within = within * b + self._along((offset % b)[None], axis)
        cell, places = number[tuple(where)], math.prod(block)
        return torch.where(cell < 0, len(self.cells) * places, cell * places + within)

    def _find_taps(self, block, low, kernel, stride) -> Tensor:
        rows = self.windows(block, low, _high(kernel, low, stride))
        for axis, (k, s) in enumerate(zip(kernel, stride, strict=True), start=1):
            rows = rows.unfold(axis, k, s)
        return rows.reshape(-1, math.prod(kernel))

    def _along(self, values: Tensor, axis: int) -> Tensor:
        """(n,) or (n, m) shaped to be broadcast over (n, *block), its second axis at `axis`."""
        shape = [1] * len(self.shape)
        if axis:
            shape[axis] = values.shape[1]
        shape[0] = len(values)
        return values.reshape(shape)


def cells_of(image: Tensor, visible: Tensor | None, divisor: Sequence[int]) -> Cells | None:
    """The cells of a mask if they are whole at every level, or None: the network then works densely.

    A cell is whole at every level if its voxels are a multiple of the coarsest stride on every axis.
    """
    if visible is None:
        return None
    size, grid = image.shape[2:], visible.shape[2:]
    if len(size) != len(grid) or any(
        s % (g * d) for s, g, d in zip(size, grid, divisor, strict=True)
    ):
        return None
    return Cells(visible.expand(len(image), *visible.shape[1:]))


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
        return module.dilation == 1 and not module.ceil_mode
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
    return _from_map(module(_as_map(x.reshape(-1, x.shape[-1]))), x)


def _instance_norm(module: nn.Module, x: Tensor, cells: Cells) -> Tensor:
    """Statistics over the visible places of each sample."""
    # As batch norms of one sample each: the kernel for channels-last memory, and no cancellation
    # of squares, which group norm has in that memory.
    done = [
        F.batch_norm(_as_map(r), None, None, module.weight, module.bias, True, eps=module.eps)
        for r in cells.samples(x)
    ]
    return _from_map(torch.cat(done, 2), x)


def _as_map(rows: Tensor) -> Tensor:
    """Rows (M, C) as an image (1, C, M, 1) in channels-last memory, for kernels made for that."""
    return rows.view(1, len(rows), 1, -1).permute(0, 3, 1, 2)


def _from_map(image: Tensor, like: Tensor) -> Tensor:
    return image.permute(0, 2, 3, 1).reshape(like.shape)


def _layer_norm(module: nn.LayerNorm, x: Tensor, cells: Cells) -> Tensor:
    return F.layer_norm(x, module.normalized_shape, module.weight, module.bias, module.eps)


def _max_pool(module: nn.Module, x: Tensor, cells: Cells) -> Tensor:
    """Over visible places; after a ReLU the same as with zeros for hidden ones, as published."""
    ndim = x.ndim - 2
    k, s, p = (_per_axis(v, ndim) for v in (module.kernel_size, module.stride, module.padding))
    index = cells.windows(x.shape[1:-1], p, _high(k, p, s))
    windows = _Gather.apply(x.reshape(-1, x.shape[-1]), index.flatten(), -math.inf)
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
    if not any(low) and kernel == stride:  # nothing around a cell is looked at
        y = CONV[len(kernel)](x.movedim(-1, 1), weight, bias, stride, groups=module.groups)
        return y.movedim(1, -1).contiguous()
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        half = torch.get_autocast_dtype(kind)
        x, weight, bias = x.to(half), weight.to(half), None if bias is None else bias.to(half)
    return _Convolve.apply(x, weight, bias, cells, stride, low, module.groups)


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
        and all(
            0 < k - 2 * p <= s
            for k, p, s in zip(module.kernel_size, padding, module.stride, strict=True)
        )
    )


def _per_axis(value: int | tuple[int, ...], ndim: int) -> tuple[int, ...]:
    return (value,) * ndim if isinstance(value, int) else tuple(value)


def _high(kernel, low, stride) -> tuple[int, ...]:
    """How far behind a cell a convolution looks whose outputs are the cell's own."""
    return tuple(k - p - s for k, p, s in zip(kernel, low, stride, strict=True))


def _gather(rows: Tensor, index: Tensor, fill: float = 0.0) -> Tensor:
    """Rows by number; the number behind the last one gives `fill`."""
    return torch.cat([rows, rows.new_full((1, rows.shape[1]), fill)]).index_select(0, index)


def _scatter(rows: Tensor, index: Tensor, n: int) -> Tensor:
    """The transpose of `_gather`: sums (n, C) of rows by number."""
    return rows.new_zeros(n + 1, rows.shape[1]).index_add_(0, index, rows)[:n]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, index, fill):
        ctx.n, ctx.index = len(rows), index
        return _gather(rows, index, fill)

    @staticmethod
    def backward(ctx, gradient):
        return _scatter(gradient, ctx.index, ctx.n), None, None


class _Convolve(torch.autograd.Function):
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


def convolve(x, weight, cells: Cells, stride, low, groups) -> Tensor:
    """Outputs (N, *block / stride, O)."""
    block, kernel = x.shape[1:-1], weight.shape[2:]
    out = [b // s for b, s in zip(block, stride, strict=True)]
    if as_product(out, groups):
        columns = _columns(x, cells, low, kernel, stride)
        y = columns @ weight.movedim(1, -1).reshape(len(weight), -1).t()
        return y.view(len(x), *out, -1)
    ndim = len(block)
    windows = _windows(x, cells, low, kernel, stride)
    weight = weight.contiguous(memory_format=CHANNELS_LAST[ndim])
    y = CONV[ndim](windows.movedim(-1, 1), weight, None, stride, groups=groups)
    return y.movedim(1, -1).contiguous()


def data_gradient(g, x, weight, cells: Cells, stride, low, groups) -> Tensor:
    """Gradient for x (N, *block, C); hidden neighbours give none and take none."""
    kernel, block = weight.shape[2:], x.shape[1:-1]
    ndim = len(kernel)
    if set(stride) == {1}:  # again a sparse convolution, with mirrored weights
        turned = weight.view(groups, len(weight) // groups, -1, *kernel).transpose(1, 2)
        turned = turned.flip(list(range(3, 3 + ndim))).reshape(x.shape[-1], -1, *kernel)
        return convolve(g, turned, cells, stride, _high(kernel, low, stride), groups)
    if as_product(g.shape[1:-1], groups):
        index = cells.taps(block, low, kernel, stride)
        gw = g.view(-1, g.shape[-1]) @ weight.movedim(1, -1).reshape(len(weight), -1)
    else:
        index = cells.windows(block, low, _high(kernel, low, stride))
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
    index = cells.windows(x.shape[1:-1], low, _high(kernel, low, stride))
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
