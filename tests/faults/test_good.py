"""The other side: hardly anything that is good is refused, and it is read as it was written."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medssl.data.index import read, scan
from tests.faults import good


def make(kind: int, rng: np.random.Generator, folder: Path, number: int) -> np.ndarray:
    """One good file of random shape, type and place; returns its values as they should be read."""
    import SimpleITK as sitk

    shape = tuple(int(n) for n in rng.integers(3, 9, 3))
    dtype = rng.choice([np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
    array = rng.integers(0, 200, shape).astype(dtype)
    spacing = rng.uniform(0.3, 5, 3)
    if kind < 2:
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = turn * spacing, rng.normal(0, 100, 3)
        name = f"{number}.nii" + (".gz" if kind else "")
        nib.save(nib.Nifti1Image(array, affine), folder / name)
        return array
    if kind < 6:
        image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(rng.normal(0, 100, 3).tolist())
        name = f"{number}." + ("mha", "nrrd", "mhd", "nhdr")[kind - 2]
        sitk.WriteImage(image, folder / name, bool(rng.integers(2)))
        return array
    if kind == 6:
        film = rng.integers(0, 4000, shape[:2]).astype(np.uint16)
        Image.fromarray(film).save(folder / f"{number}{rng.choice(['.png', '.tif'])}")
        return film
    if kind == 7:
        film = rng.integers(0, 255, shape[:2]).astype(np.uint8)
        Image.fromarray(film).save(folder / f"{number}.png")
        return film
    film = rng.integers(0, 4000, shape[:2]).astype(np.uint16)
    good.film(folder, film, f"{number}.dcm", BitsStored=12, HighBit=11,
              SOPInstanceUID=f"1.2.{number}")  # fmt: skip
    return film


def refused_of_good(count: int, folder: Path) -> int:
    """How many of `count` good files are refused; a file read wrong fails the test."""
    rng = np.random.default_rng(7)
    expected = {str(n): make(n % 9, rng, folder, n) for n in range(count)}
    rows = [row for row in scan(folder) if row.format]
    assert len(rows) == count
    refused = 0
    for row in rows:
        if not row.used:
            refused += 1
            continue
        assert np.array_equal(read(row).array[0], expected[row.files[0].name.split(".")[0]])
    return refused


@pytest.mark.parametrize(
    "count", [500, pytest.param(10_000, marks=pytest.mark.slow)], ids=["500", "10000"]
)
def test_hardly_any_good_file_is_refused(count, tmp_path):
    refused = refused_of_good(count, tmp_path)
    print(f"{refused} of {count} good files refused")
    assert refused <= count / 1000
