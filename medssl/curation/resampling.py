"""Pillow's Lanczos resizing of 8-bit images, to the bit, for many images at once.

Hashes are compared with those of other tools, so that every pixel has to be theirs. Pillow resizes one
axis after the other with weights of 22 fractional bits, and rounds to 8 bits between. As a product
of integer matrices that is one call for a thousand slices.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

BITS = 22
LOBES = 3
# Weights travel as digits of 7 bits: products of bytes are then summed exactly on every processor,
# where some saturate pairs of larger ones.
DIGIT = 7
BLOCK = 1 << 23  # bytes of images at a time; smaller blocks pay for calls, larger ones for memory


def resized(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """uint8 (N, *spatial) to uint8 (N, *size)."""
    few = max(1, BLOCK // max(1, images[0].numel())) if len(images) else 1
    return torch.cat([_resized(some, size) for some in images.split(few)])


def _resized(images: Tensor, size: tuple[int, ...]) -> Tensor:
    axes = list(range(len(size), 0, -1))
    if len(size) == 2 and _height_first(*images.shape[1:], *size):
        axes.reverse()
    for axis in axes:
        if images.shape[axis] != size[axis - 1]:
            images = _last(images.movedim(axis, -1), size[axis - 1]).movedim(-1, axis)
    return images


def _height_first(height: int, width: int, to_height: int, to_width: int) -> bool:
    """Pillow 13 begins with the width, unless the height loses over twice as many pixels."""
    return height > to_height and height - to_height > 2 * (width - to_width)


def _last(images: Tensor, n: int) -> Tensor:
    """uint8 (*others, length) to uint8 (*others, n)."""
    if images.shape[-1] == 1:
        return images.expand(*images.shape[:-1], n)  # and _int_mm errs where one number is summed
    digits, offset = _digits(images.shape[-1], n)
    rows = images.reshape(-1, images.shape[-1])
    signed = (rows ^ 128).view(torch.int8)  # 0..255 as -128..127
    found = torch._int_mm(digits, signed.T).view(-1, n, len(rows))
    sums = found[0]
    for more in found[1:]:
        sums = more.add_(sums, alpha=1 << DIGIT)
    sums += offset
    pixels = (sums >> BITS).clamp_(0, 255).to(torch.uint8)
    return pixels.view(n, *images.shape[:-1]).movedim(0, -1)


@lru_cache(maxsize=64)
def _digits(n: int, m: int) -> tuple[Tensor, Tensor]:
    """Weights as int8 digits (digits * m, n), the highest first; what is added to their sums (m, 1)."""
    weights = lanczos(n, m)
    offset = weights.sum(1, keepdims=True) * 128 + (1 << (BITS - 1))  # for ^ 128, and to round
    digits, rest, half = [], weights, 1 << (DIGIT - 1)
    while rest.any():
        digits.insert(0, (rest + half) % (1 << DIGIT) - half)
        rest = (rest - digits[0]) >> DIGIT
    stacked = torch.from_numpy(np.concatenate(digits).astype(np.int8))
    return stacked, torch.from_numpy(offset.astype(np.int32))


def lanczos(n: int, m: int) -> np.ndarray:
    """Weights int64 (m, n) with which n pixels make m, in units of 2^-22; widened when shrinking."""
    step = n / m
    wide = max(step, 1.0)
    weights = np.zeros((m, n), np.int64)
    for i in range(m):
        centre = (i + 0.5) * step
        low = max(int(centre - LOBES * wide + 0.5), 0)
        high = min(int(centre + LOBES * wide + 0.5), n)
        x = (np.arange(low, high) - centre + 0.5) / wide
        share = np.where(np.abs(x) < LOBES, np.sinc(x) * np.sinc(x / LOBES), 0.0)
        share /= np.add.accumulate(share)[
            -1
        ]  # summed in order: the last bit decides some roundings
        scaled = share * (1 << BITS)
        weights[i, low:high] = np.trunc(scaled + np.where(scaled < 0, -0.5, 0.5))
    return weights
