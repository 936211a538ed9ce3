"""The same pixels under other names, in other formats or by other patients."""

from collections import defaultdict

import numpy as np
import pandas as pd

from medssl.data.volume import Volume, reorient


def pixel_fingerprint(volume: Volume) -> str:
    """32 hex digits from the values of a scan, turned to RAS, whatever type and format held them."""
    import xxhash

    if volume.ndim == 3:
        volume = reorient(volume, "RAS")
    values = np.ascontiguousarray(volume.array, np.float32) + 0.0  # minus zero becomes zero
    return xxhash.xxh3_128(str(values.shape).encode() + values.tobytes()).hexdigest()


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
