import os

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medssl.data.index import scan
from medssl.data.labels import attach
from medssl.data.manifest import Manifest
from medssl.errors import UserError


def volume(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4)), path)


def indexed(root) -> Manifest:
    return Manifest.from_rows(root, scan(root))


def by_id(manifest) -> pd.DataFrame:
    return manifest.table.set_index("id")


def of_scans(manifest) -> dict:
    used = manifest.used
    return dict(zip(used["path"], used["label_mask"], strict=True))


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.nii.gz", "a.nii.gz"), ("a_0000.nii.gz", "a.nii"), ("a.nii", "a_seg.nii.gz"),
        ("a.nii", "a-label.nii.gz"), ("a.nii", "a_mask.nii"), ("a.nii", "a-SEG.nii"),
    ],
)  # fmt: skip
def test_masks_find_their_scans_by_name(tmp_path, image, mask):
    volume(tmp_path / "images" / image)
    volume(tmp_path / "images" / "other.nii")
    volume(tmp_path / "masks" / "lost.nii")
    volume(tmp_path / "masks" / mask)
    manifest = attach(indexed(tmp_path / "images"), tmp_path / "masks")
    found = by_id(manifest)["label_mask"]
    assert found.iloc[0] == f"../masks/{mask}" and found.iloc[1] == ""
    assert manifest.notes == [
        "masks: 1 scans labelled, 1 used scans not named, 1 masks without a scan: lost.nii"
    ]
    assert manifest.mask(found.index[0]).array.shape == (1, 3, 4, 5)


def test_masks_below_the_scans_are_no_scans(tmp_path):
    for name in ("images/a.nii", "labels/a.nii", "labels/lost.nii"):
        volume(tmp_path / name)
    manifest = attach(indexed(tmp_path), [tmp_path / "labels"])
    assert manifest.used["path"].tolist() == ["images/a.nii"]
    reasons = manifest.refused.set_index("path")["reason"]
    assert reasons["labels/a.nii"] == f"label mask of {manifest.used['id'].iloc[0]}"
    assert reasons["labels/lost.nii"] == "label mask without a scan"


def test_equal_stems_are_told_apart_by_folder_or_refused(tmp_path):
    for name in ("i/p1/t1.nii", "i/p2/t1.nii", "m/p1/t1.nii", "m/p2/t1.nii"):
        volume(tmp_path / name)
    manifest = attach(indexed(tmp_path / "i"), tmp_path / "m")
    assert manifest.table["label_mask"].tolist() == ["../m/p1/t1.nii", "../m/p2/t1.nii"]
    volume(tmp_path / "flat" / "t1.nii")
    with pytest.raises(UserError, match="LABELS .*p1/t1.nii and p2/t1.nii"):
        attach(indexed(tmp_path / "i"), tmp_path / "flat")


def test_two_masks_of_one_scan_are_refused(tmp_path):
    for name in ("i/a.nii", "m/a.nii", "m/a_seg.nii"):
        volume(tmp_path / name)
    with pytest.raises(UserError, match="two masks"):
        attach(indexed(tmp_path / "i"), tmp_path / "m")


def test_broken_masks_are_listed_and_no_mask_at_all_is_refused(tmp_path):
    volume(tmp_path / "i/a.nii")
    volume(tmp_path / "m/a.nii")
    (tmp_path / "m/b.nii.gz").write_bytes(b"not a mask")
    (tmp_path / "m/notes.txt").write_text("read me")
    manifest = attach(indexed(tmp_path / "i"), tmp_path / "m")
    codes = manifest.refused.set_index("path")["code"].to_dict()
    assert codes == {"../m/b.nii.gz": "UNREADABLE", "../m/notes.txt": "NOT_IMAGE"}
    manifest.write(tmp_path / "out")
    pd.testing.assert_frame_equal(Manifest.read(tmp_path / "out").table, manifest.table)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="LABELS .*empty: holds no NIfTI"):
        attach(indexed(tmp_path / "i"), tmp_path / "empty")


