"""Groups G1 to G3: NaN, infinity, outliers, constant and empty volumes."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from medssl.data.recipe import Recipe
from tests.faults import good


def odd(value: float, folder: Path, name="a.nii.gz", everywhere=False) -> None:
    array = good.voxels(dtype=np.float32)
    array[... if everywhere else (3, 4, 5)] = value
    if name.endswith(("mha", "nrrd")):
        good.itk(folder, name, array=array)
    elif name.endswith("tif"):
        good.picture(folder, name, array[0] if array.ndim == 3 and everywhere else array[3])
    else:
        good.nifti(folder, name, array)


def doubles(folder: Path) -> None:
    array = good.voxels(dtype=np.float64)
    array[0, 0, 0] = 1e300
    good.nifti(folder, array=array)


def constant(value: float, folder: Path, name="a.nii", dtype=np.int16) -> None:
    array = np.full(good.SHAPE, value, dtype)
    if name.endswith("dcm"):
        good.ct(folder, pixels=[array[0]] * 5)
    elif name.endswith("mha"):
        good.itk(folder, name, array=array)
    elif name.endswith("png"):
        good.picture(folder, name, array[0].astype(np.uint8))
    else:
        good.nifti(folder, name, array)


HU = Recipe(intensity="hu", foreground="body")
CASES = {
    **{
        f"G1-one-{name.split('.')[-1]}": ("NONFINITE", partial(odd, np.nan, name=name))
        for name in ("a.nii", "a.nii.gz", "a.mha", "a.nrrd", "a.tif")
    },
    "G1-all": ("NONFINITE", partial(odd, np.nan, everywhere=True)),
    **{
        f"G2-inf-{name.split('.')[-1]}": ("NONFINITE", partial(odd, np.inf, name=name))
        for name in ("a.nii", "a.nii.gz", "a.mha", "a.nrrd", "a.tif")
    },
    "G2-minus-inf": ("NONFINITE", partial(odd, -np.inf)),
    "G2-double": ("NONFINITE", doubles),
    "G2-outlier": ("remark: voxels reach from", partial(odd, 3e38)),
    "G2-outlier-below": ("remark: voxels reach from", partial(odd, -3e38)),
    "G2-outlier-mha": ("remark: voxels reach from", partial(odd, 1e30, name="a.mha")),
    "G3-zeros": ("CONSTANT", partial(constant, 0)),
    "G3-value": ("CONSTANT", partial(constant, 7.5, dtype=np.float32)),
    "G3-gz": ("CONSTANT", partial(constant, -1000, name="a.nii.gz")),
    "G3-mha": ("CONSTANT", partial(constant, 5, name="a.mha")),
    "G3-png": ("CONSTANT", partial(constant, 9, name="a.png")),
    "G3-dcm": ("CONSTANT", partial(constant, 0, name="a.dcm")),
}


@pytest.mark.parametrize("row", CASES)
def test_row(row, tmp_path, judge):
    expected, make = CASES[row]
    make(tmp_path)
    judge(tmp_path, expected)


@pytest.mark.parametrize(
    "recipe",
    [HU, Recipe(intensity="percentile"), Recipe(foreground="body"), Recipe(foreground="nonzero")],
    ids=["G3-hu", "G3-percentile", "G3-body", "G3-nonzero"],
)
@pytest.mark.parametrize("value", [0, -1024, 3000])
def test_no_recipe_makes_something_of_a_blank_scan(recipe, value, tmp_path, judge):
    constant(value, tmp_path)
    judge(tmp_path, "CONSTANT", recipe)
