"""Gaussian blur, its width drawn for each sample and axis."""

import torch
from torch import Tensor

from medssl.augment.samples import for_some, uniform
from medssl.augment.separable import along


def draw_blur(
    seeds: Tensor, ndim: int, *, largest: float, probability: float = 1.0
) -> Tensor:  # fmt: skip
    """Standard deviations (B, ndim) in voxels, uniform in 0..largest; 0 where there is no blur."""
    u = uniform(seeds, "blur", 1 + ndim)
    return torch.where(u[:, :1] < probability, largest * u[:, 1:], 0.0)


def apply_blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Blur (B, C, *n) by sigma (B, ndim) voxels. Weights outside the image go to those inside."""

    def work(some: Tensor, rows: Tensor) -> Tensor:
        widths = sigma[rows].to(image.device, image.dtype).unbind(1)
        return along(some, [gaussian(s, n) for s, n in zip(widths, image.shape[2:], strict=True)])

    return for_some(image, (sigma > 0).any(1), work)


def gaussian(sigma: Tensor, n: int) -> Tensor:
    """Matrices (B, n, n) that blur an axis of n voxels by sigma (B,); rows sum to 1."""
    index = torch.arange(n, dtype=sigma.dtype, device=sigma.device)
    distance = (index[:, None] - index) / sigma.clamp(min=1e-3)[:, None, None]
    # Weights below exp(-32) are 0: numbers too small for a processor to be fast cost a factor of 3.
    return torch.softmax((-(distance**2) / 2).masked_fill(distance.abs() > 8, -torch.inf), -1)
