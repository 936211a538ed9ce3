"""Group B: geometry."""

import itertools
import struct
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medssl.data.index import scan
from medssl.data.manifest import Manifest
from medssl.data.preprocess import prepare
from medssl.data.recipe import Recipe
from medssl.data.volume import Volume, reorient
from medssl.errors import UserError
from tests.faults import good


def uneven(folder: Path, places: list[float]) -> None:
    """A series of slices at the given heights, mm."""
    for k, z in enumerate(places):
        good.ct(folder, count=1, ImagePositionPatient=[-10.0, -20.0, z])
        (folder / "slice0.dcm").rename(folder / f"s{k}.dcm")


def tilted(folder: Path, degrees: float) -> None:
    shift = np.tan(np.deg2rad(degrees)) * 2
    for k in range(5):
        good.ct(folder, count=1, ImagePositionPatient=[-10.0, -20.0 + k * shift, 2.0 * k])
        (folder / "slice0.dcm").rename(folder / f"s{k}.dcm")


def scouts(folder: Path, count: int, axes: list[float]) -> None:
    """A series with a few slices of another orientation under the same UID."""
    good.ct(folder)
    for k in range(count):
        other = folder / "other"
        other.mkdir(exist_ok=True)
        place = 40 + 5 * k * np.cross(axes[:3], axes[3:])
        good.ct(other, count=1, ImageOrientationPatient=axes, ImagePositionPatient=place.tolist())
        (other / "slice0.dcm").rename(folder / f"scout{k}.dcm")
    other.rmdir()


def affine(values: np.ndarray, folder: Path, name="a.nii") -> None:
    """An sform written as given, whatever it is."""
    raw = np.asarray(values, "<f4")[:3].tobytes()
    good.patch(good.nifti(folder, name), 280, raw)


def sheared(degrees: float) -> np.ndarray:
    matrix = good.AFFINE.copy()
    angle = np.deg2rad(degrees)
    matrix[:3, 2] = [0, 2 * np.sin(angle), 2 * np.cos(angle)]
    return matrix


def changed(row: int, column: int, value: float) -> np.ndarray:
    matrix = good.AFFINE.copy()
    matrix[row, column] = value
    return matrix


def both(qform: np.ndarray, folder: Path, codes=(1, 1)) -> None:
    def edit(image):
        image.set_sform(good.AFFINE, codes[0])
        image.set_qform(qform, codes[1])

    good.nifti(folder, edit=edit)


def no_codes(folder: Path, name: str) -> None:
    good.nifti(folder, name, edit=lambda i: (i.set_sform(None, 0), i.set_qform(None, 0)))


def plain_nrrd(folder: Path) -> None:
    lines = ["NRRD0004", "type: short", "dimension: 3", "sizes: 12 10 8", "endian: little",
             "encoding: raw", "spacings: 1 1.5 2"]  # fmt: skip
    raw = "\n".join(lines).encode() + b"\n\n" + good.voxels().tobytes(order="F")
    (folder / "a.nrrd").write_bytes(raw)


def pixdim(values: list[float], folder: Path) -> None:
    good.patch(good.nifti(folder), 80, struct.pack("<3f", *values))


def units(name: str, folder: Path, scale: float) -> None:
    matrix = good.AFFINE.copy()
    matrix[:3] *= scale
    good.nifti(folder, affine=matrix, edit=lambda image: image.header.set_xyzt_units(name))


def film_spacing(value, folder: Path) -> None:
    good.film(folder, PixelSpacing=value)


