"""A cohort of volumes with smooth neighbours and copies in disguise, and films with twins elsewhere."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage

from medssl.stages import call

SHAPE = (40, 36, 24)


def scan(i: int) -> np.ndarray:
    draw = np.random.default_rng(i)
    image = ndimage.gaussian_filter(draw.normal(size=SHAPE), (4, 4, 3))
    image = 900 * (image - image.min()) / np.ptp(image)
    image[..., :3] = 0  # air above
    return image.astype(np.int16)


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Six volumes of four patients, of which c3 is c0 turned and c5 is c1 re-windowed and rotated."""
    root = tmp_path_factory.mktemp("reduce")
    (root / "images").mkdir()
    rows = []
    for i in range(6):
        image, affine = scan(i), np.diag([-1.0, -1, 2, 1])
        if i == 3:
            image, affine = (
                scan(0)[::-1].transpose(1, 0, 2),
                np.eye(4),
            )  # and a header that is wrong
        if i == 5:
            turned = ndimage.rotate(scan(1), 2, reshape=False, order=1, mode="nearest")
            image = np.clip(turned, 150, 750).astype(np.float32)
        nib.save(nib.Nifti1Image(image, affine), root / f"images/c{i}.nii.gz")
        split = "test" if i == 5 else "train"
        patient = "PX" if i == 5 else f"P{i // 2}"
        rows.append({"id": f"c{i}", "patient_id": patient, "split": split, "y": i == 4})
    pd.DataFrame(rows).to_csv(root / "table.csv", index=False)
    call("index", scans=root / "images", labels=[root / "table.csv"], splits=root / "table.csv",
         modality="MR", out=root / "m")  # fmt: skip
    call("prepare", manifest=root / "m", out=root / "store")
    return root / "store"


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    root = tmp_path_factory.mktemp("films")
    (root / "a").mkdir()
    (root / "b").mkdir()
    for i in range(8):
        draw = np.random.default_rng(100 + i)
        image = ndimage.gaussian_filter(draw.normal(size=(120, 100)), 6)
        image = (255 * (image - image.min()) / np.ptp(image)).astype(np.uint8)
        Image.fromarray(image).save(root / f"a/f{i}.png")
        if i < 2:
            Image.fromarray(image).convert("RGB").save(root / f"a/g{i}.tif")
        if i in (3, 4):
            Image.fromarray(image).resize((80, 96)).save(root / f"b/h{i}.jpg", quality=80)
    draw = ndimage.gaussian_filter(np.random.default_rng(7).normal(size=(90, 90)), 5)
    Image.fromarray((255 * (draw - draw.min()) / np.ptp(draw)).astype(np.uint8)).save(
        root / "b/other.png"
    )
    for name in "ab":
        call("index", scans=root / name, modality="DX", out=root / f"m{name}")
        call("prepare", manifest=root / f"m{name}", out=root / f"s{name}")
    return root
