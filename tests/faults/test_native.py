"""What pydicom and nibabel bring along as test files is read, equal to what they read themselves.

Files that differ are listed with the reason; each list is exact.
"""

import gzip
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medssl.data.index import read, scan
from medssl.data.index.dicom_header import read_headers
from medssl.data.index.dicom_pixels import LUMINANCE, decode
from medssl.data.index.dicom_series import grid
from medssl.errors import UserError

PYDICOM = Path(pydicom.__file__).parent / "data"
NIBABEL = Path(nib.__file__).parent / "tests/data"
NICOM = Path(nib.__file__).parent / "nicom/tests/data"

REFUSED = {  # why no pixels are read
    "JPEG2000-embedded-sequence-delimiter.dcm": "HEADER",  # its size marker is overwritten
    "MR_truncated.dcm": "CUT",
    "SC_rgb_rle_2frame.dcm": "MULTIFRAME",  # frames without a place
    "SC_rgb_rle_16bit_2frame.dcm": "MULTIFRAME",
    "SC_rgb_rle_32bit_2frame.dcm": "MULTIFRAME",
    "examples_ybr_color.dcm": "MULTIFRAME",
    "badVR.dcm": "NOT_IMAGE",  # a dose, as are the next; it is computed, not seen
    "rtdose.dcm": "NOT_IMAGE",
    "rtdose_1frame.dcm": "NOT_IMAGE",
    "rtdose_expb.dcm": "NOT_IMAGE",
    "rtdose_expb_1frame.dcm": "NOT_IMAGE",
    "rtdose_rle.dcm": "NOT_IMAGE",
    "rtdose_rle_1frame.dcm": "NOT_IMAGE",
    "liver_1frame.dcm": "NOT_IMAGE",  # a segmentation
    "liver_expb_1frame.dcm": "NOT_IMAGE",
}
NO_VOLUME = {"GEOMETRY", "FEW_SLICES"}  # one slice is no scan, but its pixels can be read
NO_PLUGIN = {"JPEG-lossy.dcm"}  # 12-bit lossy JPEG


