"""Flip, rotation, scale and shift as one affine resampling of a batch."""

import math
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

CROP = 0x63726F70  # keeps the draw of the box apart from the other draws of a sample


def draw_affine(
    generators: list[torch.Generator], size: tuple[int, ...], *,
    flip: float = 0.0, rotate: float = 0.0, scale: tuple[float, float] = (1.0, 1.0), shift: float = 0.0,
) -> Tensor:  # fmt: skip
    """Voxel-space maps (B, ndim, ndim + 1), output index (from the centre) to input index.

    flip    probability for each axis
    rotate  largest angle in each plane, degrees, uniform
    scale   factor by which things grow, log-uniform, the same for all axes
    shift   largest shift along each axis as a share of its size
    """
    ndim = len(size)
    maps = []
    for g in generators:
        u = torch.rand(2 * ndim + 1 + ndim * (ndim - 1) // 2, generator=g, dtype=torch.float64)
        low, high = map(math.log, scale)
        matrix = torch.diag(1 - 2 * (u[:ndim] < flip).double())
        for (i, j), v in zip(combinations(range(ndim), 2), u[2 * ndim + 1 :], strict=True):
            angle = math.radians(rotate) * (2 * v - 1)
            turn = torch.eye(ndim, dtype=torch.float64)
            turn[i, i] = turn[j, j] = torch.cos(angle)
            turn[i, j], turn[j, i] = -torch.sin(angle), torch.sin(angle)
            matrix = matrix @ turn
        matrix = matrix / torch.exp(low + (high - low) * u[2 * ndim])
        move = (2 * u[ndim : 2 * ndim] - 1) * shift * torch.tensor(size, dtype=torch.float64)
        maps.append(torch.cat([matrix, move[:, None]], dim=1))
    return torch.stack(maps).float()


def draw_crop(
    maps: Tensor, seeds: Tensor, size: tuple[int, ...], output: tuple[int, ...] | None,
    share: tuple[float, float] | None,
) -> Tensor:  # fmt: skip
    """Maps that take a random box of each sample (its share of the volume log-uniform within
    `share`, anywhere inside) to the `output` size before what `maps` does."""
    ndim, n = len(size), torch.tensor(size, dtype=torch.float64)
    m = n if output is None else torch.tensor(output, dtype=torch.float64)
    low, high = map(math.log, share or (1.0, 1.0))
    out = []
    for one, seed in zip(maps.double(), seeds.tolist(), strict=True):
        g = torch.Generator().manual_seed(seed ^ CROP)
        u = torch.rand(1 + ndim, generator=g, dtype=torch.float64)
        edge = torch.exp((low + (high - low) * u[0]) / ndim)
        move = one[:, -1] + (2 * u[1:] - 1) * (1 - edge) * n / 2
        out.append(torch.cat([one[:, :-1] * (edge * n / m), move[:, None]], 1))
    return torch.stack(out).float()


def apply_affine(
    image: Tensor, maps: Tensor, *, nearest: bool = False, fill: float | Tensor = 0.0,
    size: tuple[int, ...] | None = None,
) -> Tensor:  # fmt: skip
    """Resample (B, C, *n) to (B, C, *size) by voxel-space maps; outside is `fill`, one or per sample."""
    size = tuple(size or image.shape[2:])
    if size == tuple(image.shape[2:]) and torch.equal(maps, _identity(maps)):
        return image
    n = torch.tensor(image.shape[2:], dtype=maps.dtype, device=maps.device)
    m = torch.tensor(size, dtype=maps.dtype, device=maps.device)
    # torch's grids run over (x, y, z) = last axis first, in units of half the size.
    matrix = maps[:, :, :-1] * m[None, None, :] / n[None, :, None]
    move = maps[:, :, -1:] * 2 / n[None, :, None]
    theta = torch.cat([matrix.flip(1, 2), move.flip(1)], dim=2).to(image.device, image.dtype)
    grid = affine_grid(theta, [*image.shape[:2], *size], align_corners=False)
    mode = "nearest" if nearest else "bilinear"
    return (
        grid_sample(image - fill, grid, mode=mode, padding_mode="zeros", align_corners=False) + fill
    )


def _identity(maps: Tensor) -> Tensor:
    ndim = maps.shape[1]
    return torch.eye(ndim, ndim + 1, dtype=maps.dtype, device=maps.device).expand_as(maps)
