"""The same pixels under other names, in other formats, other headers or by other patients."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pandas as pd

from medssl.data.volume import Volume

SLAB = 16  # planes at a time, to spare memory


def pixel_fingerprint(volume: Volume) -> str:
    """32 hex digits from the values of a scan, whatever type, format and header held them.

    Turned and mirrored copies share it: headers, which say how an array lies, are not asked. A film
    saved in three equal channels is the film.
    """
    import xxhash

    array = volume.array
    if len(array) > 1 and all(np.array_equal(array[0], other) for other in array[1:]):
        array = array[:1]
    array = _as_it_lies(array)
    digest = xxhash.xxh3_128(str(array.shape).encode())
    for slab in _slabs(array):
        digest.update(np.ascontiguousarray(slab))
    return digest.hexdigest()


def _as_it_lies(array: np.ndarray) -> np.ndarray:
    """(C, *spatial) with its axes in an order, and each in a direction, that its values alone decide.

    Sums of the values' bits over all other axes are exact, and so the same however the array lay. An
    axis points to where they are larger; the shorter axis comes first, of equal ones the smaller sums.
    """
    profiles = [np.zeros(n, np.uint64) for n in array.shape[1:]]
    low = 0
    for slab in _slabs(array):
        bits = slab.view(np.uint32)
        for axis, profile in enumerate(profiles):
            others = tuple(a for a in range(bits.ndim) if a != axis + 1)
            part = slice(low, low + bits.shape[1]) if axis == 0 else slice(None)
            profile[part] += bits.sum(others, dtype=np.uint64)
        low += bits.shape[1]
    turned = []
    for axis, profile in enumerate(profiles):
        mirrored = profile[::-1].tolist() < profile.tolist()
        array = np.flip(array, axis + 1) if mirrored else array
        turned.append(profile[::-1].tolist() if mirrored else profile.tolist())
    order = sorted(range(len(turned)), key=lambda axis: (len(turned[axis]), turned[axis]))
    return array.transpose(0, *(axis + 1 for axis in order))


def _slabs(array: np.ndarray) -> Iterator[np.ndarray]:
    """float32 parts along the first spatial axis; minus zero becomes zero."""
    for low in range(0, array.shape[1], SLAB):
        yield array[:, low : low + SLAB].astype(np.float32) + np.float32(0)


def groups(fingerprints: pd.Series) -> list[list[str]]:
    """Ids that share a fingerprint, in order of first appearance; those alone are left out."""
    found = defaultdict(list)
    for id, fingerprint in fingerprints.items():
        found[fingerprint].append(id)
    return [ids for ids in found.values() if len(ids) > 1]


def contradictions(ids: list[str], used: pd.DataFrame) -> list[str]:
    """What copies of one scan say differently: patient, split, label X. `used` has ids as index."""
    rows = used.loc[ids]
    told = [c for c in used if c in ("patient", "split") or c.startswith("label_")]
    told = [c for c in told if c != "label_mask"]
    return [
        c.replace("label_", "label ", 1)
        for c in told
        if rows[c].astype("object").nunique(False) > 1
    ]