def test_a_folder_of_masks_that_cannot_be_listed_is_refused(tmp_path, monkeypatch):
    volume(tmp_path / "i/a.nii")
    (tmp_path / "m").mkdir()
    manifest = indexed(tmp_path / "i")

    def closed(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(
        UserError, match="LABELS .*cannot be listed .Permission denied.*permissions"
    ):
        attach(manifest, tmp_path / "m")


def test_masks_may_have_more_behind_the_name_of_their_scan(tmp_path):
    for name in ("i/P-7_T1.nii.gz", "i/P-7_T1_late.nii", "m/P-7_T1_X.nii", "m/P-7_T1_late X.nii"):
        volume(tmp_path / name)
    manifest = attach(indexed(tmp_path), tmp_path / "m")
    assert of_scans(manifest) == {
        "i/P-7_T1.nii.gz": "m/P-7_T1_X.nii",
        "i/P-7_T1_late.nii": "m/P-7_T1_late X.nii",  # the longer name counts
    }
    assert manifest.notes == [
        "m: 2 scans labelled, 0 used scans not named, 2 masks by the beginning of their name "
        "(P-7_T1_X.nii for P-7_T1.nii.gz)"
    ]


def test_a_name_begins_another_only_up_to_a_separator(tmp_path):
    for name in ("i/case1.nii", "i/b.nii", "m/case12.nii", "m/b.nii"):
        volume(tmp_path / name)
    manifest = attach(indexed(tmp_path / "i"), tmp_path / "m")
    assert of_scans(manifest) == {"case1.nii": "", "b.nii": "../m/b.nii"}


def test_two_masks_that_begin_like_one_scan_are_refused(tmp_path):
    for name in ("i/a.nii", "m/a_liver.nii", "m/a_spleen.nii"):
        volume(tmp_path / name)
    with pytest.raises(UserError, match="a_spleen.nii: a.nii has two masks, this and a_liver.nii"):
        attach(indexed(tmp_path / "i"), tmp_path / "m")


def test_a_folder_whose_masks_match_no_scan_is_refused(tmp_path):
    for name in ("i/a.nii", "m/x_seg.nii", "m/y_seg.nii"):
        volume(tmp_path / name)
    words = (
        "LABELS .*m: none of 2 masks .* x_seg, y_seg; scans are called a.*CSV with path and mask"
    )
    with pytest.raises(UserError, match=words):
        attach(indexed(tmp_path / "i"), tmp_path / "m")


def test_masks_of_equal_names_are_told_apart_by_folder_whatever_their_ending(tmp_path):
    for name in ("i/p1/t1.nii", "i/p2/t1.nii", "m/p1/t1_seg.nii", "m/p2/t1_x.nii"):
        volume(tmp_path / name)
    manifest = attach(indexed(tmp_path / "i"), tmp_path / "m")
    assert manifest.table["label_mask"].tolist() == ["../m/p1/t1_seg.nii", "../m/p2/t1_x.nii"]


def test_a_mask_called_exactly_like_a_scan_goes_before_one_that_begins_so(tmp_path):
    volume(tmp_path / "images/a.nii")
    for name in ("a.nii", "a_2.nii"):  # a_2 is the mask of a scan that is not here
        volume(tmp_path / "masks" / name)
    manifest = attach(indexed(tmp_path / "images"), tmp_path / "masks")
    assert of_scans(manifest) == {"a.nii": "../masks/a.nii"}
    assert manifest.notes[-1].endswith("1 masks without a scan: a_2.nii")


@pytest.mark.parametrize("own", [True, False])
def test_a_number_of_four_digits_is_no_channel_of_another_number(tmp_path, own):
    for n in range(3):
        volume(tmp_path / f"images/case_{n:04}.nii")
    for n in (0, 1, 7) if own else (1, 7):
        volume(tmp_path / f"masks/case_{n:04}.nii")
    manifest = attach(indexed(tmp_path / "images"), tmp_path / "masks")
    found = {scan: os.path.basename(mask) for scan, mask in of_scans(manifest).items()}
    first = "case_0000.nii" if own else ""
    assert found == {"case_0000.nii": first, "case_0001.nii": "case_0001.nii", "case_0002.nii": ""}
