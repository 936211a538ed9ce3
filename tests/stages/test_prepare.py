import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medssl.data.manifest import Manifest
from medssl.data.store import Store
from medssl.errors import UserError
from medssl.stages import call


def test_every_file_is_used_or_refused(cohort):
    table = pd.read_parquet(cohort / "out/m/manifest.parquet")
    assert (table["verdict"] == "used").sum() == 10
    broken = table[table["path"].str.contains("broken")].iloc[0]
    assert broken["verdict"] == "refused" and broken["reason"]


def test_preparing_again_reads_no_voxel_and_changes_no_file(cohort, monkeypatch):
    store = cohort / "out/store"
    before = {p: p.read_bytes() for p in (store / "arrays").iterdir()}
    items = pd.read_parquet(store / "items.parquet")
    monkeypatch.setattr(Manifest, "volume", None)
    recipe = {"spacing": [1.2, 1.2, 1.2]}
    call("prepare", "mr_crop", manifest=cohort / "out/m", out=store, recipe=recipe)
    assert before == {p: p.read_bytes() for p in (store / "arrays").iterdir()}
    assert items.equals(pd.read_parquet(store / "items.parquet"))


def test_scans_that_look_like_masks_are_told(cohort, tmp_path, capsys):
    call("index", scans=cohort / "labels", modality="MR", out=tmp_path / "m")
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=tmp_path / "store")
    assert "10 scans hold a few whole numbers only" in capsys.readouterr().err


def test_a_manifest_edited_by_hand_is_checked(cohort, tmp_path):
    for column, value, cause in (
        ("patient", "MUELLER^HANS", "not named by salted ids"),
        ("split", "test", "in several splits"),
    ):
        manifest = Manifest.read(cohort / "out/m")
        manifest.table.loc[manifest.used.index[0], column] = value
        manifest.write(tmp_path / "m")
        with pytest.raises(UserError, match=cause) as error:
            call("prepare", "mr_crop", manifest=tmp_path / "m", out=tmp_path / "s")
        assert "MUELLER" not in str(error.value)


def test_one_scan_that_no_array_can_be_made_of_stops_no_other(cohort, tmp_path):
    (tmp_path / "in").mkdir()
    for i in (0, 1):
        shutil.copy(cohort / f"images/case_{i}.nii.gz", tmp_path / "in")
    huge = nib.load(cohort / "images/case_2.nii.gz")
    huge = nib.Nifti1Image(huge.get_fdata(), np.diag([1e5, 1e5, 1e5, 1]))
    nib.save(huge, tmp_path / "in/huge.nii.gz")
    call("index", scans=tmp_path / "in", modality="MR", out=tmp_path / "m")
    recipe = {"spacing": [1, 1, 1]}
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=tmp_path / "s", recipe=recipe)
    refused = pd.read_csv(tmp_path / "s/refused.csv")
    assert refused["id"].tolist() == ["huge"] and len(Store.read_from(tmp_path / "s").items) == 2
