"""Pillow's Lanczos resizing of 8-bit images, to the bit, for many images at once.

Hashes are compared with those of other tools, so that every pixel has to be theirs. Pillow resizes one
axis after the other with weights of 22 fractional bits, and rounds to 8 bits between. As a product
of integer matrices that is one call for a thousand slices.
"""

import platform
from functools import lru_cache
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

BITS = 22
LOBES = 3
# Weights travel as digits of 7 bits: products of bytes are then summed exactly on every processor,
# where some saturate pairs of larger ones.
DIGIT = 7
BLOCK = 1 << 23  # bytes of images at a time; smaller blocks pay for calls, larger ones for memory
FLOATS = platform.machine() in ("x86_64", "AMD64") and torch.backends.mkldnn.is_available()


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
    length = images.shape[-1]
    if length == 1:
        return images.expand(*images.shape[:-1], n)  # and _int_mm errs where one number is summed
    rows = images.reshape(-1, length)
    pixels = _by_floats(rows, n) if FLOATS and _exact(_digits(length, n)) else _by_integers(rows, n)
    return pixels.view(*images.shape[:-1], n)


def _by_integers(rows: Tensor, n: int) -> Tensor:
    """uint8 (R, length) to uint8 (R, n), on any processor."""
    digits = _digits(rows.shape[-1], n)
    signed = (rows ^ 128).view(torch.int8)  # 0..255 as -128..127
    found = torch._int_mm(signed, torch.from_numpy(np.concatenate(digits)).T)
    sums, *others = found.view(len(rows), len(digits), n).unbind(1)
    for more in others:
        sums = more.add_(sums, alpha=1 << DIGIT)
    offset = lanczos(rows.shape[-1], n).sum(1) * 128 + (1 << (BITS - 1))  # for ^ 128, and to round
    sums += torch.from_numpy(offset.astype(np.int32))
    return (sums >> BITS).clamp_(0, 255).to(torch.uint8)


def _by_floats(rows: Tensor, n: int) -> Tensor:
    """The same in half the time: oneDNN takes bytes without a sign, and hands sums out as floats.

    Sums come in pixels, those of the last digit in units of the one before: what is added is then a
    multiple of 2^(DIGIT - BITS), and nothing is rounded.
    """
    packed, scales, zeros, half = _packed(rows.shape[-1], n)
    found = torch.ops.onednn.qlinear_pointwise(
        rows, 1.0, 0, packed, scales, zeros, half, 1.0, 0, torch.float32, "none", [], ""
    )
    sums, *others, last = found.view(len(rows), -1, n).unbind(1)
    sums = sum(others, sums).add_(last.floor(), alpha=2.0 ** (DIGIT - BITS))
    return sums.clamp_(0, 255).to(torch.uint8)


@lru_cache(maxsize=64)
def _packed(length: int, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Digits as oneDNN lays them out, what their sums are multiplied by, zeros, and what is added."""
    digits = _digits(length, n)
    places = [DIGIT * i - BITS for i in reversed(range(1, len(digits)))]
    scales = torch.tensor([2.0**i for i in [*places, -DIGIT]]).repeat_interleave(n)
    half = torch.zeros(len(scales))
    half[:n] = 0.5  # to round
    stacked = torch.from_numpy(np.concatenate(digits))
    zeros = torch.zeros(len(scales), dtype=torch.int64)
    return torch.ops.onednn.qlinear_prepack(stacked, None), scales, zeros, half


@lru_cache(maxsize=64)
def _digits(length: int, n: int) -> list[np.ndarray]:
    """Weights as digits, int8 (n, length) each, the highest first."""
    digits, rest, half = [], lanczos(length, n), 1 << (DIGIT - 1)
    while rest.any():
        digits.insert(0, ((rest + half) % (1 << DIGIT) - half).astype(np.int8))
        rest = (rest - digits[0]) >> DIGIT
    return digits


def _exact(digits: list[np.ndarray]) -> bool:
    """Whether no sum of `_by_floats` can need more than the 24 bits that a float32 holds."""
    higher = list(
        accumulate(
            digits[:-1],
            lambda sums, digit: sums * (1 << DIGIT) + digit,
            initial=np.zeros((), np.int64),
        )
    )
    largest = max(
        np.abs(weights).sum(-1).max() for weights in (*higher, digits[-1].astype(np.int64))
    )
    return len(digits) > 1 and 255 * largest + (1 << (BITS - DIGIT)) < 1 << 24


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
