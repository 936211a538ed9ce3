import pandas as pd

from medssl.data.manifest import Manifest
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
