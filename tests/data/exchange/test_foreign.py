"""Datasets as others write them, without our side file."""

import json
import shutil

import numpy as np
import pytest

from medssl.data.exchange import format_of, recognised
from medssl.data.exchange.entry import Reading, modality
from medssl.data.patients import pseudonym
from medssl.errors import UserError
from tests.faults import good

NAMES = Reading(ids="names")


def put(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        good.nifti(path.parent, path.name, np.uint8(good.voxels() > 1000))


def used(format, path, how=NAMES):
    return format_of(format).read(path, how).used.set_index("id")


def test_a_decathlon_task(tmp_path):
    put(*(tmp_path / f"{d}/h_{n}.nii" for d in ("imagesTr", "labelsTr") for n in (1, 2)))
    put(tmp_path / "imagesTs/h_3.nii")
    training = [
        {"image": f"./imagesTr/h_{n}.nii", "label": f"./labelsTr/h_{n}.nii"} for n in (1, 2)
    ]
    content = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "x"}, "numTest": 1,
               "training": training, "test": ["./imagesTs/h_3.nii"]}  # fmt: skip
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    assert recognised(tmp_path) == "datalist"
    found = used("datalist", tmp_path)
    assert found["split"].tolist() == ["train", "train", "test"] and set(found["modality"]) == {
        "MR"
    }
    assert found["label_mask"].tolist() == ["labelsTr/h_1.nii", "labelsTr/h_2.nii", ""]


def test_a_datalist_of_classes_with_a_root_elsewhere(tmp_path):
    put(tmp_path / "scans/a/x.nii", tmp_path / "scans/b/x.nii")
    items = [
        {"image": "a/x.nii", "label": 1, "fold": 0, "PatientID": "Q7", "PatientName": "A^B", "age": 61},
        {"image": "b/x.nii", "label": 0, "fold": 1, "PatientID": "Q8", "site": "left/right"},
    ]  # fmt: skip
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/any.json").write_text(json.dumps({"training": items, "more": [1]}))
    how = Reading(ids="names", scans=tmp_path / "scans", modality="CT")
    manifest = format_of("datalist").read(tmp_path / "lists/any.json", how)
    assert manifest.used["label_class"].tolist() == [1, 0]
    assert manifest.used["patient"].tolist() == [pseudonym(p, "p") for p in ("Q7", "Q8")]
    assert set(manifest.label_columns) == {"label_class", "label_age", "label_site"}
    assert "PatientName" in " ".join(manifest.notes) and "more" in manifest.notes[1]
    assert set(manifest.used["modality"]) == {"CT"}


def test_nnunet_of_two_channels_and_of_version_1(tmp_path):
    root = tmp_path / "Dataset009_X"
    for case in ("c1", "c2"):
        put(root / f"imagesTr/{case}_0000.nii.gz", root / f"imagesTr/{case}_0001.nii.gz")
        put(root / f"labelsTr/{case}.nii.gz")
    about = {"channel_names": {"0": "T2w", "1": "CT"}, "file_ending": ".nii.gz", "numTraining": 2}
    (root / "dataset.json").write_text(json.dumps(about | {"labels": {"background": 0, "x": 1}}))
    found = used("nnunet", root)
    assert list(found.index) == ["c1_0000", "c1_0001", "c2_0000", "c2_0001"]
    assert found["modality"].tolist() == ["MR", "CT"] * 2 and set(found["split"]) == {"train"}
    assert found["patient"].nunique() == 2 and (found["label_mask"] != "").all()
    for path in root.glob("imagesTr/*_0001*"):
        path.unlink()
    (root / "dataset.json").write_text(json.dumps({"modality": {"0": "CT"}, "numTraining": 2}))
    shutil.move(root / "imagesTr/c2_0000.nii.gz", root / "c2.nii.gz")
    with pytest.raises(UserError, match="1 masks of labelsTr have no image in imagesTr: c2"):
        used("nnunet", root)


