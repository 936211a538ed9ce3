"""Boxes cut out of the image."""

import torch
from torch import Tensor

from medssl.augment.boxes import boxes
from medssl.augment.samples import for_some, of_each, uniform

ASPECT = 1.0  # sides differ by up to a factor of two from a cube's, where there is room


def draw_cutout(
    seeds: Tensor, ndim: int, *, largest: float, count: int = 1, probability: float = 1.0
) -> Tensor:
    """First and far edges (B, count, 2, ndim) of boxes, each 0..1 of the size; equal: no box.

    largest  share of the volume of all boxes together, each sample's own uniform in 0..largest;
             boxes may lie one over another
    """
    u = uniform(seeds, "cutout", 2 + 2 * count * ndim)
    shape, place = u[:, 2:].view(-1, 2, count, ndim).unbind(1)
    found = boxes((largest * u[:, 1:2] / count).expand(-1, count), ASPECT, shape, place)
    return torch.where((u[:, 0] < probability)[:, None, None, None], found, 0.0)


def apply_cutout(image: Tensor, cut: Tensor, fill: float | Tensor = 0.0) -> Tensor:
    """(B, C, *n) with `fill`, one value, a sample's or a channel's, where a voxel's centre lies in a box."""
    fill = of_each(fill, image)

    def work(some: Tensor, rows: Tensor) -> Tensor:
        low = fill[rows.to(image.device)]
        for box in cut[rows].to(image.device).unbind(1):
            some = torch.where(_inside(box, tuple(image.shape[2:]))[:, None], low, some)
        return some

    return for_some(image, (cut[..., 0, :] < cut[..., 1, :]).flatten(1).any(1), work)


def _inside(box: Tensor, size: tuple[int, ...]) -> Tensor:
    """(B, *size), True for voxels whose centre lies in the box (B, 2, ndim)."""
    inside = torch.ones((), dtype=torch.bool, device=box.device)
    for axis, n in enumerate(size):
        centre = (torch.arange(n, dtype=box.dtype, device=box.device) + 0.5) / n
        on = (centre >= box[:, :1, axis]) & (centre < box[:, 1:, axis])
        inside = inside & on.view(-1, *[n if a == axis else 1 for a in range(len(size))])
    return inside
