"""The other side: what is good is read, and equal to what the format's own reader says."""

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels import apply_modality_lut, pixel_array

from medssl.data.index import read, scan
from medssl.data.index.dicom_header import read_header
from medssl.data.index.dicom_pixels import LUMINANCE, decode
from medssl.errors import UserError
from tests.faults import good

PYDICOM = Path(pydicom.__file__).parent / "data/test_files"
NIBABEL = Path(nib.__file__).parent / "tests/data"

NO_IMAGE = "NOT_IMAGE"
EXCEPTIONS = {  # file: the code it is refused with, which says why
    "JPEG2000-embedded-sequence-delimiter.dcm": "HEADER",  # its codestream is overwritten
    "MR_truncated.dcm": "CUT",
    "no_meta.dcm": "UNREADABLE",  # begins with a stray byte, pydicom finds no image either
    "zipMR.gz": "UNSUPPORTED",
}
GEOMETRY_ONLY = {"GEOMETRY", "FEW_SLICES"}  # one slice is no volume, but its pixels can be read


def pydicom_images() -> list[str]:
    """Names of the files that pydicom itself reads pixels of."""
    names = []
    for path in sorted(p for p in PYDICOM.rglob("*") if p.is_file()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                dataset = pydicom.dcmread(path, force=True)
                if "PixelData" in dataset and "Rows" in dataset:
                    names.append(str(path.relative_to(PYDICOM)))
            except Exception:  # not a file that pydicom reads
                continue
    return names


def native(path: Path) -> np.ndarray:
    """What pydicom says the values are: decoded, rescaled, colours as they are."""
    dataset = pydicom.dcmread(path, force=True)
    stored = pixel_array(dataset)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        stored = (1 << dataset.BitsStored) - 1 - stored  # ours: high is bright in every film
    return apply_modality_lut(stored, dataset) if stored.ndim == 2 else stored


@pytest.mark.parametrize("name", pydicom_images())
@pytest.mark.filterwarnings("ignore")
def test_pydicom_images_equal_pydicom(name):
    path = PYDICOM / name
    row = next(r for r in scan(path) if path in r.files)
    if row.code == "MULTIFRAME" or row.code == NO_IMAGE:
        return  # said so; several frames in a file are another task's
    if name in EXCEPTIONS:
        assert row.code == EXCEPTIONS[name]
        return
    assert row.used or row.code in GEOMETRY_ONLY, row.reason
    dataset = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta or "PALETTE" in str(
        dataset.PhotometricInterpretation
    ):
        return
    try:
        theirs = native(path)
    except RuntimeError:  # no plugin can decode it, such as JPEG-lossy.dcm
        with pytest.raises(UserError, match="^UNREADABLE"):
            decode(read_header(path))
        return
    ours = decode(read_header(path))
    if theirs.ndim == 3:
        same = (theirs == theirs[..., :1]).all()
        theirs = theirs[..., 0] if same else np.rint(theirs.astype(float) @ LUMINANCE)
    if "PixelPaddingValue" in dataset:
        inside = pixel_array(dataset) != dataset.PixelPaddingValue
        ours, theirs = ours[inside], theirs[inside]
    if ours.dtype.kind == "f":
        assert np.allclose(ours, theirs, rtol=1e-6)
    else:
        assert np.array_equal(ours, theirs)


def nibabel_images() -> list[str]:
    endings = (".nii", ".nii.gz", ".hdr")
    return sorted(p.name for p in NIBABEL.iterdir() if p.name.endswith(endings))


NIBABEL_EXCEPTIONS = {
    "analyze.hdr": "UNSUPPORTED",  # Analyze 7.5 holds no orientation
    "nifti1.hdr": "MISSING",  # headers without their image
    "nifti2.hdr": "MISSING",
    "row_major.dconn.nii": "NOT_IMAGE",  # a CIFTI matrix
    "example4d.nii.gz": "SERIES_4D",
    "example_nifti2.nii.gz": "SERIES_4D",
    "functional.nii": "SERIES_4D",
    "resampled_anat_moved.nii": "NONFINITE",  # 153 voxels are NaN
}


@pytest.mark.parametrize("name", nibabel_images())
def test_nibabel_images_equal_nibabel(name):
    path = NIBABEL / name
    row = scan(path)[0]
    if not row.used:
        assert row.code == NIBABEL_EXCEPTIONS[name], row.reason
        return
    if name in NIBABEL_EXCEPTIONS:
        with pytest.raises(UserError, match=f"^{NIBABEL_EXCEPTIONS[name]}"):
            read(row)
        return
    volume, image = read(row), nib.load(path)
    assert np.allclose(volume.affine, image.affine)
    assert np.allclose(volume.array[0], image.get_fdata().reshape(volume.shape), rtol=1e-6)


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