def test_a_bids_tree_of_sessions_and_derivatives(tmp_path):
    for session in ("ses-1", "ses-2"):
        base = f"sub-01/{session}/anat/sub-01_{session}"
        put(tmp_path / f"{base}_T1w.nii.gz", tmp_path / f"{base}_FLAIR.nii.gz")
    put(tmp_path / "sub-02/anat/sub-02_acq-x_T1w.nii.gz")
    (tmp_path / "sub-02/anat/sub-02_acq-x_T1w.json").write_text('{"Modality": "MR"}')
    labels = tmp_path / "derivatives/labels"
    put(labels / "sub-01/ses-1/anat/sub-01_ses-1_space-FLAIR_desc-manual_dseg.nii.gz")
    put(labels / "sub-02/anat/sub-02_acq-x_label-tumour_mask.nii.gz")
    put(labels / "sub-03/anat/sub-03_dseg.nii.gz")
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tsex\tbirthdate\nsub-01\t61\tF\t1960-01-01\nsub-09\tn/a\tM\tn/a\n"
    )
    (tmp_path / "sub-01/ses-1/sub-01_ses-1_scans.tsv").write_text(
        "filename\tacq_time\tquality\nanat/sub-01_ses-1_T1w.nii.gz\t2020-01-01T10:00:00\tgood\n"
    )
    manifest = format_of("bids").read(tmp_path, NAMES)
    found = manifest.used.set_index("id")
    assert len(found) == 5 and found["patient"].nunique() == 2 and found["study"].nunique() == 3
    assert found.at["sub-01_ses-1_FLAIR", "label_mask"].endswith("manual_dseg.nii.gz")
    assert found.at["sub-01_ses-1_T1w", "label_mask"] == ""
    assert found.at["sub-02_acq-x_T1w", "label_mask"] != "" and set(found["modality"]) == {"MR"}
    assert found.at["sub-01_ses-2_T1w", "label_age"] == 61
    assert found.at["sub-01_ses-1_T1w", "label_quality"] == "good"
    notes = " ".join(manifest.notes)
    assert "birthdate" in notes and "acq_time" in notes and "1 masks without a scan" in notes
    assert "1960" not in manifest.table.to_csv() and "sub-09" in notes
    put(labels / "sub-02/anat/sub-02_acq-x_label-edema_mask.nii.gz")
    with pytest.raises(UserError, match="LABELS .*one of several"):
        format_of("bids").read(tmp_path, NAMES)


def test_nnssl_paths_of_its_own_making(tmp_path):
    root = tmp_path / "Dataset745_X"
    put(root / "ds1/a.nii.gz", root / "ds1/b.nii.gz")
    images = [
        {"name": "a", "image_path": "$nnssl_raw/Dataset745_X/ds1/a.nii.gz", "modality": "T1w",
         "image_info": {"quality": 3}},
        {"name": "b", "image_path": "$other/ds1/b.nii.gz", "modality": "CT", "associated_masks": None},
    ]  # fmt: skip
    sessions = {"ses-DEFAULT": {"session_id": "ses-DEFAULT", "images": images}}
    subject = {
        "subject_id": "sub-1",
        "subject_info": {"age": 40, "name": "A B"},
        "sessions": sessions,
    }
    content = {"collection_index": 745, "collection_name": "Dataset745_X",
               "datasets": {"ds1": {"dataset_index": "ds1", "subjects": {"sub-1": subject}}}}  # fmt: skip
    (root / "pretrain_data.json").write_text(json.dumps(content))
    found = used("nnssl", root / "pretrain_data.json")
    assert found["modality"].tolist() == ["MR", "CT"] and found["label_age"].tolist() == [40, 40]
    assert found["patient"].nunique() == 1 and "label_name" not in found


def test_a_folder_of_a_csv_may_hold_a_series_or_nothing(tmp_path):
    for name in ("s1", "s2", "empty"):
        (tmp_path / name).mkdir()
    good.ct(tmp_path / "s1")
    good.ct(tmp_path / "s2", PatientID="other", SeriesInstanceUID="1.2.3.9")
    (tmp_path / "t.csv").write_text("id;path;modality\none;s1;MR\ntwo;s2;CT\nno;empty;CT\n")
    manifest = format_of("csv").read(tmp_path / "t.csv", NAMES)
    found = manifest.used.set_index("id")
    assert list(found.index) == ["one", "two"] and found["patient"].nunique() == 2
    assert "listed as MR, DICOM says CT" in found.at["one", "remarks"]
    assert manifest.refused[["id", "code"]].values.tolist() == [["no", "EMPTY"]]


def test_names_of_people_do_not_become_ids(tmp_path):
    put(tmp_path / "mueller_hans.nii")
    (tmp_path / "t.csv").write_text("id,path\nMueller-Hans,mueller_hans.nii\n")
    manifest = format_of("csv").read(tmp_path / "t.csv")
    assert manifest.used["id"].str.fullmatch("s-[0-9a-f]{10}").all()


