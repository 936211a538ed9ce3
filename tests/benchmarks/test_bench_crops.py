"""Random 64^3 crops of a CT-like volume: our store, an uncompressed memory map, compressed NIfTI."""

import os
import time

import nibabel as nib
import numpy as np

from medssl.data.preprocess import Recipe, prepare
from medssl.data.volume import Volume
from tests.data.test_store import make

SHAPE, SIZE, N = (256, 256, 150), 64, 60


def test_crops(tmp_path):
    rng = np.random.default_rng(0)
    store = make(
        tmp_path / "s", [(64, 64, 64)], Recipe(intensity="hu", window=[-1000, 1000]), masks=False
    )
    smooth = np.add.outer(
        np.add.outer(np.sin(np.arange(256) / 20), np.cos(np.arange(256) / 30)), np.arange(150) / 99
    )
    image = np.rint(400 * smooth + 12 * rng.normal(size=SHAPE)).astype(np.float32)
    store.add("key0", prepare(Volume(image[None], np.eye(4), "CT"), store.recipe))
    raw, packed = tmp_path / "raw.npy", tmp_path / "packed.nii.gz"
    np.save(raw, image.astype(np.int16))
    nib.save(nib.Nifti1Image(image.astype(np.int16), np.eye(4)), packed)
    lows = [[int(rng.integers(0, n - SIZE)) for n in SHAPE] for _ in range(N)]

    def ours():
        for low in lows:
            store.read("case0", low, [a + SIZE for a in low])

    def mapped():
        for x, y, z in lows:
            np.load(raw, mmap_mode="r")[x : x + SIZE, y : y + SIZE, z : z + SIZE].astype(np.float32)

    def compressed():
        for x, y, z in lows[:3]:
            np.asarray(nib.load(packed).dataobj)[x : x + SIZE, y : y + SIZE, z : z + SIZE].astype(
                np.float32
            )

    times = {}
    for read, n in ((ours, N), (mapped, N), (compressed, 3)):
        read()
        began = time.perf_counter()
        read()
        times[read.__name__] = (time.perf_counter() - began) / n
    size = os.path.getsize(tmp_path / "s/arrays/key0.image.b2nd") / os.path.getsize(raw)
    print(
        f"\na crop of 64^3: store {1000 * times['ours']:.1f} ms, "
        f"{times['compressed'] / times['ours']:.0f} times faster than .nii.gz, "
        f"{times['ours'] / times['mapped']:.1f} times a memory map, at {size:.2f} of its size"
    )
    assert times["compressed"] / times["ours"] > 10
