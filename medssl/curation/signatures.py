"""What of images is compared, and how far two of them are apart.

A signature is a class with `threshold` (the distance up to which two images are near copies unless told
otherwise), `most` (the largest distance there is), `unit`, and

    of(images, value_range)   images float32 (N, C, *spatial) of one scan, in anatomical order,
                              to an array (N, ...): what is kept of them
    rows(array)               distances: `rows(array)(i, others)` is float32 (len(others),)
"""

from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from medssl.config import Count
from medssl.curation import hashes, windows
from medssl.curation.resampling import resized
from medssl.curation.selection import Rows

SIGNATURES = {
    "every": "medssl.curation.signatures:Every",
    "ahash": "medssl.curation.signatures:AverageHash",
    "dhash": "medssl.curation.signatures:DifferenceHash",
    "phash": "medssl.curation.signatures:PerceptualHash",
    "ssim": "medssl.curation.signatures:Ssim",
    "nmi": "medssl.curation.signatures:MutualInformation",
    "embedding": "medssl.curation.embedding:Embedding",
}


class Every:
    """Place along the slice axis: a threshold of n - 1 keeps every n-th slice."""

    threshold, most, unit = 1.0, 1e5, "slices"  # more than a volume has

    def of(self, images: Tensor, value_range: tuple[float, float]) -> np.ndarray:
        return np.arange(len(images), dtype=np.int32)

    def rows(self, array: np.ndarray) -> Rows:
        return lambda i, others: np.abs(array[others] - array[i]).astype(np.float32)


class Hash:
    """64 bits of an image; the distance is how many differ."""

    threshold, most, unit = 6.0, 64.0, "bits"
    kind: Callable[[Tensor], np.ndarray]

    def of(self, images: Tensor, value_range: tuple[float, float]) -> np.ndarray:
        return type(self).kind(as_bytes(images, value_range))

    def rows(self, array: np.ndarray) -> Rows:
        return lambda i, others: hashes.distances(array[others], array[i]).astype(np.float32)


class AverageHash(Hash):
    kind = staticmethod(hashes.average_hash)


class DifferenceHash(Hash):
    kind = staticmethod(hashes.difference_hash)


class PerceptualHash(Hash):
    kind = staticmethod(hashes.perceptual_hash)