@pytest.mark.parametrize(
    "spoil",
    [{"id": "../x"}, {"patient": "MUELLER"}, {"study": "x"}, {"boxes": "{}"}, {"split": "x"}],
)
def test_a_side_file_that_no_manifest_wrote_is_refused(volumes, passed_on, spoil):
    _, out = passed_on(volumes, "csv", "copy")
    content = json.loads((out / "medssl.json").read_text())
    content["scans"][0]["meant"] |= spoil
    (out / "medssl.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="JSON .*medssl.json is damaged|medssl.json: is damaged"):
        format_of("csv").read(out)


def test_words_for_modality():
    assert modality("CT_arterial") == "CT" and modality("SMITH JOHN") == ""
    assert [modality(w) for w in ("T1w", "MRI", "CT", "zscore", "x-ray", None, "US")] == [
        "MR", "MR", "CT", "", "DX", "", "US"]  # fmt: skip


@pytest.mark.parametrize(
    ("training", "test", "words"),
    [
        ({"image": "a.nii"}, ["./a.nii"], "DUPLICATE .*1 images are given more than once"),
        ({"image": "a.nii", "label": "a.nii"}, [], "LABELS .*1 scans are given as their own mask"),
    ],
)
def test_one_image_in_two_roles_is_refused(tmp_path, training, test, words):
    put(tmp_path / "a.nii")
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [training], "test": test}))
    with pytest.raises(UserError, match=words):
        format_of("datalist").read(tmp_path / "dataset.json")


def test_a_case_that_lacks_a_channel_is_refused(tmp_path):
    folder = tmp_path / "Dataset001_X"
    put(folder / "imagesTr/a_0000.nii", folder / "labelsTr/a.nii")
    about = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "x": 1},
             "numTraining": 1, "file_ending": ".nii"}  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match="DATASET .*case a has 1 channels, dataset.json names 2"):
        format_of("nnunet").read(folder)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("path,y\na.nii,1\n./a.nii,2\n", "DUPLICATE .*more than once"),
        ("path,y\na.nii,1\nlink.nii,2\n", "DUPLICATE .*line 2 and line 3 name one file"),
        ("path,mask,label_mask\na.nii,,x\n", "LABELS .*would stand for the label masks"),
        ("path,er-status,er status\na.nii,0,1\n", "LABELS .*would both be called er_status"),
    ],
)
def test_nothing_of_a_table_is_lost(tmp_path, lines, words):
    put(tmp_path / "a.nii")
    (tmp_path / "link.nii").symlink_to("a.nii")
    (tmp_path / "scans.csv").write_text(lines)
    with pytest.raises(UserError, match=words):
        format_of("csv").read(tmp_path / "scans.csv")


def test_a_line_for_each_slice_is_no_table_of_scans(tmp_path):
    (tmp_path / "s").mkdir()
    good.ct(tmp_path / "s")
    files = sorted(p.relative_to(tmp_path).as_posix() for p in (tmp_path / "s").iterdir())
    lines = [f"{name},{n == 2:d}" for n, name in enumerate(files)]
    (tmp_path / "scans.csv").write_text("path,finding\n" + "\n".join(lines) + "\n")
    with pytest.raises(UserError, match="DUPLICATE .*name files of one scan"):
        format_of("csv").read(tmp_path / "scans.csv")


def test_other_files_beside_a_dataset_are_not_the_dataset(tmp_path):
    put(tmp_path / "sub-1/anat/sub-1_T1w.nii", tmp_path / "a.nii")
    (tmp_path / "mine.csv").write_text("path\na.nii\n")
    assert recognised(tmp_path) == "bids" and recognised(tmp_path / "mine.csv") == "csv"


@pytest.mark.parametrize("content", ['[{"train": ["a"], "val": null}]', '[["a"], ["b"]]', "[]"])
def test_splits_of_nnunet_that_are_none_are_refused_or_empty(tmp_path, content):
    folder = tmp_path / "Dataset001_X"
    put(folder / "imagesTr/a_0000.nii", folder / "labelsTr/a.nii")
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "x": 1},
             "numTraining": 1, "file_ending": ".nii"}  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(about))
    (folder / "splits_final.json").write_text(content)
    if "train" in content:
        assert used("nnunet", folder)["split"].tolist() == ["train"]
    else:
        with pytest.raises(UserError, match="SPLIT .*no mapping of train and val"):
            used("nnunet", folder)