def pydicom_images() -> dict[str, Path]:
    """Files of which pydicom finds pixels, by name."""
    found = {}
    for path in sorted(p for p in PYDICOM.rglob("*") if p.is_file()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                dataset = pydicom.dcmread(path, force=True)
                if "PixelData" in dataset and "Rows" in dataset:
                    found[str(path.relative_to(PYDICOM))] = path
            except Exception:  # not a file that pydicom reads
                continue
    return found


IMAGES = pydicom_images()


def native(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """What pydicom says the grey values are, rescaled, and where they are no padding."""
    dataset = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        )
    stored = pixel_array(dataset)
    inside = np.ones(stored.shape[:2], bool)
    if "PixelPaddingValue" in dataset:
        inside = stored != dataset.PixelPaddingValue
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        stored = (1 << dataset.BitsStored) - 1 - stored  # ours: high is bright in every film
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
    if stored.ndim == 2:
        return apply_modality_lut(stored, dataset), inside
    same = (stored == stored[..., :1]).all()
    return stored[..., 0] if same else np.rint(stored.astype(float) @ LUMINANCE), inside


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", IMAGES)
def test_pydicom_images_equal_pydicom(name):
    path = IMAGES[name]
    row = next(r for r in scan(path) if path in r.files)
    if path.name in REFUSED:
        assert row.code == REFUSED[path.name], row.reason
        return
    assert row.used or row.code in NO_VOLUME, row.reason
    (header,) = read_headers(path)
    if path.name in NO_PLUGIN:
        with pytest.raises(RuntimeError, match="Unable to decode"):
            native(path)
        with pytest.raises(UserError, match="^UNREADABLE .*Unable to decode"):
            decode(header)
        return
    ours, (theirs, inside) = decode(header), native(path)
    if ours.dtype.kind == "f":
        assert np.allclose(ours[inside], theirs[inside], rtol=1e-6)
    else:
        assert np.array_equal(ours[inside], theirs[inside])


def test_the_lists_of_exceptions_name_files_that_are_there():
    names = {path.name for path in IMAGES.values()}
    assert len(names) > 50 and REFUSED.keys() | NO_PLUGIN <= names


OTHERS = {
    "no_meta.dcm": "UNREADABLE",  # begins with a stray byte; pydicom finds no image either
    "zipMR.gz": "UNSUPPORTED",
    "UN_sequence.dcm": "CUT",  # images without pixels
    "no_meta_group_length.dcm": "CUT",
    "priv_SQ.dcm": "CUT",
    "meta_missing_tsyntax.dcm": "HEADER",
    "nested_priv_SQ.dcm": "HEADER",
}


@pytest.mark.filterwarnings("ignore")
def test_what_holds_no_pixels_is_refused_with_the_reason():
    rest = [p for p in PYDICOM.rglob("*") if p.is_file() and p not in IMAGES.values()]
    rest = [p for p in rest if p.suffix not in (".py", ".pyc", ".json", ".md", ".txt", ".dump")]
    found = {path: next(r for r in scan(path) if path in r.files) for path in rest}
    assert not any(row.used for row in found.values())
    told = {path: row.code for path, row in found.items() if row.code != "NOT_IMAGE"}
    stripped = [path for path in told if path.name.startswith(("IM0000", "chr"))]
    assert {told[path] for path in stripped} == {"CUT"}  # slices without pixels
    assert {path.name: code for path, code in told.items() if path not in stripped} == OTHERS


NIBABEL_REFUSED = {
    "analyze.hdr": "UNSUPPORTED",  # Analyze 7.5 holds no orientation
    "nifti1.hdr": "MISSING",  # headers without their image
    "nifti2.hdr": "MISSING",
    "row_major.dconn.nii": "NOT_IMAGE",  # a CIFTI matrix
    "example4d.nii.gz": "SERIES_4D",
    "example_nifti2.nii.gz": "SERIES_4D",
    "functional.nii": "SERIES_4D",
    "resampled_anat_moved.nii": "NONFINITE",  # 153 voxels are NaN
}


def nibabel_volumes() -> list[str]:
    endings = (".nii", ".nii.gz", ".hdr", ".mgh", ".mgz", ".mnc", ".PAR")
    return sorted(p.name for p in NIBABEL.iterdir() if p.name.endswith(endings))


@pytest.mark.parametrize("name", nibabel_volumes())
def test_nibabel_volumes_equal_nibabel(name):
    path = NIBABEL / name
    row = scan(path)[0]
    if not name.endswith((".nii", ".nii.gz", ".hdr")):
        assert not row.used and row.code in ("NOT_IMAGE", "UNSUPPORTED", "UNREADABLE"), row
        return
    if not row.used:
        assert row.code == NIBABEL_REFUSED[name], row.reason
        return
    if name in NIBABEL_REFUSED:
        with pytest.raises(UserError, match=f"^{NIBABEL_REFUSED[name]}"):
            read(row)
        return
    volume, image = read(row), nib.load(path)
    assert np.allclose(volume.affine, image.affine)
    assert np.allclose(volume.array[0], image.get_fdata().reshape(volume.shape), rtol=1e-6)


def test_the_list_of_nibabel_names_files_that_are_there():
    assert set(nibabel_volumes()) >= NIBABEL_REFUSED.keys()


NICOM_REFUSED = {
    "0.dcm": "MULTIFRAME",  # mosaics
    "1.dcm": "MULTIFRAME",
    "decimal_rescale.dcm": "FEW_SLICES",  # slices of no series here
    "slicethickness_empty_string.dcm": "FEW_SLICES",
    "csa_slice_norm.dcm": "CUT",  # without pixels
    "siemens_dwi_0.dcm.gz": "MULTIFRAME",
    "siemens_dwi_1000.dcm.gz": "MULTIFRAME",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(p.name for p in NICOM.glob("*.dcm*")))
def test_nibabel_s_dicom_files(name, tmp_path):
    raw = (NICOM / name).read_bytes()
    path = tmp_path / "a.dcm"
    path.write_bytes(gzip.decompress(raw) if name.endswith(".gz") else raw)
    (row,) = scan(tmp_path)
    if name in NICOM_REFUSED:
        assert row.code == NICOM_REFUSED[name]
        if row.code == "FEW_SLICES":
            assert np.array_equal(decode(read_headers(path)[0]), native(path)[0])
        return
    assert row.used and row.shape == "256x256x176"  # an Enhanced MR of Philips
    volume, image = read(row), sitk.ReadImage(str(path))
    dataset = pydicom.dcmread(path)
    for k, header in enumerate(grid(read_headers(path))[0]):
        group = dataset.PerFrameFunctionalGroupsSequence[header.frame - 1]
        scale = group.PixelValueTransformationSequence[0]
        stored = dataset.pixel_array[header.frame - 1]
        values = stored * float(scale.RescaleSlope) + float(scale.RescaleIntercept)
        assert np.allclose(volume.array[0, :, :, k], values.T, rtol=1e-6)
    for at in ([0, 0, 0], [255, 0, 0], [3, 200, 175]):
        lps = image.TransformIndexToPhysicalPoint(at)
        assert np.allclose((volume.affine @ [*at, 1])[:3], np.multiply(lps, [-1, -1, 1]), atol=1e-3)
