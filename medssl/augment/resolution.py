"""Lower resolution: voxels averaged into larger ones, and interpolated back to the grid."""

import torch
from torch import Tensor

from medssl.augment.samples import for_some, uniform
from medssl.augment.separable import along


def draw_resolution(
    seeds: Tensor, ndim: int, *, largest: float, one_axis: bool = False, probability: float = 1.0
) -> Tensor:
    """Factors (B, ndim) by which voxels grow, uniform in 1..largest; 1 where there is no change.

    one_axis  True: one axis only, drawn for each sample, as in thick slices; False: all alike
    """
    u = uniform(seeds, "resolution", 3)
    factor = 1 + (largest - 1) * u[:, 1:2]
    chosen = (u[:, 2:] * ndim).floor() == torch.arange(ndim)
    taken = (u[:, :1] < probability) & (chosen | (not one_axis))
    return torch.where(taken, factor, 1.0)


def apply_resolution(image: Tensor, factor: Tensor) -> Tensor:
    """Average (B, C, *n) into round(n / factor) voxels an axis, then interpolate linearly back."""

    def work(some: Tensor, rows: Tensor) -> Tensor:
        factors = factor[rows].to(image.device).unbind(1)
        return along(some, [coarse(f, n) for f, n in zip(factors, image.shape[2:], strict=True)])

    return for_some(image, (factor > 1).any(1), work)


def coarse(factor: Tensor, n: int) -> Tensor:
    """Matrices (B, n, n) that take an axis of n voxels to round(n / factor) voxels and back."""
    m = (n / factor).round().clamp(1, n)[:, None, None]
    index = torch.arange(n, dtype=factor.dtype, device=factor.device)
    start = index[:, None] * n / m  # of each large voxel, in small ones; only the first m count
    shared = torch.minimum(start + n / m, index + 1) - torch.maximum(start, index)
    average = shared.clamp(min=0) * m / n
    place = ((index[:, None] + 0.5) * m / n - 0.5).clamp(min=0).minimum(m - 1)
    return (1 - (place - index).abs()).clamp(min=0) @ average
