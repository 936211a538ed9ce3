import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from medssl.data.index import scan
from medssl.data.index.row import MAY_BE_MASK

SCAN, GRID = np.float32, np.diag([1.0, 2, 3, 1])


def nifti(path, dtype, affine=GRID, shape=(3, 4, 5), slope=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.zeros(shape, dtype), affine)
    if slope:
        image.header.set_slope_inter(slope, 0)
    nib.save(image, path)


def doubted(root):
    return [row.files[0].name for row in scan(root) if MAY_BE_MASK in "; ".join(row.remarks)]


def test_whole_numbers_under_a_longer_name_on_the_grid_may_be_a_mask(tmp_path):
    nifti(tmp_path / "t1/P1_T1.nii.gz", SCAN)
    nifti(tmp_path / "t1/P2_T1.nii", np.int16)
    nifti(tmp_path / "m/P1_T1_X.nii.gz", np.uint8)
    nifti(tmp_path / "m/P2_T1 x.nii", np.int16)
    assert doubted(tmp_path) == ["P1_T1_X.nii.gz", "P2_T1 x.nii"]
    assert all(row.used for row in scan(tmp_path))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("P1_T2.nii", {}), ("P1_T12.nii", {}), ("P1_T1_X.nii", {"shape": (3, 4, 6)}),
        ("P1_T1_X.nii", {"affine": np.diag([1.0, 2, 3.1, 1])}),
        ("P1_T1_X.nii", {"dtype": np.float32}), ("P1_T1_X.nii", {"slope": 0.5}),
    ],
)  # fmt: skip
def test_other_files_are_scans(tmp_path, name, other):
    nifti(tmp_path / "P1_T1.nii", SCAN)
    nifti(tmp_path / name, **{"dtype": np.uint8, **other})
    assert doubted(tmp_path) == []


def test_what_is_called_a_mask_may_hold_fractions(tmp_path):
    nifti(tmp_path / "P1.nii", SCAN)
    nifti(tmp_path / "P1_seg.nii", np.float32)
    assert doubted(tmp_path) == ["P1_seg.nii"]


def test_films_must_be_called_masks(tmp_path):
    for name in ("a", "a_mask", "a_late", "b_mask"):
        Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / f"{name}.png")
    assert doubted(tmp_path) == ["a_mask.png"]


def test_masks_in_another_format_are_told_too(tmp_path):
    nifti(tmp_path / "a.nii", SCAN, np.diag([-1.0, -2, 3, 1]))
    image = sitk.GetImageFromArray(np.zeros((5, 4, 3), np.uint8))
    image.SetSpacing((1, 2, 3))
    sitk.WriteImage(image, str(tmp_path / "a_x.nrrd"))
    assert doubted(tmp_path) == ["a_x.nrrd"]
