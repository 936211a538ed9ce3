"""A grid of cells laid over a scan, crops at random places, and how much each covers of each cell.

Any number of axes, any number of cells along each, cells of any shape. A random crop has the size of
a cell, and cells lie side by side, so that the shares of one crop sum to 1.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from medssl.errors import UserError


def checked_grid(grid: Sequence[int], ndim: int) -> tuple[int, ...]:
    """`grid` as a tuple, one count an axis. Raises UserError unless there are two cells at least."""
    grid = tuple(int(g) for g in grid)
    if len(grid) != ndim or min(grid) < 1 or math.prod(grid) < 2:
        raise UserError(
            "CONFIG", "method.grid", f"found {list(grid)}, expected {ndim} counts, two cells at least",
            "e.g. grid=" + ",".join(["2"] * ndim),
        )  # fmt: skip
    return grid


def base_cells(grid: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    """First voxel (cells, ndim) of each cell of `size` voxels, the first axis slowest."""
    cells = torch.tensor(list(itertools.product(*[range(g) for g in grid])))
    return cells * torch.tensor(size)


def random_starts(seeds: Tensor, n: int, extent: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    """First voxel, int64 (B, n, ndim), of n crops of `size` anywhere inside `extent`.

    Every place is as likely as any other, the last one included (published VoCo never draws it).
    """
    room = torch.tensor([e - s + 1 for e, s in zip(extent, size, strict=True)])
    draws = [
        torch.rand(n, len(size), generator=torch.Generator().manual_seed(s)) for s in seeds.tolist()
    ]
    return (torch.stack(draws) * room).floor().long()


def overlap(starts: Tensor, cells: Tensor, size: tuple[int, ...]) -> Tensor:
    """Share of each crop's volume inside each cell: (..., ndim) x (cells, ndim) to (..., cells).

    The product over axes of the clipped interval overlap; sums to 1 for a crop inside the grid.
    """
    voxels = torch.tensor(size, dtype=torch.float32, device=starts.device)
    distance = (starts[..., None, :].float() - cells.float().to(starts.device)).abs()
    return ((voxels - distance).clamp(min=0) / voxels).prod(-1)


def cut(image: Tensor, starts: Tensor, size: tuple[int, ...]) -> Tensor:
    """Crops (B * M, C, *size) of (B, C, *extent) at starts (B, M, ndim), scan by scan."""
    pieces = [
        image[(b, slice(None), *(slice(s, s + n) for s, n in zip(start, size, strict=True)))]
        for b, of_scan in enumerate(starts.tolist())
        for start in of_scan
    ]
    return torch.stack(pieces)
