"""Trilinear interpolation on a CPU, the work done by torch's vector kernels.

torch's `grid_sample` takes a volume one voxel at a time on a CPU, and 1.7 times as long. Here the
first neighbours of all places are looked up, then the second ones, up to the eighth.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product

import torch
from torch import Tensor

CHUNK = 2**18  # places at a time: few enough for a cache, enough that calls cost little


def trilinear(image: Tensor, places: Tensor, fill: Tensor) -> Tensor:
    """Values (B, C, *size) of volumes (B, C, *n) at `places` (B, 3, *size), which are overwritten.

    Places count voxels from 1, the first one's centre. Outside the volume is `fill` (B, C, 1, 1, 1),
    to which values fade within a voxel of the border.
    """
    size, n = places.shape[2:], image.shape[2:]
    margin = fill.expand(*image.shape[:2], *[k + 3 for k in n]).clone()
    margin[:, :, 1:-2, 1:-2, 1:-2] = image
    out = image.new_empty(*image.shape[:2], *size)
    slab = max(1, CHUNK // math.prod(size[1:]))
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for volume, where, found in zip(margin, places, out, strict=True):
            for at, to in zip(where.split(slab, 1), found.split(slab, 1), strict=True):
                _between(volume, at, to, pool)
    return out


def _between(volume: Tensor, at: Tensor, out: Tensor, pool: ThreadPoolExecutor) -> None:
    """Fills `out` (C, *size) with values of a volume (C, *n) that has a margin, at (3, *size)."""
    steps = [math.prod(volume.shape[axis:]) for axis in (2, 3, 4)]
    first = torch.zeros(at.shape[1:], dtype=torch.int32 if steps[0] < 2**31 else torch.int64)
    for place, step, n in zip(at, steps, volume.shape[1:], strict=True):
        first.add_(place.clamp_(0, n - 2).to(first.dtype), alpha=step)
        place.frac_()
    taps = volume.new_empty(8, *at.shape[1:])
    further = [sum(corner) for corner in product(*[(0, step) for step in steps])]
    for channel, to in zip(volume.flatten(1), out, strict=True):
        look = partial(_look_up, channel, first.flatten())
        list(pool.map(look, further, taps.flatten(1)))
        for half, share in zip((4, 2, 1), at, strict=True):
            into = taps[:half] if half > 1 else to[None]
            torch.lerp(taps[:half], taps[half : 2 * half], share, out=into)


def _look_up(channel: Tensor, first: Tensor, further: int, out: Tensor) -> None:
    with torch.inference_mode(out.is_inference()):  # a thread does not know the mode of another
        torch.index_select(channel[further:], 0, first, out=out)