CASES = {
    "B1-film": ("remark: pixel spacing unknown", partial(film_spacing, None)),
    "B1-png": ("remark: pixel spacing unknown", good.picture),
    "B1-ct": ("GEOMETRY", partial(good.ct, PixelSpacing=None)),
    "B1-ct-one-slice": ("GEOMETRY", partial(good.ct, odd=2, PixelSpacing=None)),
    "B1-ct-orientation": ("GEOMETRY", partial(good.ct, ImageOrientationPatient=None)),
    "B1-mha": ("GEOMETRY", lambda d: good.replace(
        good.itk(d), b"ElementSpacing = 1 1.5 2\n", b"")),
    "B2-zero": ("GEOMETRY", partial(good.ct, PixelSpacing=[0, 0])),
    "B2-half-zero": ("GEOMETRY", partial(good.ct, odd=1, PixelSpacing=[0, 0.7])),
    "B2-negative": ("GEOMETRY", partial(good.ct, PixelSpacing=[-0.5, 0.7])),
    "B2-nan": ("GEOMETRY|HEADER", lambda d: good.replace(
        good.film(d, PixelSpacing=[0.25, 0.25]), b"0.25\\0.25", b"nan \\nan ")),
    "B2-infinite": ("GEOMETRY|HEADER", lambda d: good.replace(
        good.film(d, PixelSpacing=[0.25, 0.25]), b"0.25\\0.25", b"inf \\inf ")),
    "B2-film": ("GEOMETRY", partial(film_spacing, [0, 0])),
    "B3-last": ("GAP", partial(uneven, places=[0, 2, 4, 6, 9])),
    "B3-middle": ("GAP", partial(uneven, places=[0, 2, 6, 8, 10])),
    "B3-growing": ("GAP", partial(uneven, places=[0, 1.08, 3, 6, 12.9])),
    "B3-little": ("GAP", partial(uneven, places=[0, 2, 4, 6.05, 8.05])),
    "B3-within-tolerance": ("ok", partial(uneven, places=[0, 2, 4, 6.005, 8])),
    "B4-tilt2": ("TILT", partial(tilted, degrees=2)),
    "B4-tilt15": ("TILT", partial(tilted, degrees=15)),
    "B4-tilt-30": ("TILT", partial(tilted, degrees=-30)),
    "B4-nifti5": ("remark: sheared by 5.0 degrees", partial(affine, sheared(5))),
    "B4-nifti20": ("remark: sheared by 20.0 degrees", partial(affine, sheared(20))),
    "B4-nifti-30": ("remark: sheared by 30.0 degrees", partial(affine, sheared(-30))),
    "B5-skew": ("GEOMETRY", partial(good.ct, ImageOrientationPatient=[1, 0, 0, 1, 0, 0])),
    "B5-oblique": ("GEOMETRY", partial(good.ct, ImageOrientationPatient=[1, 0, 0, 0.2, 1, 0])),
    "B5-zeros": ("GEOMETRY", partial(good.ct, ImageOrientationPatient=[0] * 6)),
    "B5-long": ("GEOMETRY", partial(good.ct, odd=3, ImageOrientationPatient=[2, 0, 0, 0, 2, 0])),
    "B5-five": ("HEADER", partial(good.ct, ImageOrientationPatient=[1, 0, 0, 0, 1])),
    "B7-nan": ("GEOMETRY", partial(affine, changed(0, 0, np.nan))),
    "B7-nan-origin": ("GEOMETRY", partial(affine, changed(0, 3, np.nan))),
    "B7-infinite": ("GEOMETRY", partial(affine, changed(2, 2, np.inf))),
    "B7-zeros": ("GEOMETRY", partial(affine, np.zeros((4, 4)))),
    "B7-singular": ("GEOMETRY", partial(affine, np.ones((4, 4)))),
    "B7-flat": ("GEOMETRY", partial(affine, changed(2, 2, 0))),
    "B8-mirrored": ("remark: mirror each other", partial(
        both, good.AFFINE @ np.diag([-1, 1, 1, 1]))),
    "B8-mirrored-other-space": ("remark: mirror each other", partial(
        both, good.AFFINE @ np.diag([-1, 1, 1, 1]), codes=(4, 1))),
    "B8-moved": ("remark: disagree by up to 30.0 mm", partial(both, changed(0, 3, 30.0))),
    "B8-scaled": ("remark: disagree by up to", partial(
        both, good.AFFINE @ np.diag([1, 1, 1.3, 1]))),
    "B9-nii": ("remark: orientation unknown", partial(no_codes, name="a.nii")),
    "B9-gz": ("remark: orientation unknown", partial(no_codes, name="a.nii.gz")),
    "B9-pair": ("remark: orientation unknown", partial(no_codes, name="a.hdr")),
    "B9-nrrd": ("remark: orientation unknown", plain_nrrd),
    "B10-zero": ("GEOMETRY", partial(pixdim, [1, 0, 2])),
    "B10-zeros": ("GEOMETRY", partial(pixdim, [0, 0, 0])),
    "B10-nan": ("GEOMETRY", partial(pixdim, [1, np.nan, 2])),
    "B10-negative": ("remark: negative pixdim", partial(pixdim, [-1, 1.5, 2])),
    "B13-micro": ("remark: unusual voxel size", lambda d: good.nifti(
        d, affine=good.AFFINE @ np.diag([1e-3, 1e-3, 1e-3, 1]))),
    "B13-metre-sized": ("remark: unusual voxel size", lambda d: good.nifti(
        d, affine=good.AFFINE @ np.diag([1e3, 1e3, 1e3, 1]))),
    "B13-units-metre": ("remark: length unit is meter", partial(units, "meter", scale=1e-3)),
    "B13-units-micron": ("remark: length unit is micron", partial(units, "micron", scale=1e3)),
    "B13-mha": ("remark: unusual voxel size", lambda d: good.replace(
        good.itk(d), b"ElementSpacing = 1 1.5 2", b"ElementSpacing = 1 1.5 200")),
    "B13-ct": ("remark: unusual voxel size", partial(good.ct, PixelSpacing=[100, 100])),
}  # fmt: skip


