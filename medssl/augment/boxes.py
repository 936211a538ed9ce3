"""Boxes of a drawn volume and shape, anywhere inside: for crops and for cutting out."""

import torch
from torch import Tensor


def boxes(share: Tensor, aspect: float, shape: Tensor, place: Tensor) -> Tensor:
    """First and far edges (..., 2, ndim), each 0..1 of the size, of boxes inside it.

    share   (...) of the volume or area, kept exactly
    aspect  sides are stretched by up to 1 + this against each other, less where there is no room
    shape, place  uniform draws (..., ndim)
    """
    ndim = shape.shape[-1]
    room = -torch.log(share.double())[..., None] / ndim  # what a side may grow, as a logarithm
    stretch = torch.log1p(torch.tensor(aspect, dtype=torch.float64)) * (2 * shape - 1)
    stretch = stretch - stretch.mean(-1, keepdim=True)
    stretch = stretch * (room / stretch.amax(-1, keepdim=True).clamp(min=1e-12)).clamp(max=1)
    side = torch.exp(stretch - room)
    low = place * (1 - side)
    return torch.stack([low, low + side], -2)
