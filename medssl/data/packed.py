"""One array in one file, compressed in small blocks, so that a box is read without the rest.

Blocks, codec and filter are those that tests/benchmarks/test_bench_crops.py found best: LZ4 unpacks
two to three times faster than Zstandard for a few per cent more room, and its slow compressor (HC)
costs nothing at reading. Bit planes of which nothing is used, as above 8192 levels, vanish.
"""

from pathlib import Path

import numpy as np

from medssl.stopwatch import timed

SHAPES = {2: (512, 64), 3: (64, 16)}  # chunk and block along each axis, by number of axes
SLAB = 32


def pack(array: np.ndarray) -> bytes:
    """The file's content for an array (C, *space) of small integers.

    It is made in memory, since the compressor's own writing does not tell when the disk is full.
    """
    import blosc2

    space = array.shape[1:]
    chunk, block = SHAPES[len(space)]
    how = blosc2.CParams(
        codec=blosc2.Codec.LZ4HC, clevel=5, typesize=array.itemsize, nthreads=1,
        filters=[blosc2.Filter.NOFILTER] * 5 + [blosc2.Filter.BITSHUFFLE],
    )  # fmt: skip
    packed = blosc2.asarray(
        np.ascontiguousarray(array), chunks=(1, *(min(n, chunk) for n in space)),
        blocks=(1, *(min(n, block) for n in space)), cparams=how,
    )  # fmt: skip
    return packed.to_cframe()


def unpack(content: bytes) -> np.ndarray:
    """The array that `pack` made such content of."""
    import blosc2

    return blosc2.ndarray_from_cframe(content)[:]


def open_packed(path: Path):
    """The array in a file, not yet read; slicing it reads.

    It holds its file open, whose place forked processes would share: open it for each reading,
    which takes 0.06 ms.
    """
    import blosc2

    return blosc2.open(str(path), mode="r", dparams={"nthreads": 1})


@timed("decode")
def read_box(packed, low, high, fill) -> np.ndarray:
    """The box [low, high) of (C, *space), filled outside the array; all of it if `low` is None."""
    if low is None:
        return packed[:]
    shape = packed.shape[1:]
    a = [min(max(lo, 0), n) for lo, n in zip(low, shape, strict=True)]
    b = [max(min(h, n), 0) for h, n in zip(high, shape, strict=True)]
    part = packed[(slice(None), *(slice(x, y) for x, y in zip(a, b, strict=True)))]
    if tuple(b) == tuple(high) and tuple(a) == tuple(low):
        return part
    before = [max(-lo, 0) for lo in low]
    size = [h - lo for lo, h in zip(low, high, strict=True)]
    out = np.full((packed.shape[0], *size), fill, part.dtype)
    inside = (slice(s, s + n) for s, n in zip(before, part.shape[1:], strict=True))
    out[(slice(None), *inside)] = part
    return out


def quantised(values: np.ndarray, bottom: float, top: float, levels: int) -> np.ndarray:
    """Values of bottom..top as uint16 of 0..levels, to the nearest; made in slabs to spare memory."""
    out = np.empty(values.shape, np.uint16)
    for channel, into in zip(values, out, strict=True):
        for low in range(0, len(channel), SLAB):
            slab = channel[low : low + SLAB] - np.float32(bottom)
            slab *= np.float32(levels / (top - bottom))
            into[low : low + SLAB] = np.rint(slab, out=slab)
    return out


def restored(raw: np.ndarray, bottom: float, top: float, levels: int) -> np.ndarray:
    """What `quantised` was given, float32, to within half a level."""
    values = raw.astype(np.float32)
    values *= np.float32((top - bottom) / levels)
    values += np.float32(bottom)
    return values
