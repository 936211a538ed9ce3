"""Numbers drawn for each sample from its own seed, and work done on some samples of a batch only."""

from collections.abc import Callable

import torch
from torch import Tensor

from medssl.seeding import torch_generator


def uniform(seeds: Tensor, purpose: str, n: int) -> Tensor:
    """(B, n) float64 in [0, 1), a function of each seed and of the purpose, on the CPU."""
    drawn = torch.empty(len(seeds), n, dtype=torch.float64)
    for row, seed in zip(drawn, seeds.tolist(), strict=True):
        row.uniform_(generator=torch_generator(seed, f"augment.{purpose}"))
    return drawn


def for_some(image: Tensor, part: Tensor, work: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`image` with `work(image[rows], rows)` in place of the rows where `part` (B,) is True.

    `part` and rows lie on the CPU, so that nothing waits for the device; nothing is copied if none
    or all take part.
    """
    rows = part.nonzero()[:, 0]
    if len(rows) == 0:
        return image
    if len(rows) == len(image):
        return work(image, rows)
    there = rows.to(image.device)
    return image.index_copy(0, there, work(image[there], rows))


def of_each(value: float | Tensor, image: Tensor) -> Tensor:
    """One value for all, a sample (B, 1, 1, ...) or a channel (B, C, 1, ...), as (B, C, 1, ...)."""
    value = torch.as_tensor(value, dtype=image.dtype, device=image.device)
    return value.expand(*image.shape[:2], *[1] * (image.ndim - 2))


def beside(parameter: Tensor, image: Tensor) -> Tensor:
    """One value a sample (B,) on the image's device, in its type, as (B, 1, ..., 1)."""
    return parameter.to(image.device, image.dtype).view(-1, *[1] * (image.ndim - 1))
