import json

import pytest
from monai.data import load_decathlon_datalist

from medssl.cli import execute
from medssl.data.manifest import Manifest
from medssl.data.store import Store
from medssl.errors import UserError
from medssl.stages import call
from tests.data.exchange.equal import differences
from tests.faults import good


def test_there_and_back_and_into_a_store(cohort, tmp_path):
    before = Manifest.read(cohort / "out/m")
    out = tmp_path / "Dataset007_Ball"
    execute("convert", [str(cohort / "out/m"), "to=nnunet", f"out={out}", "classes.1=ball"])
    about = json.loads((out / "dataset.json").read_text())
    assert about["labels"] == {"background": 0, "ball": 1} and about["numTraining"] == 8
    assert about["channel_names"] == {"0": "MR"} and about["file_ending"] == ".nii.gz"
    execute("convert", [str(out), "outside=true", f"out={tmp_path / 'm'}"])
    after = Manifest.read(tmp_path / "m")
    assert differences(before, after) == []
    assert len(before.refused) == 1 and not len(after.refused)  # what is no scan is not passed on
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=tmp_path / "store",
         recipe={"spacing": [2, 2, 2]})  # fmt: skip
    store = Store.read_from(tmp_path / "store")
    assert len(store.items) == 10 and store.items["has_mask"].all()


def test_monai_reads_the_datalist(cohort, tmp_path):
    call("convert", source=cohort / "out/m", to="datalist", out=tmp_path / "d", files="copy")
    items = load_decathlon_datalist(tmp_path / "d/dataset.json", True, "training")
    assert len(items) == 6
    for item in items:
        for key in ("image", "label"):
            assert item[key].startswith(str(tmp_path)) and item[key].endswith(".nii.gz")


def test_one_format_becomes_another(cohort, tmp_path):
    call("convert", source=cohort / "out/m", to="bids", out=tmp_path / "b", files="copy")
    call("convert", source=tmp_path / "b", to="csv", out=tmp_path / "c", files="copy")
    call("convert", source=tmp_path / "c/scans.csv", out=tmp_path / "m")
    before, after = Manifest.read(cohort / "out/m"), Manifest.read(tmp_path / "m")
    assert differences(before, after, voxels=False) == []


def test_scans_are_not_written_to_and_directions_are_checked(cohort, tmp_path):
    m = cohort / "out/m"
    for words in (
        {"source": m, "to": "bids", "out": cohort / "images/b"},
        {"source": m, "out": tmp_path / "m"},
        {"source": m, "to": "nnunet", "out": tmp_path / "ball"},
        {"source": tmp_path, "out": tmp_path / "m"},
        {"source": tmp_path / "none", "out": tmp_path / "m"},
        {"source": cohort / "splits.csv", "scans": cohort / "images", "out": cohort / "images/m"},
    ):
        with pytest.raises(UserError, match="CONFIG|DATASET"):
            call("convert", **words)
    call("convert", source=m, to="csv", out=tmp_path / "c", files="copy")
    with pytest.raises(UserError, match="CONFIG .*never written to"):
        call("convert", source=tmp_path / "c", out=tmp_path / "c/m")


def test_it_counts_what_was_passed_on(tmp_path, capsys):
    (tmp_path / "scans").mkdir()
    good.nifti(tmp_path / "scans", "volume_1.nii")
    good.picture(tmp_path / "scans", "film_1.png")
    call("index", scans=tmp_path / "scans", out=tmp_path / "m")
    call("convert", source=tmp_path / "m", to="nnssl", files="copy", out=tmp_path / "d")
    assert "passed on 1 of 2 used scans as nnssl" in capsys.readouterr().err


def test_modality_and_contrast_have_an_effect_or_are_refused(tmp_path):
    (tmp_path / "scans").mkdir()
    good.nifti(tmp_path / "scans")
    call("index", scans=tmp_path / "scans", out=tmp_path / "m")
    m = tmp_path / "m"
    with pytest.raises(UserError, match="CONFIG contrast=T2w: .*none is MR.*modality=MR"):
        call("convert", source=m, to="bids", out=tmp_path / "b", contrast="T2w")
    with pytest.raises(UserError, match="CONFIG contrast=T2w: .*to=csv"):
        call("convert", source=m, to="csv", out=tmp_path / "b", contrast="T2w", modality="MR")
    call("convert", source=m, to="bids", out=tmp_path / "b", contrast="T2w", modality="mr")
    assert [p.name for p in (tmp_path / "b").rglob("*_T2w.nii*")]


def test_a_dataset_without_masks_says_that_it_has_no_training_case(tmp_path, capsys):
    (tmp_path / "scans").mkdir()
    good.nifti(tmp_path / "scans")
    call("index", scans=tmp_path / "scans", out=tmp_path / "m", modality="CT")
    call("convert", source=tmp_path / "m", to="nnunet", out=tmp_path / "Dataset001_X")
    assert "no scan has a mask" in capsys.readouterr().err


@pytest.mark.parametrize("classes", [{1: "a", 9: "b"}, {0: "a"}, {1: "background"}])
def test_names_of_classes_must_fit_the_masks(cohort, tmp_path, classes):
    for to in ("nnunet", "datalist"):
        with pytest.raises(UserError, match="CONFIG classes: "):
            call("convert", source=cohort / "out/m", to=to, out=tmp_path / to / "Dataset001_X",
                 classes=classes)  # fmt: skip


def test_a_scan_that_was_replaced_since_is_not_passed_on(tmp_path):
    (tmp_path / "scans").mkdir()
    for name in ("a.nii", "b.nii"):
        good.nifti(tmp_path / "scans", name)
    call("index", scans=tmp_path / "scans", out=tmp_path / "m", modality="CT")
    (tmp_path / "scans/a.nii").write_bytes(b"another scan")
    out = call("convert", source=tmp_path / "m", to="csv", out=tmp_path / "c")
    assert "STALE" in (out / "refused.csv").read_text()
    assert len(list((out / "images").iterdir())) == 1
