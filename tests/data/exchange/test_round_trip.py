"""A manifest that goes through a format comes back as it was, voxel by voxel."""

import json
import os

import numpy as np
import pytest

from medssl.data.exchange import FORMATS, Options, read, recognise, write
from medssl.data.manifest import Manifest
from medssl.data.phantom import make
from medssl.errors import UserError
from medssl.stages import call

WORDS = ["patient", "study", "modality", "shape", "spacing", "split", "boxes"]
OUT = {"csv": "lists/scans.csv", "datalist": "lists/dataset.json", "bids": "bids",
       "nnunet": "raw/Dataset007_Phantom", "nnssl": "raw/phantom"}  # fmt: skip


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    top = tmp_path_factory.mktemp("cohorts")
    make(top / "s", ct=3, films=4, formats=("nifti", "dicom"), seed=5)
    ct, film = top / "s/ct", top / "s/film"
    sources = {
        "nifti": (ct / "images", [ct / "labels", ct / "scans.csv"], "CT"),
        "dicom": (ct / "dicom", [], ""),
        "png": (film / "png", [film / "labels.csv", film / "boxes.json"], "DX"),
    }
    for name, (scans, labels, modality) in sources.items():
        call("index", scans=scans, out=top / name, labels=labels, modality=modality)
    return {name: Manifest.read(top / name) for name in sources}


def compare(a: Manifest, b: Manifest) -> None:
    mine, other = (
        m.used.set_index("id", drop=False).sort_index().astype(object).fillna("") for m in (a, b)
    )
    assert list(mine.index) == list(other.index)
    for word in [*WORDS, *a.label_columns]:
        assert mine[word].tolist() == other[word].tolist(), word
    assert set(a.label_columns) == set(b.label_columns)
    for id in mine.index:
        one, two = a.volume(id), b.volume(id)
        assert np.array_equal(one.array, two.array) and np.allclose(one.affine, two.affine), id
        one, two = a.mask(id), b.mask(id)
        assert (one is None) == (two is None) and (one is None or (one.array == two.array).all())


CASES = [(f, c) for f in FORMATS for c in ("nifti", "dicom", "png") if (f, c) != ("nnssl", "png")]


@pytest.mark.parametrize(("format", "cohort"), CASES)
def test_round_trip(cohorts, tmp_path, format, cohort):
    manifest = cohorts[cohort]
    before = {file: file.stat().st_mtime_ns for file in manifest.root.rglob("*")}
    out = write(manifest, format, tmp_path / OUT[format], Options())
    assert recognise(out) == format
    root = os.path.commonpath([tmp_path, manifest.root]) if format in ("csv", "datalist") else None
    back = read(out, format, root)
    compare(manifest, back)
    back.write(tmp_path / "m")
    compare(manifest, Manifest.read(tmp_path / "m"))
    assert {file: file.stat().st_mtime_ns for file in manifest.root.rglob("*")} == before


@pytest.mark.parametrize("format", FORMATS)
def test_no_path_of_the_machine_is_written(cohorts, tmp_path, format):
    out = write(cohorts["nifti"], format, tmp_path / OUT[format], Options())
    texts = [out] if out.is_file() else [p for p in out.rglob("*") if p.suffix in (".json", ".tsv")]
    assert texts
    for path in texts:
        assert str(cohorts["nifti"].root) not in path.read_text()


def test_what_a_format_cannot_hold_is_told_and_nothing_is_left(cohorts, tmp_path):
    def refused(cohort, format, out, match, **options):
        with pytest.raises(UserError, match=match):
            write(cohorts[cohort], format, tmp_path / out, Options(**options))
        assert not (tmp_path / out).exists()

    refused("png", "nnssl", "raw/x", "films .* nnssl reads volumes")
    refused("nifti", "nnunet", "Liver", "nnU-Net wants DatasetNNN_Name")
    table = cohorts["nifti"].table.assign(modality="MR")
    cohorts = {"nifti": Manifest(cohorts["nifti"].root, table)}
    refused("nifti", "bids", "b", "suffix=T1w")
    assert write(cohorts["nifti"], "bids", tmp_path / "b", Options(suffix="T1w")).is_dir()
    with pytest.raises(UserError, match="is there already"):
        write(cohorts["nifti"], "bids", tmp_path / "b", Options(suffix="T1w"))


def test_a_scan_that_cannot_be_read_is_left_out_and_listed(cohorts, tmp_path):
    make(tmp_path / "s", ct=2, seed=6)
    call("index", scans=tmp_path / "s/ct/images", labels=[tmp_path / "s/ct/labels"], modality="CT",
         out=tmp_path / "m")  # fmt: skip
    manifest = Manifest.read(tmp_path / "m")
    path = manifest.files("ct_p001_s1")[0]
    path.with_suffix("").write_bytes(path.read_bytes()[:5000])  # must be read to be written
    manifest.table.loc[manifest.table["id"] == "ct_p001_s1", "files"] = '["ct_p001_s1.nii"]'
    for format in ("nnunet", "bids", "nnssl"):
        out = write(manifest, format, tmp_path / OUT[format], Options())
        assert "STALE" in (out / "refused.csv").read_text()
        names = [p.name for p in out.rglob("*") if p.is_file()]
        assert not any("ctp001s1" in name or "ct_p001_s1" in name for name in names)
        assert len(read(out, format).used) == 3


def test_nnunet_gets_what_it_trains_on(cohorts, tmp_path):
    manifest = cohorts["nifti"]
    out = write(manifest, "nnunet", tmp_path / "Dataset001_X", Options())
    about = json.loads((out / "dataset.json").read_text())
    trained = manifest.used[manifest.used["split"] != "test"]["id"]
    images = sorted(p.name for p in (out / "imagesTr").iterdir())
    assert images == sorted(f"{id}_0000.nii.gz" for id in trained)
    assert sorted(p.name for p in (out / "labelsTr").iterdir()) == sorted(
        f"{id}.nii.gz" for id in trained
    )
    assert about["numTraining"] == len(images) and about["channel_names"] == {"0": "CT"}
    assert list(about["labels"].values()) == list(range(len(about["labels"])))
    fold = json.loads((out / "splits_final.json").read_text())[0]
    assert sorted(fold["train"] + fold["val"]) == sorted(trained)


def test_monai_reads_the_datalist(cohorts, tmp_path):
    from monai.data import load_decathlon_datalist

    manifest = cohorts["nifti"]
    out = write(manifest, "datalist", tmp_path / "dataset.json", Options())
    items = load_decathlon_datalist(str(out), is_segmentation=True, data_list_key="training")
    assert len(items) == (manifest.used["split"] == "train").sum() > 0
    assert all(os.path.isfile(item["image"]) and os.path.isfile(item["label"]) for item in items)
