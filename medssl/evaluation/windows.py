"""Boxes that cover a scan, and which voxels each of them answers for."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Window:
    """Voxels `low` to `high` of a scan (may reach beyond it), of which it answers `first` to `last`.

    All are counted in the scan, one value an axis, the ends not included.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    first: tuple[int, ...]
    last: tuple[int, ...]

    @property
    def own(self) -> tuple[slice, ...]:
        """What it answers for, in the scan."""
        return tuple(slice(a, b) for a, b in zip(self.first, self.last, strict=True))

    @property
    def inner(self) -> tuple[slice, ...]:
        """The same within the window."""
        ends = zip(self.first, self.last, self.low, strict=True)
        return tuple(slice(a - lo, b - lo) for a, b, lo in ends)


def windows(shape: Sequence[int], size: Sequence[int]) -> list[Window]:
    """As few windows as cover a scan, evenly spread; every voxel belongs to exactly one of them.

    Where two overlap, each answers for its half. A scan smaller than a window lies in its middle.
    """
    axes = [_along(n, s) for n, s in zip(shape, size, strict=True)]
    return [Window(*zip(*ends, strict=True)) for ends in itertools.product(*axes)]


def _along(n: int, size: int) -> list[tuple[int, int, int, int]]:
    if size >= n:
        low = -((size - n) // 2)
        return [(low, low + size, 0, n)]
    count = -(-n // size)
    starts = np.linspace(0, n - size, count).round().astype(int).tolist()
    cuts = [0, *[(b + a + size) // 2 for a, b in itertools.pairwise(starts)], n]
    return [(s, s + size, *own) for s, own in zip(starts, itertools.pairwise(cuts), strict=True)]
