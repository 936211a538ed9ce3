"""Gaussian blur, its width drawn for each sample and axis."""

import math

import torch
from torch import Tensor

from medssl.augment.samples import for_some, uniform
from medssl.augment.separable import along

REACH = 5.5  # standard deviations; all weights beyond are less than what float32 rounds off
NARROW = 2.0  # voxels up to which a CPU adds shifted copies faster than it multiplies matrices


def draw_blur(
    seeds: Tensor, ndim: int, *, largest: float, probability: float = 1.0
) -> Tensor:  # fmt: skip
    """Standard deviations (B, ndim) in voxels, uniform in 0..largest; 0 where there is no blur."""
    u = uniform(seeds, "blur", 1 + ndim)
    return torch.where(u[:, :1] < probability, largest * u[:, 1:], 0.0)


def apply_blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Blur (B, C, *n) by sigma (B, ndim) voxels. Weights outside the image go to those inside."""

    def filtered(some: Tensor, rows: Tensor) -> Tensor:
        widths = sigma[rows].to(image.device, image.dtype).unbind(1)
        return along(some, [gaussian(s, n) for s, n in zip(widths, image.shape[2:], strict=True)])

    def shifted(some: Tensor, rows: Tensor) -> Tensor:
        out = torch.empty_like(some, memory_format=torch.contiguous_format)
        for sample, widths, to in zip(some, sigma[rows].tolist(), out, strict=True):
            _shifted(sample, widths, to)
        return out

    # By each sample's own width, so that those beside it in a batch change none of its bits.
    some, narrow = (sigma > 0).any(1), (sigma.amax(1) <= NARROW) & image.is_cpu
    return for_some(for_some(image, some & ~narrow, filtered), some & narrow, shifted)


def gaussian(sigma: Tensor, n: int) -> Tensor:
    """Matrices (B, n, n) that blur an axis of n voxels by sigma (B,); rows sum to 1."""
    index = torch.arange(n, dtype=sigma.dtype, device=sigma.device)
    distance = (index[:, None] - index) / sigma.clamp(min=1e-3)[:, None, None]
    # Weights below exp(-32) are 0: numbers too small for a processor to be fast cost a factor of 3.
    return torch.softmax((-(distance**2) / 2).masked_fill(distance.abs() > 8, -torch.inf), -1)


def _shifted(sample: Tensor, sigma: list[float], out: Tensor) -> None:
    """Fills `out` with a sample (C, *n) blurred: copies of it, each shifted and weighted, are added."""
    spare = torch.empty_like(out)
    for axis, width in enumerate(sigma, start=1):
        blurred, n = (out, spare)[(len(sigma) - axis) % 2], sample.shape[axis]
        blurred.copy_(sample)
        total = torch.ones(n, dtype=torch.float64)  # of weights, for each place
        for shift in range(1, min(n, int(REACH * width) + 1)):
            weight, left = math.exp(-((shift / width) ** 2) / 2), n - shift
            for here, there in ((0, shift), (shift, 0)):
                part = sample.narrow(axis, there, left)
                blurred.narrow(axis, here, left).add_(part, alpha=weight)
                total.narrow(0, here, left).add_(weight)
        sample = blurred.div_(total.to(blurred).view(-1, *[1] * (len(sigma) - axis)))
