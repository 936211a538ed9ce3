"""Hashes of images: a few bits of what an image looks like, compared by how many differ.

Average and perceptual hash as by Krawetz, "Looks Like It" (2011); difference hash as by the same author,
"Kind of Like That" (2013). Images of 8 bits give the very bits of the package imagehash.
"""

import numpy as np
from scipy.fft import dct
from torch import Tensor

from medssl.curation.resampling import resized

# Bits of an image are SIDE ** axes: 64 for slices and films, 64 for volumes.
SIDE = {2: 8, 3: 4}
FREQUENCIES = 4  # the perceptual hash looks at an image this many times as fine


def average_hash(images: Tensor) -> np.ndarray:
    """Is a pixel brighter than the mean? uint8 (N, *spatial) to uint64 (N,)."""
    pixels = _small(images, 0).reshape(len(images), -1)
    total = pixels.sum(1, keepdims=True, dtype=np.int64)
    return _packed(pixels.astype(np.int64) * pixels.shape[1] > total)


def difference_hash(images: Tensor) -> np.ndarray:
    """Is a pixel brighter than the one before it on the last axis? uint8 (N, *spatial) to uint64 (N,)."""
    pixels = _small(images, 1)
    return _packed(pixels[..., 1:] > pixels[..., :-1])


def perceptual_hash(images: Tensor) -> np.ndarray:
    """Is a low frequency stronger than their median? uint8 (N, *spatial) to uint64 (N,)."""
    axes = images.ndim - 1
    side = SIDE[axes]
    found = resized(images, (side * FREQUENCIES,) * axes).numpy().astype(np.float64)
    for axis in range(1, axes + 1):
        found = dct(found, axis=axis)
    low = found[(slice(None), *[slice(side)] * axes)].reshape(len(images), -1)
    return _packed(low > np.median(low, axis=1, keepdims=True))


HASHES = {"ahash": average_hash, "dhash": difference_hash, "phash": perceptual_hash}


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Bits that differ: uint64 of shapes that broadcast to uint8."""
    return np.bitwise_count(a ^ b)


def _small(images: Tensor, more: int) -> np.ndarray:
    axes = images.ndim - 1
    side = SIDE[axes]
    return resized(images, (*[side] * (axes - 1), side + more)).numpy()


def _packed(bits: np.ndarray) -> np.ndarray:
    """bool (N, ...) of 64 values each to uint64 (N,), the first bit the highest."""
    octets = np.packbits(bits.reshape(len(bits), -1), axis=1)
    return np.ascontiguousarray(octets).view(">u8")[:, 0].astype(np.uint64)
