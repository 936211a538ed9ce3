"""Are two images one image, but for shift, scale, rotation, window and noise?

Pairs are laid over each other by an affine map (Gauss-Newton on standardised intensities: Lucas and
Kanade 1981, Evangelidis and Psarakis 2008), many pairs at once. What is left is judged by the
correlation within small windows, weighted by how much there is to see in them: it does not mind
how grey values were mapped, and tells neighbouring slices apart.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.curation import windows

STEPS = 8
DAMPING = 1e-3
WINDOW = {2: 7, 3: 5}
PAIRS = {2: 256, 3: 16}  # at a time
LEAST_OVERLAP = 0.6
MOST = 0.35  # no number of an affine map is further from identity, unless it has lost its way


def alike(a: Tensor, b: Tensor) -> Tensor:
    """Local correlation of each pair after alignment, at most 1. a, b: uint8 (pairs, *spatial)."""
    few = PAIRS[a.ndim - 1]
    parts = zip(a.split(few), b.split(few), strict=True)
    return torch.cat([_alike(*some) for some in parts]) if len(a) else torch.zeros(0)


def _alike(a: Tensor, b: Tensor) -> Tensor:
    a, b = (_smooth(x[:, None].float()) for x in (a, b))
    moved, inside = _align(a, b)
    before, after = _correlation(a, b, torch.ones_like(a)), _correlation(a, moved, inside)
    enough = inside.flatten(1).mean(1) >= LEAST_OVERLAP
    return torch.where(enough, torch.maximum(before, after), before)


def _smooth(x: Tensor) -> Tensor:
    axes = x.ndim - 2
    pool = F.avg_pool2d if axes == 2 else F.avg_pool3d
    return pool(x, 3, 1, 1, count_include_pad=False)


def _align(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """b laid over a, and where it came from inside b: (pairs, 1, *spatial) each."""
    axes, count = a.ndim - 2, len(a)
    identity = torch.eye(axes, axes + 1).expand(count, -1, -1)
    theta, best, least = identity, identity, torch.full((count,), torch.inf)
    ones = torch.ones_like(b)
    places = F.affine_grid(identity[:1], [1, *a.shape[1:]], align_corners=False).reshape(-1, axes)
    places = torch.cat([places, torch.ones(len(places), 1)], 1)  # (voxels, axes + 1)
    squares = (places[:, :, None] * places[:, None]).flatten(1)
    for _ in range(STEPS):
        moved, inside = _moved(b, ones, theta)
        target, source = _standard(a, inside), _standard(moved, inside)
        rest = ((target - source) * inside).flatten(1)
        error = rest.square().sum(1) / inside.flatten(1).sum(1).clamp(min=1)
        better = error < least
        least, best = (
            torch.where(better, error, least),
            torch.where(better[:, None, None], theta, best),
        )
        slopes = _slopes(source) * inside.flatten(2)  # (pairs, axes, voxels)
        pairs = (slopes[:, :, None] * slopes[:, None]).flatten(1, 2)
        normal = (pairs @ squares).view(count, axes, axes, axes + 1, axes + 1)
        normal = normal.transpose(2, 3).reshape(count, axes * (axes + 1), -1)
        normal += torch.diag_embed(DAMPING * normal.diagonal(dim1=1, dim2=2) + 1e-3)
        right = ((slopes * rest[:, None]) @ places).view(count, -1, 1)
        theta = theta + torch.linalg.solve(normal, right).view(count, axes, axes + 1)
        lost = (theta - identity).abs().amax((1, 2)) > MOST
        theta = torch.where(lost[:, None, None], identity, theta)
    return _moved(b, ones, best)


def _moved(b: Tensor, ones: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    grid = F.affine_grid(theta, list(b.shape), align_corners=False)
    moved = F.grid_sample(b, grid, align_corners=False, padding_mode="border")
    return moved, (F.grid_sample(ones, grid, align_corners=False) > 0.99).float()


def _standard(x: Tensor, inside: Tensor) -> Tensor:
    dims = tuple(range(1, x.ndim))
    total = inside.sum(dims, keepdim=True).clamp(min=1)
    x = x - (x * inside).sum(dims, keepdim=True) / total
    return x / ((x.square() * inside).sum(dims, keepdim=True) / total).sqrt().clamp(min=1e-6)


def _slopes(x: Tensor) -> Tensor:
    """Derivatives by the coordinates of a grid (-1 to 1), x first: (pairs, axes, voxels)."""
    axes = range(x.ndim - 1, 1, -1)
    found = [torch.gradient(x, dim=axis)[0].flatten(1) * (x.shape[axis] / 2) for axis in axes]
    return torch.stack(found, 1)


def _correlation(a: Tensor, b: Tensor, inside: Tensor) -> Tensor:
    """Mean correlation over windows, weighted by both standard deviations; 0 where all is flat."""
    side = WINDOW[a.ndim - 2]
    mean_a, mean_b, covered, shared, square_a, square_b = (
        windows.means(x, side).flatten(1) for x in (a, b, inside, a * b, a * a, b * b)
    )
    variance_a = (square_a - mean_a.square()).clamp(min=0)
    variance_b = (square_b - mean_b.square()).clamp(min=0)
    deviations = (variance_a * variance_b).sqrt()
    correlation = (shared - mean_a * mean_b) / deviations.clamp(min=1)
    weight = deviations * covered
    return (correlation * weight).sum(1) / weight.sum(1).clamp(min=1e-6)
