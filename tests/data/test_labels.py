import json
import unicodedata

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medssl.data.index import scan
from medssl.data.labels import attach
from medssl.data.manifest import Manifest
from medssl.data.patients import pseudonym
from medssl.errors import UserError


def volume(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4)), path)


def film(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(path)


def indexed(root) -> Manifest:
    return Manifest.from_rows(root, scan(root))


def by_id(manifest) -> pd.DataFrame:
    return manifest.table.set_index("id")


def test_a_table_brings_patients_splits_masks_and_labels(tmp_path):
    for name in ("t1/a.nii", "t1/b.nii", "t1/c.nii", "seg/a.nii"):
        volume(tmp_path / name)
    (tmp_path / "t.csv").write_text(
        "id,t1,seg,patient_id,split,age,code,sex,grade\n"
        "1,t1/a.nii,seg/a.nii,P1,train,40.5,01,M,2\n"
        "2,t1/b.nii,,p1 ,Val,,02,F,\n"
        "3,t1/z.nii,,P2,test,1,03,F,1\n"
    )
    manifest = attach(indexed(tmp_path), tmp_path / "t.csv")
    table = by_id(manifest)
    assert table.at["t1-a", "label_mask"] == "seg/a.nii"
    assert table.at["seg-a", "code"] == "IS_MASK"
    assert table.at["t1-a", "patient"] == table.at["b", "patient"] == pseudonym("P1", "p")
    assert table["split"].to_dict() == {
        "seg-a": "",
        "t1-a": "train",
        "b": "val",
        "c": "",
        "t.csv": "",
    }
    assert table.at["t1-a", "label_age"] == 40.5 and pd.isna(table.at["b", "label_age"])
    assert table.at["t1-a", "label_code"] == "01" and table.at["c", "label_code"] == ""
    assert str(table["label_grade"].dtype) == "Int64" and table.at["t1-a", "label_grade"] == 2
    assert manifest.notes == [
        "t.csv: 2 scans labelled, 1 used scans not named, 1 lines without a scan: 4"
    ]
    manifest.write(tmp_path.parent / f"{tmp_path.name}-m")
    again = Manifest.read(tmp_path.parent / f"{tmp_path.name}-m")
    pd.testing.assert_frame_equal(again.table, manifest.table)


def test_missing_masks_and_contradicting_lines_are_refused(tmp_path):
    volume(tmp_path / "a.nii")
    (tmp_path / "t.csv").write_text("path,mask\na.nii,gone.nii\n")
    with pytest.raises(UserError, match="1 masks .* are missing: gone.nii; looked for in /"):
        attach(indexed(tmp_path), tmp_path / "t.csv")
    lines = "".join(f"a.nii,gone{n}.nii\n" for n in range(60))
    (tmp_path / "t.csv").write_text("path,mask\n" + lines)
    with pytest.raises(UserError, match="gone4.nii, and 55 more; looked for in ") as raised:
        attach(indexed(tmp_path), tmp_path / "t.csv")
    assert raised.value.cause.count(str(tmp_path.resolve())) == 1
    assert "gone5" not in raised.value.cause
    (tmp_path / "t.csv").write_text("path,y\na.nii,1\na.nii,2\n")
    with pytest.raises(UserError, match="lines 2 and 3"):
        attach(indexed(tmp_path), tmp_path / "t.csv")


def test_a_second_source_may_add_but_not_contradict(tmp_path):
    volume(tmp_path / "a.nii")
    for name, text in {"1": "id,y\na,1\n", "2": "id,z\na,5\n", "3": "id,y\na,2\n"}.items():
        (tmp_path / f"{name}.csv").write_text(text)
    manifest = attach(indexed(tmp_path), [tmp_path / "1.csv", tmp_path / "2.csv"])
    assert by_id(manifest).loc["a", ["label_y", "label_z"]].tolist() == [1, 5]
    with pytest.raises(UserError, match="has label_y 1 already, not 2"):
        attach(manifest, [tmp_path / "3.csv"])


def test_coco_boxes(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        film(tmp_path / "images" / name)
    coco = {
        "images": [
            {"id": 1, "file_name": "images/a.png", "width": 30, "height": 20, "split": "train"},
            {"id": 2, "file_name": "b.png", "width": 30, "height": 20, "patient_id": "P"},
            {"id": 3, "file_name": "gone.png", "width": 30, "height": 20},
        ],
        "categories": [{"id": 7, "name": "tumour"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [2, 3, 10, 5.5]}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    manifest = attach(indexed(tmp_path / "images"), tmp_path / "coco.json")
    table = by_id(manifest)
    assert json.loads(table.at["a", "boxes"]) == [{"box": [2, 3, 12, 8.5], "class": "tumour"}]
    assert table["boxes"].tolist()[1:] == ["[]", ""]
    assert table.at["a", "split"] == "train" and table.at["b", "patient"] == pseudonym("P", "p")
    assert "1 images without a scan" in manifest.notes[0]
    coco["images"][0]["width"] = 31
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    with pytest.raises(UserError, match="20x31"):
        attach(indexed(tmp_path / "images"), tmp_path / "coco.json")
    del coco["images"][0]["width"]
    coco["annotations"][0]["bbox"] = [2, 3, 40, 5]
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    with pytest.raises(
        UserError, match=r"annotation 1 \(on images/a.png\): box .* reaches outside"
    ):
        attach(indexed(tmp_path / "images"), tmp_path / "coco.json")


def test_what_is_no_source_of_labels_is_refused(tmp_path):
    volume(tmp_path / "a.nii")
    for name in ("none.csv", "a.nii"):
        with pytest.raises(UserError, match="LABELS"):
            attach(indexed(tmp_path), tmp_path / name)


def test_patients_are_known_by_many_names_and_private_columns_are_left_out(tmp_path):
    for name in "abc":
        volume(tmp_path / f"scans/{name}.nii")
    for column in ("PatientID", "Patient ID", "patient-id", "SUBJECT", "subject_id", "MRN"):
        table = tmp_path / "t.csv"
        table.write_text(
            f"id,{column},PatientName,Birth Date,accession_no,StudyInstanceUID,age,finding\n"
            "a,Q77,MUELLER^HANS,19500101,A1,1.2.3,61,mass\nb,Q77,MUELLER^HANS,19500101,A2,1.2.4,62,none\n"
        )
        manifest = attach(indexed(tmp_path / "scans"), table)
        found = by_id(manifest)
        assert found.loc[["a", "b"], "patient"].tolist() == [pseudonym("Q77", "p")] * 2
        assert manifest.label_columns == ["label_age", "label_finding"]
        folder = manifest.write(tmp_path / "m")
        text = (folder / "manifest.csv").read_text() + (folder / "manifest.parquet").read_text(
            errors="ignore"
        )
        assert not any(word in text for word in ("Q77", "MUELLER", "19500101", "A1", "1.2.3"))
        assert "PatientName, Birth Date, accession_no, StudyInstanceUID" in manifest.notes[0]


def test_columns_keep_their_letters_and_are_never_merged(tmp_path):
    volume(tmp_path / "i/a.nii")
    (tmp_path / "t.csv").write_text("id,Größe in cm\na,3\n")
    assert "label_Größe_in_cm" in attach(indexed(tmp_path / "i"), tmp_path / "t.csv").table
    (tmp_path / "t.csv").write_text("id,a b,a-b\na,3,4\n")
    with pytest.raises(
        UserError, match="LABELS .*'label_a b' and 'label_a-b' would both be called a_b"
    ):
        attach(indexed(tmp_path / "i"), tmp_path / "t.csv")


def test_ids_that_lost_their_zeros_are_refused(tmp_path):
    for name in ("0012", "0013"):
        volume(tmp_path / f"i/{name}.nii")
    for lines in ("0012,1\n13,2\n", "12,1\n13,2\n"):
        (tmp_path / "t.csv").write_text("id,y\n" + lines)
        with pytest.raises(UserError, match="TABLE .*'001[23]': a spreadsheet took the zeros away"):
            attach(indexed(tmp_path / "i"), tmp_path / "t.csv")


def test_a_line_whose_path_and_id_mean_two_scans_is_refused(tmp_path):
    for name in "ab":
        volume(tmp_path / f"i/{name}.nii")
    (tmp_path / "t.csv").write_text("path,id,y\ni/a.nii,7,1\n")
    attach(indexed(tmp_path / "i"), tmp_path / "t.csv")  # a number of the table's own
    (tmp_path / "t.csv").write_text("path,id,y\ni/a.nii,b,1\n")
    with pytest.raises(UserError, match="LABELS .*line 2: id 'b' and path mean different scans"):
        attach(indexed(tmp_path / "i"), tmp_path / "t.csv")


def test_accents_match_however_a_system_writes_them(tmp_path):
    volume(tmp_path / "i" / unicodedata.normalize("NFC", "Jalapeño.nii"))
    (tmp_path / "t.csv").write_text(unicodedata.normalize("NFD", "id,y\nJalapeño,1\n"))
    assert attach(indexed(tmp_path / "i"), tmp_path / "t.csv").table["label_y"].tolist() == [1]


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [("1", "mass", ["1", "mass"]), ("mass", "1", ["mass", "1"]), ("1", "0.5", [1.0, 0.5])],
)
def test_a_second_source_may_bring_values_of_another_kind(tmp_path, first, second, found):
    for name in "ab":
        volume(tmp_path / f"i/{name}.nii")
    (tmp_path / "1.csv").write_text(f"id,y\na,{first}\n")
    (tmp_path / "2.csv").write_text(f"id,y\na,{first}.0\nb,{second}\n" if second == "0.5" else
                                    f"id,y\nb,{second}\n")  # fmt: skip
    manifest = attach(indexed(tmp_path / "i"), [tmp_path / "1.csv", tmp_path / "2.csv"])
    assert manifest.table["label_y"].tolist() == found


def test_masks_of_lines_without_a_scan_are_masks_all_the_same(tmp_path):
    for name in ("a.nii", "seg/a.nii", "seg/gone.nii"):
        volume(tmp_path / name)
    (tmp_path / "t.csv").write_text("path,mask\na.nii,seg/a.nii\ngone.nii,seg/gone.nii\n")
    assert attach(indexed(tmp_path), tmp_path / "t.csv").used["path"].tolist() == ["a.nii"]


def test_what_a_table_says_of_masks_counts_for_their_folder_too(tmp_path):
    for name in ("i/a.nii", "i/b.nii", "m/1.nii", "m/2.nii"):
        volume(tmp_path / name)
    (tmp_path / "t.csv").write_text("path,seg\ni/a.nii,m/1.nii\ni/b.nii,m/2.nii\n")
    for order in (["m", "t.csv"], ["t.csv", "m"]):
        manifest = attach(indexed(tmp_path), [tmp_path / name for name in order])
        assert manifest.used["label_mask"].tolist() == ["m/1.nii", "m/2.nii"]
        assert manifest.notes == [
            f"{name}: 2 scans labelled, 0 used scans not named" for name in ("t.csv", "m")
        ]