@pytest.mark.parametrize("row", CASES)
def test_row(row, tmp_path, judge):
    expected, make = CASES[row]
    make(tmp_path)
    found = judge(tmp_path, expected)
    if row.startswith("B4-tilt"):
        assert f"{abs(float(row[7:])):.1f} degrees" in found[0].message


@pytest.mark.parametrize(
    "row, axes",
    {
        "B6-sagittal": [0, 1, 0, 0, 0, -1],
        "B6-coronal": [1, 0, 0, 0, 0, -1],
        "B6-oblique": [0.8, 0.6, 0, -0.6, 0.8, 0],
    }.items(),
)
def test_scouts_are_split_off_and_the_rest_is_used(row, axes, tmp_path):
    scouts(tmp_path, 2, axes)
    rows = scan(tmp_path)
    assert sorted((r.code, len(r.files)) for r in rows) == [("", 5), ("FEW_SLICES", 2)]
    assert "holds several" in " ".join(next(r for r in rows if r.used).remarks)


MASKS = {
    "B11-same": (None, good.SHAPE, good.AFFINE),
    "B11-shape": ("GEOMETRY", (12, 10, 9), good.AFFINE),
    "B11-axes": ("GEOMETRY", (10, 12, 8), good.AFFINE),
    "B11-spacing": ("GEOMETRY", good.SHAPE, good.AFFINE @ np.diag([1, 1, 1.1, 1])),
    "B11-moved": ("GEOMETRY", good.SHAPE, changed(0, 3, 0.5)),
    "B11-flipped": ("GEOMETRY", good.SHAPE, good.AFFINE @ np.diag([-1, 1, 1, 1])),
    "B11-nearly": (None, good.SHAPE, changed(0, 3, 0.005)),
}


@pytest.mark.parametrize("row", MASKS)
def test_a_mask_on_another_grid_is_refused(row, tmp_path):
    code, shape, matrix = MASKS[row]
    scans, masks = tmp_path / "scans", tmp_path / "masks"
    scans.mkdir(), masks.mkdir()
    good.nifti(scans)
    good.nifti(masks, array=np.ones(shape, np.uint8), affine=matrix)
    manifest = Manifest.from_rows(tmp_path, scan(scans))
    manifest = Manifest.from_rows(tmp_path, scan(scans))
    manifest.table["label_mask"] = "masks/a.nii"
    if code is None:
        assert manifest.mask("a").array.all()
        return
    with pytest.raises(UserError, match=f"^{code} a: .*Fix: "):
        manifest.mask("a")


CODES = ["".join(c) for p in itertools.permutations(["LR", "PA", "IS"])
         for c in itertools.product(*p)]  # fmt: skip


@pytest.mark.parametrize("codes", CODES, ids=[f"B12-{c}" for c in CODES])
def test_any_axis_order_leads_to_the_same_world(codes, tmp_path, judge):
    marker = np.zeros(good.SHAPE, np.int16)
    marker[1:3, 2:6, 1:7] = 100  # asymmetric along every axis
    marker[8, 8, 6] = 900
    turned = reorient(Volume(marker[None], good.AFFINE), codes)
    nib.save(nib.Nifti1Image(turned.array[0], turned.affine), tmp_path / "a.nii.gz")
    manifest = Manifest.from_rows(tmp_path, scan(tmp_path))
    volume = manifest.volume("a")
    assert volume.orientation == codes
    usual = prepare(Volume(marker[None], good.AFFINE), Recipe()).image
    ours = prepare(volume, Recipe()).image
    assert np.array_equal(ours.array, usual.array) and np.allclose(ours.affine, usual.affine)


FLOODS = {
    "B14-recipe": (good.AFFINE, [0.001, 0.001, 0.001]),
    "B14-scan": (good.AFFINE @ np.diag([3e3, 3e3, 3e3, 1]), [1.0, 1.0, 1.0]),
    "B14-one-axis": (good.AFFINE @ np.diag([1, 1, 3e3, 1]), [0.01, 0.01, 0.001]),
}


@pytest.mark.parametrize("row", FLOODS)
def test_a_grid_beyond_the_memory_is_refused_before_it_is_made(row, tmp_path, judge):
    matrix, spacing = FLOODS[row]
    good.nifti(tmp_path, affine=matrix)
    found = judge(tmp_path, "TOO_LARGE", Recipe(spacing=spacing))
    assert "GiB of memory" in found[0].message


def test_controls(tmp_path, judge):
    good.nifti(tmp_path)
    good.film(tmp_path)
    judge(tmp_path, "ok")
