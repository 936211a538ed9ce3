"""Smooth brightness over the image, as a coil or an X-ray tube gives it: exp of a polynomial."""

import math

import numpy as np
import torch
from torch import Tensor

from medssl.augment.samples import for_some, of_each, uniform
from medssl.augment.separable import along

DEGREE = 3


def draw_bias(
    seeds: Tensor, ndim: int, *, largest: float, probability: float = 1.0
) -> Tensor:  # fmt: skip
    """Coefficients (B, 4, ..., 4) of products of Legendre polynomials up to degree 3 together.

    Nowhere brighter or darker than by a factor of 1 + largest; that limit's logarithm is uniform.
    Zero where there is no field.
    """
    shape = [DEGREE + 1] * ndim
    u = uniform(seeds, "bias", 2 + math.prod(shape))
    degree = torch.from_numpy(np.indices(shape).sum(0))
    wanted = (degree > 0) & (degree <= DEGREE)
    coefficients = torch.where(wanted, (2 * u[:, 2:] - 1).view(-1, *shape), 0.0)
    # Polynomials of degree 3 are all but largest somewhere on 9 points an axis.
    top = field(coefficients, (9,) * ndim).abs().flatten(1).amax(1)
    strength = math.log1p(largest) * u[:, 1] * (u[:, 0] < probability) / top
    return coefficients * strength.view(-1, *[1] * ndim)


def apply_bias(image: Tensor, coefficients: Tensor, floor: float | Tensor = 0.0) -> Tensor:
    """floor + (x - floor) exp(field) for (B, C, *n): what is as dark as `floor` stays so.

    floor  one value, or one a sample (B, 1, 1, ...) or channel (B, C, 1, ...)
    """
    floor = of_each(floor, image)

    def work(some: Tensor, rows: Tensor) -> Tensor:
        low = floor[rows.to(image.device)]
        shape = tuple(image.shape[2:])
        factor = field(coefficients[rows].to(image.device, image.dtype), shape).exp_()
        return (some - low).mul_(factor[:, None]).add_(low)

    return for_some(image, (coefficients != 0).flatten(1).any(1), work)


def field(coefficients: Tensor, size: tuple[int, ...]) -> Tensor:
    """The polynomial (B, *size); first and last voxels lie at -1 and 1."""
    rows = [
        torch.from_numpy(np.polynomial.legendre.legvander(np.linspace(-1, 1, n), DEGREE))
        for n in size
    ]
    return along(coefficients[:, None], [r[None] for r in rows])[:, 0]
