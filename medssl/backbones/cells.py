"""Which cells of a batch of images a mask leaves visible, and where their places lie."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


class Put(torch.autograd.Function):
    """Rows (n, C) at their numbers among `size` rows that are `fill` (C,) elsewhere.

    As `index_copy` does it, but that keeps the rows until the backward pass.
    """

    @staticmethod
    def forward(ctx, rows, fill, numbers, size):
        ctx.save_for_backward(numbers)
        return fill.to(rows.dtype).repeat(size, 1).index_copy_(0, numbers, rows)

    @staticmethod
    def backward(ctx, gradient):
        (numbers,) = ctx.saved_tensors
        of_rows = gradient.index_select(0, numbers)
        of_fill = gradient.sum(0) - of_rows.sum(0) if ctx.needs_input_grad[1] else None
        return of_rows, of_fill, None, None


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
        rows, n = stack.reshape(-1, c), self.shape[0] * math.prod(size)
        filled = Put.apply(
            rows, rows.new_zeros(c) if fill is None else fill, self._places(block), n
        )
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
        rows = torch.where(cell < 0, len(self.cells) * places, cell * places + within)
        # Half the memory, of which windows need much: they are kept for the backward pass.
        return rows.int() if len(self.cells) * places < 2**31 else rows

    def _find_taps(self, block, low, kernel, stride) -> Tensor:
        rows = self.windows(block, low, behind(kernel, low, stride))
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


def behind(kernel, low, stride) -> tuple[int, ...]:
    """How far behind a cell a convolution looks whose outputs are the cell's own."""
    return tuple(k - p - s for k, p, s in zip(kernel, low, stride, strict=True))
