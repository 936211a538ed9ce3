"""Which signature recognises a scan that was re-windowed, recompressed, resampled or moved?

    python -m tests.benchmarks.planted STORE planted.csv [SCANS]

Changes scans of a store in eight ways, looks for each changed one among the unchanged, and writes, for
every signature and change, the share found (recall) and the share of pairs that are of one scan
(precision). A copy that the store holds already counts as a false pair.

Of 60 real volumes each, of the hippocampus and of heads at 2 mm (2026), the search for near copies found
every one that was not turned, and no false pair; of the signatures alone only ssim told scans apart as well,
but for those that were moved. Ten minutes on one core.
"""

import io
import sys

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy import ndimage

from medssl.config import Part
from medssl.curation import copies
from medssl.curation.signatures import SIGNATURES
from medssl.data.duplicates import pixel_fingerprint
from medssl.data.store import Store
from medssl.data.volume import Volume
from medssl.progress import track
from medssl.seeding import generator

HASHED = ("ahash", "dhash", "phash", "ssim", "nmi")
CHANGES = {
    "exact, turned": lambda x, draw: x[:, ::-1].swapaxes(1, 2),
    "re-windowed": lambda x, draw: np.clip(x, *np.percentile(x, [3, 96])),
    "noise": lambda x, draw: x + draw.normal(0, 0.03 * np.ptp(x), x.shape),
    "JPEG": lambda x, draw: jpeg(x),
    "shifted": lambda x, draw: shifted(x),
    "resampled": lambda x, draw: ndimage.zoom(x, (1, *[0.7] * (x.ndim - 1)), order=1),
    "rotated by 2 degrees": lambda x, draw: ndimage.rotate(x, 2, (1, 2), False, order=1, mode="nearest"),
    "cropped": lambda x, draw: x[(slice(None), *(slice(n // 20, n - n // 20) for n in x.shape[1:]))],
}  # fmt: skip


def planted(store: Store, scans: int = 60, seed: int = 0) -> pd.DataFrame:
    """A row for each change and signature, of scans evenly apart."""
    evenly = np.linspace(0, len(store.items) - 1, min(scans, len(store.items))).astype(int)
    images, rows = [store.read(id) for id in store.items.index[evenly]], []
    for name, change in track(CHANGES.items(), "look for copies", len(CHANGES), "changes"):
        changed = [
            change(x, generator(seed, name, i)).astype(np.float32) for i, x in enumerate(images)
        ]
        for signature, pairs in found(images, changed, store.recipe.value_range).items():
            right = sum(a == b for a, b in pairs)
            rows.append(
                {"change": name, "signature": signature, "recall": right / len(images),
                 "precision": right / len(pairs) if pairs else np.nan, "pairs": len(pairs)}
            )  # fmt: skip
    return pd.DataFrame(rows)


def found(images: list[np.ndarray], changed: list[np.ndarray], value_range) -> dict[str, set]:
    """Pairs (number of the changed, of the unchanged) by each signature at its own threshold."""
    sides = [[pixel_fingerprint(Volume(x, np.eye(4))) for x in side] for side in (changed, images)]
    pairs = {
        "same pixels": {
            (i, j) for i, a in enumerate(sides[0]) for j, b in enumerate(sides[1]) if a == b
        }
    }
    for name in HASHED:
        signature = Part(name=name).build(SIGNATURES, "signature")
        arrays = [
            signature.of(torch.from_numpy(x.copy())[None], value_range) for x in (*changed, *images)
        ]
        rows, others = (
            signature.rows(np.concatenate(arrays)),
            np.arange(len(images), 2 * len(images)),
        )
        pairs[name] = {
            (i, int(j)) for i in range(len(changed))
            for j in np.flatnonzero(rows(i, others) <= signature.threshold)
        }  # fmt: skip
    thumbs = [np.stack([copies.thumbnail(x) for x in side]) for side in (changed, images)]
    near = copies.near(*thumbs)
    return pairs | {"near copy": set(zip(near["a"], near["b"], strict=True))}


def jpeg(x: np.ndarray) -> np.ndarray:
    """Every slice through JPEG of quality 75, in the range of the whole."""
    low, high = x.min(), x.max()
    slices = np.moveaxis(x[0], -1, 0) if x.ndim == 4 else x
    through = []
    for one in np.rint((slices - low) * (255 / (high - low))).astype(np.uint8):
        stream = io.BytesIO()
        Image.fromarray(one).save(stream, "JPEG", quality=75)
        through.append(np.asarray(Image.open(stream)))
    back = np.stack(through) / 255 * (high - low) + low
    return np.moveaxis(back, 0, -1)[None] if x.ndim == 4 else back


def shifted(x: np.ndarray) -> np.ndarray:
    """By 3 % of each side."""
    by = (0, *(0.03 * n for n in x.shape[1:]))
    return ndimage.shift(x, by, order=1, mode="nearest")


if __name__ == "__main__":
    table = planted(Store.read_from(sys.argv[1]), *map(int, sys.argv[3:]))
    table.to_csv(sys.argv[2], index=False)
    print(table.pivot(index="change", columns="signature", values="recall").round(2))
    print(table.pivot(index="change", columns="signature", values="precision").round(2))
