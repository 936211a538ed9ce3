import json
import shutil
import zlib

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medssl.data.phantom import make
from medssl.data.volume import Volume
from medssl.errors import UserError
from medssl.stages import call
from medssl.stages.qc import _picture


@pytest.fixture(scope="module")
def manifest(cohort, tmp_path_factory):
    """The cohort, with a copy of a training scan in the test split, of another type and order."""
    root = tmp_path_factory.mktemp("qc")
    shutil.copytree(cohort / "images", root / "in")
    image = nib.load(root / "in/case_0.nii.gz")
    turned = image.as_reoriented(np.array([[1, 1], [0, -1], [2, 1]]))
    nib.save(
        nib.Nifti1Image(turned.get_fdata(dtype=np.float64), turned.affine), root / "in/case_90.nii"
    )
    torn = (root / "in/case_1.nii.gz").read_bytes()
    (root / "in/case_91.nii.gz").write_bytes(torn[:-9] + b"\0" + torn[-8:])
    mask = nib.load(cohort / "labels/case_2.nii.gz")
    nib.save(mask, root / "in/case_2_organ.nii.gz")
    splits = pd.read_csv(cohort / "splits.csv")
    splits.loc[len(splits)] = ["case_90", "P9", "test", 1]
    splits.to_csv(root / "splits.csv", index=False)
    call("index", scans=root / "in", modality="MR", labels=[root / "splits.csv"], out=root / "m")
    return root / "m"


def test_copies_that_contradict_stand_first_and_broken_voxels_are_named(manifest, tmp_path):
    out = call("qc", manifest=manifest, out=tmp_path / "qc", thumbnails=3)
    found = json.loads((out / "findings.json").read_text())
    assert found["copies"] == [
        {"ids": ["case_0", "case_90"], "differ": ["patient", "split", "label odd"]}
    ]
    assert list(found["unreadable"]) == ["case_91"] and found["n_used"] == 13
    assert found["likely_masks"] == ["case_2_organ"]
    page = (out / "qc.html").read_text()
    assert not any(path.stat().st_mode & 0o077 for path in out.iterdir())
    assert (
        "Scans whose copies contradict: 1, in label odd, patient, split. A copy in another" in page
    )
    assert "UNREADABLE" in page
    assert page.count("<img") == 2 and "http" not in page.replace("http://www.w3.org", "")


def test_masks_are_measured_drawn_and_told_where_they_are_odd(cohort, tmp_path, capsys):
    for kind in ("images", "labels"):
        shutil.copytree(cohort / kind, tmp_path / kind)
    masks = {n: tmp_path / f"labels/case_{n}.nii.gz" for n in range(4)}
    small, other, moved, empty = (nib.load(path) for path in masks.values())

    def save(n, array, affine):
        nib.save(nib.Nifti1Image(array.astype(np.uint8), affine), masks[n])

    voxels = small.get_fdata()
    save(0, voxels * (np.cumsum(voxels > 0).reshape(voxels.shape) < 9), small.affine)
    voxels = other.get_fdata()
    voxels[0, 0, 0] = 3
    save(1, voxels, other.affine)
    save(2, moved.get_fdata(), moved.affine + 5)
    save(3, 0 * empty.get_fdata(), empty.affine)
    words = {"scans": tmp_path / "images", "labels": [tmp_path / "labels"], "modality": "MR"}
    m = call("index", **words, out=tmp_path / "m")
    out = call("qc", manifest=m, out=tmp_path / "qc", thumbnails=2)
    found = json.loads((out / "findings.json").read_text())
    assert found["unusual_masks"]["case_0"][0]["value"] == 1
    assert (
        0
        < found["unusual_masks"]["case_0"][0]["size"]
        < found["unusual_masks"]["case_0"][0]["usual"]
    )
    assert list(found["unusable_masks"]) == ["case_2"] and found["empty_masks"] == ["case_3"]
    assert f"leave_out={next(iter(found['unusual_masks']))}` goes on" in capsys.readouterr().err
    assert "GEOMETRY" in found["unusable_masks"]["case_2"]
    assert pd.read_csv(out / "classes.csv")["value"].tolist() == [1, 3]
    page = (out / "qc.html").read_text()
    assert "leave_out=ID" in page and "unusual masks" in page and "outlines of masks" in page
    call("qc", manifest=m, out=tmp_path / "two", thumbnails=2, workers=2)
    assert (tmp_path / "two/qc.html").read_text() == page


def test_a_slice_is_drawn_where_the_mask_is_and_in_its_true_proportions():
    labels = np.zeros((1, 40, 30, 20), np.uint8)
    labels[0, 5:9, 5:9, 3], labels[0, 30, 20, 17] = 1, 2
    affine = np.diag([1.0, 4.0, 1.0, 1.0])
    scan, mask = Volume(0.5 * labels, affine), Volume(labels, affine)
    for value, shown in ((None, {0, 1}), (1, {0, 1}), (2, {0, 2}), (3, {0, 1})):
        drawn = _picture("a", scan, mask, value)
        assert drawn.image.shape == drawn.mask.shape == (120, 40)
        assert set(np.unique(drawn.mask)) == shown
    assert _picture("a", scan).mask is None


def test_workers_and_repetition_change_nothing(manifest, tmp_path):
    for name, workers in (("a", 0), ("b", 2)):
        call("qc", manifest=manifest, out=tmp_path / name, thumbnails=2, workers=workers)
    for file in ("findings.json", "qc.html"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_refused_file_that_raises_anything_ends_nothing(tmp_path, monkeypatch):
    make(tmp_path / "scans", ct=2, formats=("dicom",), seed=1)
    series = tmp_path / "scans/ct/dicom"
    sorted(min(series.iterdir()).rglob("*.dcm"))[5].unlink()
    m = call("index", scans=series, max_bad=1.0, out=tmp_path / "m")

    def broken(path):
        raise zlib.error("incorrect header check")

    monkeypatch.setattr("medssl.stages.qc.dicom.picture", broken)
    page = (call("qc", manifest=m, out=tmp_path / "qc") / "qc.html").read_text()
    assert "GAP" in page and "pictures of refused series" not in page


def test_a_refused_series_is_shown_and_the_scans_are_left_alone(tmp_path):
    make(tmp_path / "scans", ct=1, formats=("dicom",), seed=1)
    series = min((tmp_path / "scans/ct/dicom").iterdir())
    files = sorted(series.rglob("*.dcm"))
    files[len(files) // 3].unlink()
    with pytest.raises(UserError, match="EMPTY .*none of 1 entries is a scan that can be used"):
        call("index", scans=series, out=tmp_path / "m")
    out = call("qc", manifest=tmp_path / "m", out=tmp_path / "qc")
    page = (out / "qc.html").read_text()
    assert "GAP" in page and "pictures of refused series" in page
    with pytest.raises(UserError, match="among the scans"):
        call("qc", manifest=tmp_path / "m", out=series / "qc")
