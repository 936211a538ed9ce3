import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medssl import stages
from medssl.command_line import load
from medssl.data.manifest import Manifest
from medssl.data.patients import pseudonym
from medssl.data.store import Store
from medssl.errors import TooManyBad, UserError
from medssl.stages.index import Config


@pytest.fixture
def scans(tmp_path):
    for patient in (1, 2):
        for visit in (1, 2):
            path = tmp_path / "scans" / f"sub{patient}_v{visit}.nii.gz"
            path.parent.mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)), path)
    (tmp_path / "scans" / "cut.nii").write_bytes(b"\x5c\x01\0\0")
    (tmp_path / "scans" / "readme.txt").write_text("x")
    return tmp_path / "scans"


def start(*words) -> Manifest:
    return Manifest.read(
        stages.start("index", load(Config, "index", [str(word) for word in words]))
    )


def test_scans_are_left_out_by_their_ids(scans, tmp_path, capsys):
    left = start(scans, f"out={tmp_path / 'm'}", "leave_out=sub1_v1,sub2_v2", "shares=0.5,0,0.5")
    assert left.used["id"].tolist() == ["sub1_v2", "sub2_v1"] and (left.used["split"] != "").all()
    refused = left.refused.set_index("id")["code"]
    assert refused["sub1_v1"] == "LEFT_OUT" and "LEFT_OUT 2" in capsys.readouterr().out
    assert "LEFT_OUT" not in (tmp_path / "m/quarantine.csv").read_text()
    with pytest.raises(
        UserError, match="CONFIG leave_out: no used scan is called cut, none.*manifest"
    ):
        start(scans, f"out={tmp_path / 'm'}", "leave_out=none,cut")


def test_a_manifest_is_written_and_the_scans_are_left_alone(scans, tmp_path, capsys):
    before = {path: path.stat().st_mtime_ns for path in scans.rglob("*")}
    pattern = "patient_pattern=(sub[0-9]+)_"
    manifest = start(scans, f"out={tmp_path / 'm'}", "modality=MR", pattern)
    assert (tmp_path / "m" / "manifest.csv").exists()
    assert {path: path.stat().st_mtime_ns for path in scans.rglob("*")} == before
    used = manifest.used.set_index("id")
    assert used["modality"].eq("MR").all() and len(used) == 4
    assert used.at["sub1_v1", "patient"] == used.at["sub1_v2", "patient"] == pseudonym("sub1", "p")
    shown = capsys.readouterr().out
    assert "4 scans used, patients: 2; 2 entries refused" in shown
    assert "UNREADABLE cut.nii: " in shown and "readme.txt" not in shown


def test_what_is_broken_is_listed_with_its_mend_and_may_be_too_much(scans, tmp_path):
    start(scans, f"out={tmp_path / 'm'}")
    listed = tmp_path / "m" / "quarantine.csv"
    bad = pd.read_csv(listed)
    assert bad[["code", "path"]].values.tolist() == [["UNREADABLE", "cut.nii"]]
    assert "magic word is broken" in bad["cause"][0] and "fetch" in bad["fix"][0]
    assert listed.stat().st_mode & 0o077 == 0
    with pytest.raises(TooManyBad, match="1 of 5 were refused, max_bad=0.1 allows 0") as raised:
        start(scans, f"out={tmp_path / 'n'}", "max_bad=0.1")
    assert raised.value.status == 3 and (tmp_path / "n" / "manifest.parquet").exists()
    (scans / "cut.nii").unlink()
    start(scans, f"out={tmp_path / 'm'}", "max_bad=0")
    assert len(pd.read_csv(listed)) == 0


def test_labels_and_splits(scans, tmp_path):
    (tmp_path / "l.csv").write_text("id,patient,y\nsub1_v1,1,0\nsub1_v2,1,1\n")
    (tmp_path / "s.csv").write_text("id,split\nsub1_v1,train\nsub1_v2,train\nsub2_v1,test\n")
    words = [scans, f"labels={tmp_path / 'l.csv'}", f"splits={tmp_path / 's.csv'}"]
    manifest = start(*words, f"out={tmp_path / 'm'}")
    assert manifest.used["split"].tolist() == ["train", "train", "test", ""]
    assert manifest.used["label_y"].tolist()[:2] == [0, 1]
    (tmp_path / "s.csv").write_text("id,split\nsub1_v1,train\nsub1_v2,test\n")
    with pytest.raises(UserError, match="SPLIT .*1 of 1 patients"):
        start(*words, f"out={tmp_path / 'm2'}")
    assert not (tmp_path / "m2").exists()


def test_what_is_not_known_is_said_once_each_with_the_way_out(scans, tmp_path, capsys):
    start(scans, f"out={tmp_path / 'm'}")
    shown = capsys.readouterr().out
    assert "4 of 4 scans do not say their modality: give modality=MR" in shown
    assert "patients of 4 scans are not known" in shown and "ids=" not in shown
    word = "patient_pattern=(sub[0-9]+)"
    assert f"'{word}' takes sub1 of sub1_v1.nii.gz, which makes 2 patients" in shown
    (scans / "sub1_v1.nii.gz").rename(scans / "sub1_smith.nii.gz")
    manifest = start(scans, f"out={tmp_path / 'm'}", word, "modality=MR")
    shown = capsys.readouterr().out
    assert "modality" not in shown and "not known" not in shown
    (id,) = manifest.used.loc[manifest.used["path"] == "sub1_smith.nii.gz", "id"]
    assert f"1 scans go by salted ids, such as {id}; manifest.csv has the path" in shown
    assert "ids=names keeps" in shown
    start(scans, f"out={tmp_path / 'm'}", word, "modality=MR", "ids=names")
    assert "remark" not in capsys.readouterr().out


