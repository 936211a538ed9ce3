"""Random masks over a grid of patches, and the way between images and patches."""

import math

import torch
from torch import Tensor

from medssl.errors import UserError


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


def checked_cells(
    size: tuple[int, ...], cell: tuple[int, ...], ratio: float, what: str,
    step: tuple[int, ...] | None = None,
) -> tuple[int, ...]:  # fmt: skip
    """Cells along each axis of a mask over `size` voxels; cells that it advises are multiples of `step`.

    Raises UserError when they do not divide it, or the ratio leaves all or none of them visible.
    """
    if any(s % c for s, c in zip(size, cell, strict=True)):
        nearest = list(block_size(size, round(sum(cell) / len(cell)), step or (1,) * len(cell)))
        cause = f"{list(cell)} does not divide method.size {list(size)}"
        raise UserError("CONFIG", what, cause, f"use {nearest}, or another size")
    grid = tuple(s // c for s, c in zip(size, cell, strict=True))
    try:
        n_visible(math.prod(grid), ratio)
    except ValueError as error:
        fix = f"choose a share that hides some, not all, of {math.prod(grid)} cells"
        raise UserError("CONFIG", "method.mask_ratio", str(error), fix) from error
    return grid


def block_size(size: tuple[int, ...], wanted: int, step: tuple[int, ...]) -> tuple[int, ...]:
    """Blocks near `wanted` voxels an axis: multiples of `step` that divide `size`, at least twice.

    An axis that cannot hold two is left whole.
    """
    chosen = []
    for n, s in zip(size, step, strict=True):
        fitting = [k for k in range(s, n // 2 + 1, s) if n % k == 0] or [n]
        chosen.append(min(fitting, key=lambda k: abs(k - wanted)))
    return tuple(chosen)


def split_places(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of the visible and of the masked cells of (B, 1, *grid): (B, n) and (B, L - n).

    Both ascend. Every sample must mask the same number.
    """
    flat = mask.flatten(1)
    order = flat.byte().argsort(dim=1, stable=True)
    masked = int(flat[0].sum())
    return order.tensor_split([flat.shape[1] - masked], 1)


def take(tokens: Tensor, places: Tensor) -> Tensor:
    """Tokens (B, n, width) of (B, L, width) by their numbers (B, n)."""
    b, n, width = tokens.shape
    rows = places + n * torch.arange(b, device=places.device)[:, None]
    return tokens.reshape(b * n, width).index_select(0, rows.flatten()).view(b, -1, width)


def patchify(image: Tensor, patch: tuple[int, ...], kept: Tensor | None = None) -> Tensor:
    """(B, C, *size) to (B, L, prod(patch) * C); tokens row-major over the grid, channels last.

    With `kept` (B, n), only the patches of these numbers; no others are copied.
    """
    b, c, *size = image.shape
    k = len(patch)
    grid = [s // p for s, p in zip(size, patch, strict=True)]
    split = [n for pair in zip(grid, patch, strict=True) for n in pair]
    grid_axes, patch_axes = [2 + 2 * i for i in range(k)], [3 + 2 * i for i in range(k)]
    x = image.reshape(b, c, *split).permute(0, *grid_axes, *patch_axes, 1)
    if kept is not None:
        rows = torch.arange(b, device=kept.device)[:, None]
        x = x[(rows, *torch.unravel_index(kept, grid))]
    return x.reshape(b, -1, math.prod(patch) * c)


def unpatchify(tokens: Tensor, patch: tuple[int, ...], grid: tuple[int, ...]) -> Tensor:
    """The inverse of `patchify`."""
    b, _, width = tokens.shape
    k, c = len(patch), width // math.prod(patch)
    x = tokens.reshape(b, *grid, *patch, c)
    order = [0, 1 + 2 * k] + [axis for i in range(k) for axis in (1 + i, 1 + k + i)]
    size = [g * p for g, p in zip(grid, patch, strict=True)]
    return x.permute(*order).reshape(b, c, *size)
