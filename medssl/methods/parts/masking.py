"""Random masks over a grid of patches, and the way between images and patches."""

import math

import torch
from torch import Tensor


def n_visible(n: int, ratio: float) -> int:
    """How many of `n` patches stay visible when a share `ratio` is masked: round(n (1 - ratio)).

    `int` instead of `round` would lose a patch to floating point (n=1000, ratio=0.9 gives 99).
    Raises ValueError when nothing or everything would stay visible.
    """
    keep = round(n * (1 - ratio))
    if not 0 < keep < n:
        raise ValueError(f"mask ratio {ratio} leaves {keep} of {n} patches visible")
    return keep


def random_mask(seeds: Tensor, grid: tuple[int, ...], ratio: float) -> Tensor:
    """Bool (B, 1, *grid), True = masked, uniformly at random, the same number in every sample."""
    n = math.prod(grid)
    keep = n_visible(n, ratio)
    masks = torch.ones(len(seeds), n, dtype=torch.bool)
    for row, seed in zip(masks, seeds.tolist(), strict=True):
        row[torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:keep]] = False
    return masks.view(len(seeds), 1, *grid)


def patchify(image: Tensor, patch: tuple[int, ...]) -> Tensor:
    """(B, C, *size) to (B, L, prod(patch) * C); tokens row-major over the grid, channels last."""
    b, c, *size = image.shape
    k = len(patch)
    split = [n for s, p in zip(size, patch, strict=True) for n in (s // p, p)]
    x = image.reshape(b, c, *split)
    grid_axes, patch_axes = [2 + 2 * i for i in range(k)], [3 + 2 * i for i in range(k)]
    x = x.permute(0, *grid_axes, *patch_axes, 1)
    return x.reshape(b, -1, math.prod(patch) * c)


def unpatchify(tokens: Tensor, patch: tuple[int, ...], grid: tuple[int, ...]) -> Tensor:
    """The inverse of `patchify`."""
    b, _, width = tokens.shape
    k, c = len(patch), width // math.prod(patch)
    x = tokens.reshape(b, *grid, *patch, c)
    order = [0, 1 + 2 * k] + [axis for i in range(k) for axis in (1 + i, 1 + k + i)]
    size = [g * p for g, p in zip(grid, patch, strict=True)]
    return x.permute(*order).reshape(b, c, *size)