def test_values_of_masks_are_recoded_and_the_store_follows(cohort, tmp_path, capsys):
    m, s = tmp_path / "m", tmp_path / "s"
    words = [cohort / "images", f"labels={cohort / 'labels'}", "modality=MR", f"out={m}"]

    def prepared() -> Store:
        return Store.read_from(stages.call("prepare", "mr_crop", manifest=m, out=s))

    start(*words)
    store = prepared()
    before = {item: store.read_mask(item) for item in store.items.index}
    manifest = start(*words, "recode={1: 7, 61: 8}")
    assert "in masks 1 counts as 7, 61 counts as 8" in manifest.notes
    with pytest.raises(UserError, match="recoded values, have changed"):
        store.check_unchanged(manifest, "case_0")
    capsys.readouterr()
    store = prepared()
    assert "remark: no prepared mask holds 61 of recode=" in capsys.readouterr().err
    for item, mask in before.items():
        assert mask.any() and np.array_equal(store.read_mask(item), 7 * mask)
        store.check_unchanged(manifest, item)


def test_bad_words_are_refused(scans, tmp_path):
    out = f"out={tmp_path / 'm'}"
    for words in (
        [scans, f"out={scans / 'm'}"],
        [scans, out, "patient_pattern=("],
        [scans, out, "patient_pattern=sub"],
        [tmp_path / "nothing", out],
        [scans, out, f"labels={tmp_path / 'nothing'}"],
        [scans, out, "recode={2: 1}"],  # no masks
        [scans, out, "recode={0: 1}"],
        [scans, out, "recode={2: 70000}"],
    ):
        with pytest.raises(UserError):
            start(*words)


def test_one_file_is_enough(scans, tmp_path):
    manifest = start(scans / "sub1_v1.nii.gz", f"out={tmp_path / 'm'}")
    assert manifest.volume("sub1_v1").array.shape == (1, 3, 4, 5)


def test_a_folder_without_a_scan_is_an_error(scans, tmp_path):
    for path in scans.glob("sub*"):
        path.unlink()
    with pytest.raises(UserError, match="EMPTY .*none of 2 entries .*quarantine.csv"):
        start(scans, f"out={tmp_path / 'm'}")
    assert len(pd.read_csv(tmp_path / "m/quarantine.csv")) == 1
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="EMPTY .*nothing: holds no file"):
        start(tmp_path / "nothing", f"out={tmp_path / 'm'}")


def test_splits_may_be_drawn_by_patient(scans, tmp_path):
    words = [scans, f"out={tmp_path / 'm'}", "patient_pattern=(sub[0-9]+)_", "shares=0.5,0,0.5"]
    used = start(*words).used.set_index("id")
    assert set(used["split"]) == {"train", "test"}
    assert used.groupby("patient")["split"].nunique().eq(1).all()
    assert start(*words).used["split"].tolist() == used["split"].tolist()
    (tmp_path / "s.csv").write_text("id,split\nsub1_v1,train\n")
    with pytest.raises(UserError, match="SPLIT shares: some scans have a split already"):
        start(*words, f"splits={tmp_path / 's.csv'}")
    with pytest.raises(UserError, match="LABELS stratify: found 'age'"):
        start(*words, "stratify=age")
    with pytest.raises(UserError, match="SPLIT fractions"):
        start(*words[:-1], "shares=0.5,0.1")


def test_tables_among_the_scans_are_listed_as_what_they_are(scans, tmp_path):
    (scans / "s.csv").write_text("id,split,y\nsub1_v1,train,1\n")
    manifest = start(
        scans, f"out={tmp_path / 'm'}", f"labels={scans / 's.csv'}", f"splits={scans / 's.csv'}"
    )
    assert manifest.refused.set_index("path")["code"]["s.csv"] == "IS_LABELS"


def test_masks_that_count_as_scans_are_remarked_upon_until_they_are_labels(scans, tmp_path, capsys):
    for path in scans.glob("sub*"):
        mask = tmp_path / "scans" / "m" / path.name.replace(".nii", "_X.nii")
        mask.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4)), mask)
    start(scans, f"out={tmp_path / 'm'}")
    shown = capsys.readouterr().out
    assert "8 scans used" in shown and "remark: 4 of 8 used scans may be masks" in shown
    assert f"give labels={scans}/m" in shown
    manifest = start(scans, f"out={tmp_path / 'm'}", f"labels={scans / 'm'}")
    shown = capsys.readouterr().out
    assert "m: 4 scans labelled, 0 used scans not named" in shown and "may be masks" not in shown
    assert (manifest.used["label_mask"] != "").sum() == 4
