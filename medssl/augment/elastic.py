"""A smooth displacement field from a coarse grid of control points."""

import torch
from torch import Tensor

from medssl.augment.samples import uniform
from medssl.augment.separable import along

# Below 0.40 of the distance of control points a cubic B-spline field in 3D cannot fold (0.48 in 2D):
# Choi and Lee, "Injectivity conditions of 2D and 3D uniform cubic B-spline functions", 2000.
FOLDS = 0.4


def draw_elastic(
    seeds: Tensor, size: tuple[int, ...], *, largest: float, spacing: float
) -> Tensor:  # fmt: skip
    """Control points (B, ndim, *points) float64: displacements in voxels of the output of `size`.

    largest  no voxel moves further along an axis; each sample's own limit is uniform in 0..largest,
             and never so large that the image folds
    spacing  voxels between control points, or as many more as divide the size evenly
    """
    ndim = len(size)
    points = [max(1, int(n // spacing)) + 3 for n in size]
    u = uniform(seeds, "elastic", 1 + ndim * torch.Size(points).numel())
    cells = torch.tensor([n / (p - 3) for n, p in zip(size, points, strict=True)])
    limit = (FOLDS * cells.min()).clamp(max=largest).double()
    control = (2 * u[:, 1:] - 1) * u[:, :1] * limit
    return control.view(-1, ndim, *points)


def displacement(control: Tensor, size: tuple[int, ...]) -> Tensor:
    """The field (B, ndim, *size) that control points (B, ndim, *points) stand for."""
    return along(
        control, [spline(n, p)[None] for n, p in zip(size, control.shape[2:], strict=True)]
    )


def spline(n: int, points: int) -> Tensor:
    """Weights (n, points) of a uniform cubic B-spline at n voxel centres; rows sum to 1.

    The first and far edges of the axis lie on the second and the last but one control point.
    """
    place = (torch.arange(n, dtype=torch.float64) + 0.5) * (points - 3) / n + 1
    distance = (place[:, None] - torch.arange(points)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    return torch.where(distance < 1, near, (2 - distance).clamp(min=0) ** 3 / 6)