class Ssim:
    """Structural similarity of small images (Wang et al., IEEE Trans. Image Process. 13:600, 2004).

    Windows of 7 with equal weights and sample covariance, as scikit-image has it; 1 - SSIM.
    """

    threshold, most, unit = 0.1, 2.0, "1 - SSIM"
    WINDOW = 7

    def __init__(self, *, side: Annotated[Count, "pixels along each axis, at least 7"] = 64):
        if side < self.WINDOW:
            raise ValueError(f"side={side} is smaller than the window of {self.WINDOW}")
        self.side = side

    def of(self, images: Tensor, value_range: tuple[float, float]) -> np.ndarray:
        return small(images, value_range, self.side)

    def rows(self, array: np.ndarray) -> Rows:
        mean, variance = self._moments(array)

        def row(i: int, others: np.ndarray) -> np.ndarray:
            found = [
                self._row(array, mean, variance, i, some)
                for some in in_parts(others, array[0].size)
            ]
            return np.concatenate(found) if found else np.zeros(0, np.float32)

        return row

    def _moments(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = [
            (self._pooled(x), self._pooled(x.square()))
            for x in map(_floats, in_parts(array, array[0].size))
        ]
        mean = np.concatenate([m for m, _ in parts])
        return mean, np.concatenate([square for _, square in parts]) - mean**2

    def _pooled(self, x: Tensor) -> np.ndarray:
        return windows.means(x[:, None], self.WINDOW)[:, 0].numpy()

    def _row(self, array, mean, variance, i: int, others: np.ndarray) -> np.ndarray:
        voxels = self.WINDOW ** (array.ndim - 1)
        sample = voxels / (voxels - 1)
        a, b = _floats(array[i : i + 1]), _floats(array[others])
        m, n = mean[i], mean[others]
        shared = sample * (self._pooled(a * b) - m * n)
        c1, c2 = 0.01**2, 0.03**2
        up = (2 * m * n + c1) * (2 * shared + c2)
        down = (m**2 + n**2 + c1) * (sample * (variance[i] + variance[others]) + c2)
        ssim = (up / down).reshape(len(others), -1).mean(1, dtype=np.float64)
        found = (1 - ssim).astype(np.float32)
        found[(array[others] == array[i]).reshape(len(others), -1).all(1)] = 0
        return found


class MutualInformation:
    """Normalised mutual information of small images (Studholme et al., Pattern Recognit. 32:71, 1999).

    (H(a) + H(b)) / H(a, b) is 1 for unrelated images and 2 for images that tell each other; the distance
    is what is missing to 2. Blind to how grey values are mapped. Of real MR films and volumes, copies that
    were re-windowed, noisy or JPEG lay within 0.55, other scans from 0.77, neighbouring slices of 2 mm
    mostly from 0.65.
    """

    threshold, most, unit = 0.6, 1.0, "2 - NMI"

    def __init__(
        self, *, side: Annotated[Count, "pixels along each axis"] = 64,
        bins: Annotated[Count, "grey values told apart, at most 256"] = 32,
    ):  # fmt: skip
        if not 2 <= bins <= 256:
            raise ValueError(f"bins={bins} is not within 2 to 256")
        self.side, self.bins = side, bins

    def of(self, images: Tensor, value_range: tuple[float, float]) -> np.ndarray:
        """Small images whose own range is divided into bins."""
        pixels = small(images, value_range, self.side).astype(np.float32)
        flat = pixels.reshape(len(pixels), -1)
        low, high = flat.min(1)[:, None], flat.max(1)[:, None]
        share = (flat - low) / np.maximum(high - low, 1)
        return np.minimum(share * self.bins, self.bins - 1).astype(np.uint8)

    def rows(self, array: np.ndarray) -> Rows:
        def row(i: int, others: np.ndarray) -> np.ndarray:
            found = [self._row(array[i], array[some]) for some in in_parts(others, array[0].size)]
            return np.concatenate(found) if found else np.zeros(0, np.float32)

        return row

    def _row(self, one: np.ndarray, many: np.ndarray) -> np.ndarray:
        cells = self.bins**2
        pairs = many.astype(np.int64) * self.bins + one
        pairs += np.arange(len(many))[:, None] * cells
        joint = np.bincount(pairs.ravel(), minlength=len(many) * cells)
        joint = joint.reshape(len(many), self.bins, self.bins) / one.size
        together = _entropy(joint.reshape(len(many), -1))
        apart = _entropy(joint.sum(1)) + _entropy(joint.sum(2))
        nmi = np.divide(
            apart, together, out=np.full(len(many), 2.0), where=together > 0
        )  # two constants
        return np.maximum(2 - nmi, 0).astype(np.float32)


def _entropy(shares: np.ndarray) -> np.ndarray:
    return -(shares * np.log(np.where(shares > 0, shares, 1))).sum(-1)


def as_bytes(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """float32 (N, C, *spatial) to uint8 (N, *spatial): mean channel, the store's whole range in 256 steps."""
    low, high = value_range
    grey = (images.mean(1) - low) * (255 / (high - low))
    return grey.round_().clamp_(0, 255).to(torch.uint8)


def small(images: Tensor, value_range: tuple[float, float], side: int) -> np.ndarray:
    """uint8 (N, *[side] * axes)."""
    return resized(as_bytes(images, value_range), (side,) * (images.ndim - 2)).numpy()


def in_parts(items: np.ndarray, size: int) -> list[np.ndarray]:
    """Parts of an array that hold a few million pixels, where an item has `size`."""
    few = max(1, (1 << 22) // size)
    return [items[i : i + few] for i in range(0, len(items), few)]


def _floats(images: np.ndarray) -> Tensor:
    """uint8 as shares of 255."""
    return torch.from_numpy(images).float() / 255
