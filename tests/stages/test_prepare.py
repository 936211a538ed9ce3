import os
import re
import resource
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medssl.data.manifest import Manifest
from medssl.data.store import Store
from medssl.errors import TooManyBad, UserError
from medssl.stages import call

RECIPE = "recipe.spacing=1.2,1.2,1.2"


def contents(folder) -> dict[str, bytes]:
    """Every file below a folder by its path, but for the lock of who writes there."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def prepare_apart(manifest, out, *words, limits=()) -> subprocess.Popen:
    """`medssl prepare` in a process of its own, with resource limits."""
    command = [sys.executable, "-m", "medssl", "prepare", "mr_crop", manifest, f"out={out}", RECIPE]
    return subprocess.Popen(
        [*command, *words], stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: [resource.setrlimit(what, (n, n)) for what, n in limits],
    )  # fmt: skip


@pytest.fixture
def inputs(cohort, tmp_path):
    """Four indexed scans that a test may spoil."""
    (tmp_path / "in").mkdir()
    for i in range(4):
        shutil.copy(cohort / f"images/case_{i}.nii.gz", tmp_path / "in")
    call("index", scans=tmp_path / "in", modality="MR", out=tmp_path / "m")
    return tmp_path / "in"


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
    said = capsys.readouterr().err
    assert "10 scans hold a few whole numbers only" in said
    assert re.search(r"prepared 10 scans, .*; of \d+x\d+x\d+ to \d+x\d+x\d+ voxels\n", said)


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
    huge = nib.Nifti1Image(huge.get_fdata(), np.diag([5e3, 5e3, 5e3, 1]))
    nib.save(huge, tmp_path / "in/huge.nii.gz")
    call("index", scans=tmp_path / "in", modality="MR", out=tmp_path / "m")
    recipe = {"spacing": [1, 1, 1]}
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=tmp_path / "s", recipe=recipe)
    refused = pd.read_csv(tmp_path / "s/refused.csv")
    assert refused["id"].tolist() == ["huge"] and len(Store.read_from(tmp_path / "s").items) == 2
    few = {"manifest": tmp_path / "m", "out": tmp_path / "t", "recipe": recipe, "max_bad": 0.01}
    with pytest.raises(TooManyBad, match="1 of 3 were refused"):
        call("prepare", "mr_crop", **few)
    assert len(Store.read_from(tmp_path / "t").items) == 2


def test_workers_change_no_byte(cohort, tmp_path):
    recipe = {"spacing": [1.2, 1.2, 1.2]}
    store = tmp_path / "store"
    call("prepare", "mr_crop", manifest=cohort / "out/m", out=store, recipe=recipe, workers=2)
    found, known = contents(store), contents(cohort / "out/store")
    assert {k: v for k, v in found.items() if k != "store.json"} == {
        k: v for k, v in known.items() if k != "store.json"
    }  # store.json says where the manifest lies, seen from it


def test_killed_again_and_again_it_comes_to_the_same_store_with_few_files_open(cohort, tmp_path):
    store, manifest = tmp_path / "store", cohort / "out/m"
    few = [(resource.RLIMIT_NOFILE, 64)]
    for entries in (1, 3, 6):
        process = prepare_apart(manifest, store, "workers=2", limits=few)
        while len(list(store.glob("arrays/*.json"))) < entries and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        process.communicate()
    (store / "arrays/.17.x.image.b2nd").write_bytes(b"half")  # as a killed writer leaves it
    process = prepare_apart(manifest, store, "workers=2", limits=few)
    assert "prepared 10 scans" in process.communicate()[1]
    found, known = contents(store), contents(cohort / "out/store")
    assert found.keys() == known.keys()
    assert all(found[k] == known[k] for k in known if k != "store.json")


def test_a_full_disk_stops_it_with_whole_entries_only(cohort, tmp_path):
    known = contents(cohort / "out/store")
    sizes = sorted(len(v) for k, v in known.items() if k.endswith("image.b2nd"))
    full = [(resource.RLIMIT_FSIZE, sizes[5])]
    for workers in (0, 2):
        store = tmp_path / f"store{workers}"
        words = f"workers={workers}"
        process = prepare_apart(cohort / "out/m", store, words, limits=full)
        error = process.communicate()[1]
        assert process.returncode == 2 and "Traceback" not in error
        message = error[error.index("DISK") :]
        assert str(store) in message and "are free there" in message
        assert "scans not yet done need" in message and "what is done is kept" in message
        kept = contents(store)
        assert not [name for name in kept if "/." in name]
        assert all(known[name] == content for name, content in kept.items())
        call("prepare", "mr_crop", manifest=cohort / "out/m", out=store,
             recipe={"spacing": [1.2, 1.2, 1.2]})  # fmt: skip
        assert contents(store).keys() == known.keys()


def test_it_says_what_it_will_take_and_refuses_what_will_not_fit(cohort, tmp_path, capsys):
    recipe = {"spacing": [1.2, 1.2, 1.2]}
    call("prepare", "mr_crop", manifest=cohort / "out/m", out=tmp_path / "a", recipe=recipe)
    said = capsys.readouterr().err
    assert "to prepare: 10 scans, at most" in said
    assert "forecast after 3 scans: 7 more in about" in said
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10_000))
        with pytest.raises(UserError, match="7 more scans need about .* kB; 10 kB are free"):
            call("prepare", "mr_crop", manifest=cohort / "out/m", out=tmp_path / "b", recipe=recipe)
    assert len(list((tmp_path / "b/arrays").glob("*.json"))) == 3


def test_scans_are_never_written_to(inputs, tmp_path):
    def state():
        paths = [inputs, *inputs.rglob("*")]
        return {p: (p.stat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in paths}

    before = state()
    for path in before:
        path.chmod(0o555)
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=tmp_path / "s", workers=2)
    assert state() == before


def test_scans_that_vanish_or_change_after_indexing_are_named(inputs, tmp_path):
    (inputs / "case_0.nii.gz").unlink()
    other = nib.Nifti1Image(np.random.default_rng(0).normal(size=(9, 9, 9)), np.eye(4))
    nib.save(other, inputs / "case_1.nii.gz")
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=tmp_path / "s")
    refused = pd.read_csv(tmp_path / "s/refused.csv").set_index("id")
    assert list(Store.read_from(tmp_path / "s").items.index) == ["case_2", "case_3"]
    assert refused["code"].to_dict() == {"case_0": "UNREADABLE", "case_1": "STALE"}
    assert "file 1 of 1 cannot be read (No such file" in refused.at["case_0", "cause"]
    assert "has changed" in refused.at["case_1", "cause"]


def test_a_scan_that_changes_while_it_is_read_is_refused(inputs, tmp_path, monkeypatch):
    def volume(self, id, read=Manifest.volume):
        found = read(self, id)
        if id == "case_1":
            os.utime(inputs / "case_1.nii.gz", ns=(1, 1))
        return found

    monkeypatch.setattr(Manifest, "volume", volume)
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=tmp_path / "s")
    refused = pd.read_csv(tmp_path / "s/refused.csv")
    assert refused["id"].tolist() == ["case_1"] and "while they were read" in refused["cause"][0]


def test_free_text_stays_out_of_the_store(cohort, tmp_path, capsys):
    scans = Manifest.read(cohort / "out/m")
    scans.table["label_note"] = [f"seen by Doe {n}" for n in range(len(scans.table))]
    scans.write(tmp_path / "m")
    scale = {"spacing": [2.4, 2.4, 2.4]}
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=tmp_path / "store", recipe=scale)
    assert "left out of the store: note" in capsys.readouterr().err
    assert "label_note" not in Store.read_from(tmp_path / "store").items


@pytest.mark.parametrize("key", ["spacing", "size"])
def test_a_recipe_that_fits_no_scan_is_named_by_its_key_at_once(inputs, tmp_path, key):
    with pytest.raises(UserError, match=rf"recipe.{key} has 2 values.*3 axes.*give 3 values"):
        call("prepare", "mr_crop", manifest=tmp_path / "m", out=tmp_path / "store",
             recipe={key: [8, 8]})  # fmt: skip
    assert not (tmp_path / "store").exists()


def test_what_was_kept_and_what_had_been_damaged_is_told(inputs, tmp_path, capsys):
    store = tmp_path / "store"
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=store)
    assert "already" not in capsys.readouterr().err
    whole = contents(store)
    items = Store.read_from(store).items
    array = store / "arrays" / f"{items.loc['case_2', 'key']}.image.b2nd"
    array.write_bytes(array.read_bytes()[:-1])
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=store)
    told = capsys.readouterr().err
    assert "3 of 4 scans have their arrays there already" in told
    assert "damaged arrays of 1 scan (case_2) were made again" in told
    assert contents(store) == whole


def test_a_store_of_another_recipe_is_told_before_it_is_replaced(inputs, tmp_path, capsys):
    store = tmp_path / "store"
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=store, recipe={"spacing": [3, 3, 3]})
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=store, recipe={"spacing": [3, 3, 3]})
    assert "another recipe" not in capsys.readouterr().err
    before = set(os.listdir(store / "arrays"))
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=store, recipe={"spacing": [4, 4, 4]})
    told = capsys.readouterr().err
    assert re.search(r"CAUTION: .* holds 4 scans of another recipe \(spacing \[3.*, now \[4", told)
    assert told.index("CAUTION") < told.index("to prepare: 4 scans")
    assert before < set(os.listdir(store / "arrays"))


def test_a_store_of_other_scans_or_a_damaged_one_is_told_before_it_is_replaced(
    inputs, tmp_path, capsys
):
    store = tmp_path / "store"
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=store)
    (inputs / "case_3.nii.gz").unlink()
    call("index", scans=inputs, modality="MR", out=tmp_path / "m")
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=store)
    assert (
        "CAUTION: 1 of the 4 scans that" in (told := capsys.readouterr().err) and "case_3" in told
    )
    (store / "items.parquet").write_bytes(b"x")
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=store)
    told = capsys.readouterr().err
    assert "cannot be read (" in told and "is made anew" in told and "CAUTION" not in told


def test_a_manifest_without_a_scan_leaves_no_folder(inputs, tmp_path):
    manifest = Manifest.read(tmp_path / "m")
    manifest.table["verdict"] = "refused"
    manifest.write(tmp_path / "none")
    with pytest.raises(UserError, match="EMPTY .*no scan of it can be used.*quarantine.csv"):
        call("prepare", "mr_crop", manifest=tmp_path / "none", out=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_scans_of_unknown_modality_and_empty_masks_are_remarked(tmp_path, capsys):
    for name, array in {"i/a.nii": np.arange(64), "m/a.nii": np.zeros(64)}.items():
        (tmp_path / name).parent.mkdir()
        image = nib.Nifti1Image(array.astype(np.int16).reshape(4, 4, 4), np.eye(4))
        nib.save(image, tmp_path / name)
    call("index", scans=tmp_path / "i", labels=[tmp_path / "m"], out=tmp_path / "x")
    call("prepare", "mr_crop", manifest=tmp_path / "x", out=tmp_path / "store")
    told = capsys.readouterr().err
    assert "nothing says its modality, it is taken as MR" in told
    assert "its mask is empty" in told


def test_copies_in_several_splits_are_remarked(inputs, tmp_path, capsys):
    shutil.copy(inputs / "case_0.nii.gz", inputs / "case_9.nii.gz")
    (tmp_path / "s.csv").write_text("id,split\ncase_0,train\ncase_9,test\n")
    call("index", scans=inputs, modality="MR", splits=tmp_path / "s.csv", out=tmp_path / "m")
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=tmp_path / "store")
    assert "2 scans are byte for byte the same as one in another split" in capsys.readouterr().err
