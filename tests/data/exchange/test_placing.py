import os

import numpy as np
import pytest

from medssl.data.exchange import format_of
from medssl.data.exchange.entry import Writing
from medssl.data.index import scan
from medssl.data.manifest import Manifest
from tests.data.exchange.equal import differences
from tests.data.index.test_dicom_frames import two_parts, written
from tests.faults import good


@pytest.fixture
def odd(tmp_path):
    """Volumes in six kinds of file, two of them in two parts, one not what its suffix says."""
    root = tmp_path / "scans"
    root.mkdir()
    good.nifti(root, "p.img")
    good.nifti(root, "z.nii")
    for name in ("m.mhd", "n.nrrd", "a.mha"):
        good.itk(root, name)
    (root / "x.nii.gz").write_bytes((root / "z.nii").read_bytes())
    return root


ENDINGS = {
    "nnssl": {".nii.gz"}, "nnunet": {".nii.gz"}, "bids": {".nii.gz", ".nii"},
    "datalist": {".nii.gz", ".nii", ".mha", ".nrrd"}, "csv": {".nii.gz", ".nii", ".mha", ".nrrd"},
}  # fmt: skip


@pytest.mark.parametrize("format", ENDINGS)
def test_every_kind_of_file_becomes_one_that_the_format_takes(odd, passed_on, format):
    manifest = Manifest.from_rows(odd, scan(odd, "MR", "names"))
    after, _ = passed_on(manifest, format, "copy")
    assert len(after.used) == 6 and differences(manifest, after) == []
    assert {"." + name.partition(".")[2] for name in after.used["path"]} == ENDINGS[format]
    assert not after.used["remarks"].str.contains("suffix").any()


def test_nnunet_keeps_an_ending_that_all_share(tmp_path, passed_on):
    (tmp_path / "n").mkdir()
    for name in ("a.nrrd", "b.nrrd"):
        good.itk(tmp_path / "n", name)
    manifest = Manifest.from_rows(tmp_path / "n", scan(tmp_path / "n", "MR", "names"))
    after, out = passed_on(manifest, "nnunet")
    assert differences(manifest, after) == []
    assert sorted(p.name for p in out.glob("images*/*")) == ["a_0000.nrrd", "b_0000.nrrd"]


def test_films_that_other_tools_see_otherwise_become_grey_for_nnunet(tmp_path, passed_on):
    (tmp_path / "f").mkdir()
    good.picture(tmp_path / "f", "rgb.png", mode="RGB")
    good.picture(tmp_path / "f", "grey.png")
    manifest = Manifest.from_rows(tmp_path / "f", scan(tmp_path / "f", "DX", "names"))
    for format, links in (("nnunet", 1), ("bids", 2)):
        after, out = passed_on(manifest, format)
        assert differences(manifest, after) == []
        assert sum(p.is_symlink() for p in out.rglob("*.png")) == links


def test_dicom_films_become_png(phantoms, passed_on):
    folder = phantoms / "film/dicom"
    manifest = Manifest.from_rows(folder, scan(folder))
    after, out = passed_on(manifest, "nnunet")
    assert differences(manifest, after) == [] and len(list(out.rglob("*.png"))) == 4


def test_a_scan_that_cannot_be_read_is_listed_without_its_name(odd, passed_on, tmp_path):
    array = good.voxels(dtype="float32")
    array[0, 0, 0] = float("nan")
    good.nifti(odd, "mueller.nii", array)
    manifest = Manifest.from_rows(odd, scan(odd, "MR"))
    after, out = passed_on(manifest, "nnssl")
    listed = (out / "refused.csv").read_text()
    assert len(after.used) == 6 and "NONFINITE" in listed and "mueller" not in listed
    assert passed_on(manifest, "datalist")[0].used["id"].tolist() != []


def test_copies_keep_sizes_and_times_and_stand_alone(odd, tmp_path):
    manifest = Manifest.from_rows(odd, scan(odd, "MR", "names"))
    out = tmp_path / "out"
    format_of("datalist").write(manifest, out, Writing("copy"))
    one, two = (os.stat(p) for p in (odd / "z.nii", out / "images/z.nii"))
    assert (one.st_size, int(one.st_mtime)) == (two.st_size, int(two.st_mtime))
    assert not any(p.is_symlink() for p in out.rglob("*"))


@pytest.mark.parametrize("format", ["csv", "datalist", "nnunet"])
@pytest.mark.parametrize("files", ["link", "copy"])
def test_scans_that_share_a_file_get_one_each(tmp_path, passed_on, format, files):
    (tmp_path / "scans").mkdir()
    written(two_parts("echoes")[0], tmp_path / "scans")
    manifest = Manifest.from_rows(tmp_path / "scans", scan(tmp_path / "scans"))
    after, _ = passed_on(manifest, format, files)
    assert len(after.used) == 2 and differences(manifest, after) == []


@pytest.mark.parametrize("format", ["nnunet", "datalist"])
def test_masks_with_recoded_values_are_written_anew(volumes, passed_on, format):
    recoded = Manifest(volumes.root, volumes.table, recode={5: 1})
    after, _ = passed_on(recoded, format)
    for id in volumes.used["id"]:
        mask = volumes.mask(id).array
        assert (mask == 5).any()
        assert np.array_equal(after.mask(id).array, np.where(mask == 5, 1, mask))
    assert differences(recoded, after) == []


def test_recoded_masks_of_other_formats_become_nifti_with_their_scans(tmp_path, passed_on):
    (tmp_path / "n").mkdir()
    for name in ("a.nrrd", "a_seg.nrrd"):
        good.itk(tmp_path / "n", name)
    rows = [row for row in scan(tmp_path / "n", "MR", "names") if row.id == "a"]
    table = Manifest.from_rows(tmp_path / "n", rows).table.assign(label_mask="a_seg.nrrd")
    values = np.unique(Manifest(tmp_path / "n", table).mask("a").array)
    recode = {int(v): k for k, v in enumerate(values)}
    after, out = passed_on(Manifest(tmp_path / "n", table, recode=recode), "nnunet")
    assert {p.name for p in out.glob("*s*/*.*")} == {"a_0000.nii.gz", "a.nii.gz"}
    assert np.unique(after.mask("a").array).tolist() == list(range(len(values)))
