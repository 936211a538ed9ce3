"""A fingerprint of what a scan looks like, by which copies that were encoded or resampled anew are found.

The signs of its 256 lowest frequencies: a perceptual hash (Krawetz, "Looks Like It", 2011) of more bits,
in 2D and 3D. It needs no key, so that a checkpoint recognises its scans on any machine, and holds no
picture.
"""

from functools import lru_cache

import numpy as np
from scipy.fft import dctn

from medssl.data.preprocess import resize
from medssl.data.volume import Volume, reorient

BITS = 256
SIDE = {2: 64, 3: 32}
PERCENTILES = (0.5, 99.5)
SAMPLE = 200_000
NEAR = 30  # bits that copies may differ in; scans of two people differed in 40 or more


def likeness(scan: Volume) -> str:
    """64 hex digits; "" for a scan of one value. Volumes are turned to RAS, films taken as they lie."""
    grey = scan.array.astype(np.float32).mean(0)
    low, high = np.percentile(grey.reshape(-1)[:: max(1, grey.size // SAMPLE)], PERCENTILES)
    if not high > low:
        low, high = float(grey.min()), float(grey.max())
    if not high > low:
        return ""
    # Averaged before it is turned and blurred: of a CT that takes a twentieth of the time.
    small = scan.with_array(_averaged(np.clip(grey, low, high, out=grey))[None])
    small = resize(reorient(small, "RAS").array, (SIDE[grey.ndim],) * grey.ndim, smooth=True)
    found = dctn(small[0].astype(np.float64))[_lowest(grey.ndim)]
    return np.packbits(found > 0).tobytes().hex()


def _averaged(grey: np.ndarray) -> np.ndarray:
    """At most four times as fine as SIDE along each axis, by means of neighbours."""
    import torch
    from torch.nn.functional import adaptive_avg_pool2d, adaptive_avg_pool3d

    size = [min(n, 4 * SIDE[grey.ndim]) for n in grey.shape]
    pool = {2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}[grey.ndim]
    return pool(torch.from_numpy(grey)[None], size)[0].numpy()


def near(prints: list[str], others: list[str]) -> list[tuple[int, int, int]]:
    """(place, place among others, bits that differ) for each print's nearest other, if it is near."""
    known = [j for j, other in enumerate(others) if other]
    if not known:
        return []
    table = _packed([others[j] for j in known])
    found = []
    for i, each in enumerate(prints):
        if each:
            apart = np.bitwise_count(table ^ _packed([each])).sum(1, dtype=int)
            j = int(apart.argmin())
            if apart[j] <= NEAR:
                found.append((i, known[j], int(apart[j])))
    return found


def _packed(prints: list[str]) -> np.ndarray:
    """uint64 (n, 4)."""
    return np.frombuffer(bytes.fromhex("".join(prints)), np.uint64).reshape(len(prints), -1)


@lru_cache
def _lowest(ndim: int) -> tuple[np.ndarray, ...]:
    """Indices of the BITS lowest frequencies but the mean, in an order that is always the same."""
    grid = np.indices((SIDE[ndim],) * ndim).reshape(ndim, -1)
    order = np.lexsort([*grid, (grid**2).sum(0)])[1 : BITS + 1]
    return tuple(grid[:, order])
