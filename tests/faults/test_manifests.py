"""Group E1 to E3 and H5: manifests, datasets of other tools, tables of labels and splits."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medssl.data.exchange import format_of, recognised
from medssl.data.exchange.entry import Reading
from medssl.data.index import scan
from medssl.data.labels import attach
from medssl.data.manifest import Manifest
from medssl.data.splits import attach_splits
from medssl.errors import UserError
from medssl.stages import call
from tests.faults import good
from tests.faults.conftest import MESSAGE

NAMES = ("01", "02", "03")
SPLITS = ("train", "val", "test")


@pytest.fixture
def scans(tmp_path):
    """Three volumes, 01 to 03, with masks; a file outside that nobody may reach."""
    folder = tmp_path / "scans"
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
        for name in NAMES:
            array = good.voxels() if part == "images" else np.uint8(good.voxels() > 1000)
            good.nifti(folder / part, f"{name}.nii", array)
    good.nifti(tmp_path, "secret.nii")
    return folder


def indexed(scans: Path) -> Manifest:
    return Manifest.from_rows(scans / "images", scan(scans / "images", ids="names"))


def table(scans: Path, text: str | bytes) -> Path:
    file = scans / "t.csv"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def labels(scans: Path, text: str | bytes) -> Manifest:
    return attach(indexed(scans), table(scans, text))


def splits(scans: Path, text: str | bytes) -> Manifest:
    return attach_splits(indexed(scans), table(scans, text))


def dataset(scans: Path, text: str | bytes) -> Manifest:
    return format_of("csv").read(table(scans, text), Reading(ids="names"))


def datalist(scans: Path, items: object, **how) -> Manifest:
    text = items if isinstance(items, (str, bytes)) else json.dumps({"training": items})
    file = scans / "dataset.json"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return format_of("datalist").read(file, Reading(ids="names", **how))


def nnssl(scans: Path, paths: list[str], **how) -> Manifest:
    images = [{"name": p, "image_path": p, "modality": "T1w"} for p in paths]
    subjects = {"7": {"subject_id": "7", "sessions": {"a": {"session_id": "a", "images": images}}}}
    content = {"collection_index": 1, "collection_name": "c",
               "datasets": {"d": {"dataset_index": "d", "subjects": subjects}}}  # fmt: skip
    (scans / "pretrain_data.json").write_text(json.dumps(content))
    return format_of("nnssl").read(scans, Reading(ids="names", **how))


def refused(code: str, words: str, work, *arguments, **how) -> str:
    """The message of a refusal: four parts, the file or key, and the words."""
    with pytest.raises(UserError) as caught:
        work(*arguments, **how)
    message = str(caught.value)
    assert caught.value.code in code.split("|") and MESSAGE.fullmatch(message), message
    for word in words.split("|"):
        assert word in message, message
    return message


# E1: all that is missing is named at once


def test_e1_missing_scans_and_masks_are_all_named(scans):
    gone = "images/x1.nii|images/x2.nii|images/x3.nii"
    lines = "".join(f"{name}\n" for name in gone.split("|"))
    refused("MISSING", f"3 of 4|{gone}|t.csv", dataset, scans, f"path\nimages/01.nii\n{lines}")
    refused("MISSING", f"3 of 3|{gone}|dataset.json", datalist, scans, gone.split("|"))
    refused("MISSING", f"3 of 3|{gone}", nnssl, scans, gone.split("|"))
    masks = "images/01.nii,gone1.nii\nimages/02.nii,gone2.nii\nimages/03.nii,gone3.nii\n"
    for work, code in ((labels, "LABELS"), (dataset, "MISSING")):
        refused(code, "gone1.nii, gone2.nii, gone3.nii", work, scans, f"path,mask\n{masks}")
    items = [{"image": f"images/{n}.nii", "label": f"labels/no{n}.nii"} for n in NAMES]
    refused("MISSING", "labels/no01.nii, labels/no02.nii, labels/no03.nii", datalist, scans, items)


def test_e1_a_hundred_are_named_and_the_rest_counted(scans):
    message = refused("MISSING", "150 of 150|x99.nii|and 50 more", datalist, scans,
                      [f"x{n}.nii" for n in range(150)])  # fmt: skip
    assert message.count(".nii,") == 100


def test_e1_files_gone_since_the_index_are_listed_and_the_others_prepared(scans, tmp_path):
    call("index", scans=scans / "images", out=tmp_path / "m", ids="names", modality="MR")
    for name in NAMES[:2]:
        (scans / "images" / f"{name}.nii").unlink()
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=tmp_path / "store",
         recipe={"spacing": [2, 2, 2]})  # fmt: skip
    listed = pd.read_csv(tmp_path / "store/refused.csv", dtype=str)
    assert listed["id"].tolist() == ["01", "02"] and listed["fix"].notna().all()


# E2: ids, labels and their types


@pytest.mark.parametrize(
    ("text", "work", "code", "words"),
    [
        ("id,y\n01,1\n01,2\n", labels, "LABELS", "lines 2 and 3"),
        ("id,split\n01,train\n02,val\n01,test\n", splits, "LABELS", "lines 2 and 4"),
        ("id,path\na,images/01.nii\na,images/02.nii\n", dataset, "DUPLICATE", "a (line 2, line 3)"),
        ("id,path\na,images/01.nii\nA,images/02.nii\n", dataset, "DUPLICATE", "differ in case"),
        ("path\nimages/01.nii\nimages/01.nii\n", dataset, "DUPLICATE", "line 2, line 3"),
        ("id,y\n01,1\n,2\n\n,3\n", labels, "TABLE", "lines 3, 5: id is empty"),
        ("id,split\n01,train\n,val\n", splits, "TABLE", "line 3: id is empty"),
        ("id,path\n,images/01.nii\n", dataset, "TABLE", "line 2: id is empty"),
        ("path,y\nimages/01.nii,1\n,0\n", dataset, "TABLE", "line 3: path is empty"),
        ("path,y\nimages/01.nii,1\n,0\n", labels, "TABLE", "line 3: path is empty"),
        ("id,y\n01,1\n02,nan\n03,NaN\n", labels, "LABELS", "lines 3, 4: y is 'nan'"),
        ("id,y\n01,1\n02,NA\n03,none\n", labels, "LABELS", "lines 3, 4"),
        ("id,y\n01,1.5\n02,inf\n", labels, "LABELS", "line 3: y is 'inf'"),
        ("id,y\n01,a\n02,#N/A\n", labels, "LABELS", "line 3: y is '#N/A'"),
        ("path,y\nimages/01.nii,nan\n", dataset, "LABELS", "line 2: y is 'nan'"),
        ("id,split\n01,train\n02,trian\n", splits, "SPLIT", "line 3 says 'trian'"),
        ("path,split\nimages/01.nii,nan\n", dataset, "SPLIT", "line 2 says 'nan'"),
    ],
)
def test_e2_tables(scans, text, work, code, words):
    refused(code, f"{words}|t.csv" if "case" not in words else words, work, scans, text)


def test_e2_text_stays_text(scans):
    text = "id,path,code,n,x\n01,images/01.nii,01,1,1.5\n02,images/02.nii,02,2,\n"
    for manifest in (dataset(scans, text), labels(scans, text)):
        used = manifest.used.set_index("id")
        assert used["label_code"].tolist()[:2] == ["01", "02"]
        assert str(used["label_n"].dtype) == "Int64" and used.at["01", "label_n"] == 1
        assert used.at["01", "label_x"] == 1.5 and pd.isna(used.at["02", "label_x"])
    assert labels(scans, "id,finding\n01,none\n02,mass\n").used["label_finding"].tolist() == [
        "none", "mass", ""]  # fmt: skip


@pytest.mark.parametrize(
    ("items", "code", "words"),
    [
        ([{"image": "images/01.nii", "id": "a"}, {"image": "images/02.nii", "id": "a"}],
         "DUPLICATE", "a (training[0], training[1])"),
        (["images/01.nii", "images/01.nii"], "DUPLICATE", "images/01.nii (training[0]"),
        ([{"image": ""}], "DATASET", "training[0] names no image"),
        ([{"id": "a"}, 7], "DATASET", "training[0] names no image"),
        ([{"image": ["images/01.nii", "images/02.nii"]}], "DATASET", "channels"),
        ([{"image": "images/01.nii", "label": [1, 2]}], "LABELS", "training[0] has a list as label"),
        ('{"training": [{"image": "images/01.nii", "y": NaN}]}', "JSON", "NaN"),
        ('{"training": [], "training": []}', "JSON", "'training' is given twice"),
        ('{"training": {"image": "x"}}', "JSON", "training is a dict, expected a list"),
        ('{"training": [', "JSON", "dataset.json"),
        ('["x"]', "JSON", "holds a list, expected a dict"),
        ("[" * 100_000, "JSON", "dataset.json"),
        ('{"trainng": []}', "DATASET", "training, validation, test"),
        ([], "EMPTY", "names no scan"),
    ],
)  # fmt: skip
def test_e2_datalists(scans, items, code, words):
    refused(code, words, datalist, scans, items)


def test_e2_an_edited_manifest(scans, tmp_path):
    def edited(**columns):
        manifest = indexed(scans)
        for column, values in columns.items():
            manifest.table[column] = values
        return Manifest.read(manifest.write(tmp_path / "m"))

    assert len(edited().used) == 3
    refused("MANIFEST", "more than once: 01", edited, id=["01", "01", "03"])
    for odd in (" ", "../02", "a/b", "-x", "n\nn", "x" * 300):
        refused("MANIFEST", "'-': 2", edited, id=["01", odd, "03"])
    refused("SPLIT", "split of 02 is 'dev'", edited, split=["train", "dev", ""])
    secrets = ["/etc/hosts", "../secret.nii", "a/../../secret.nii"]
    for name in secrets:
        refused("PATH", "files of 01 lie outside", edited,
                files=[json.dumps([name]), '["02.nii"]', '["03.nii"]'])  # fmt: skip
    refused("PATH", "files of 03", edited, label_mask=["../labels/01.nii", "", "/etc/hosts"])


# E3: bytes


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: text.replace(",", ";").encode(),
        lambda text: text.replace(",", "\t").encode("utf-16"),
        lambda text: ("sep=;\n" + text.replace(",", ";")).encode(),
        lambda text: (text + ",,\n\n").encode(),
        lambda text: "".join(f"{n},{line}\n" if n != "" else f",{line}\n" for n, line in zip(
            ("", 0, 1, 2), text.splitlines(), strict=True)).encode(),
    ],
    ids=["mark", "crlf", "cr", "semicolon", "utf16", "sep", "empty-lines", "counted"],
)  # fmt: skip
def test_e3_bytes_of_spreadsheets_are_read(scans, encode):
    text = "id,path,grün\n01,images/01.nii,ä\n02,images/02.nii,ö\n03,images/03.nii,ß\n"
    for manifest in (dataset(scans, encode(text)), labels(scans, encode(text))):
        used = manifest.used.set_index("id")
        assert list(used.index) == ["01", "02", "03"]
        assert used[manifest.label_columns[0]].tolist() == ["ä", "ö", "ß"]


@pytest.mark.parametrize("work", [labels, splits, dataset])
@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("id,path,split\nä,images/01.nii,train\n".encode("latin-1"), "not UTF-8 (byte 14, line 2|iconv"),
        ("id,path,split\n01,images/01.nii,train\n".encode("utf-16-le"), "NUL|UTF-16|save it as CSV UTF-8"),
        (b"id,path,split\n01,images/01.nii\n", "line 2 has 2 cells, the header 3|separators"),
        (b"id,path,split\n01,images/01.nii,train,x\n", "line 2 has 4 cells"),
        (b'id,path,split\n01,"images/01.nii,train\n', "line 2|quote"),
        (b"id,path,split\n01,images/01.nii," + b"x" * 200_000 + b"\n", "line 2|field"),
        (b"id,path,path\n01,images/01.nii,x\n", "several columns are called path"),
        (b"id,path,,split\n01,images/01.nii,z,train\n", "column 3 has no name"),
        (b"", "is empty"),
    ],
    ids=["latin1", "utf16-le", "short", "long", "quote", "huge", "twice", "unnamed", "empty"],
)  # fmt: skip
def test_e3_other_bytes_are_refused_with_the_mend(scans, work, raw, words):
    refused("TABLE", f"{words}|t.csv", work, scans, raw)


@pytest.mark.parametrize("work", [labels, splits, dataset])
@pytest.mark.parametrize("cell", ["1.00E+05", "1E+05", "1,5E+3", "01.03.2026", "3/1/2026", "1-Mar",
                                  "Mar-01", "2026-03-01", "#REF!", "#N/A"])  # fmt: skip
def test_e3_ids_that_a_spreadsheet_rewrote_are_refused(scans, work, cell):
    text = f'id,path,split\n01,images/01.nii,train\n"{cell}",images/02.nii,val\n'
    if work is not dataset:
        text = f'id,split\n01,train\n"{cell}",val\n'
    refused("TABLE", f"line 3: id is {cell!r}|spreadsheet|t.csv", work, scans, text)


def test_e3_ids_that_only_look_so_are_kept(scans):
    (scans / "images/02.nii").rename(scans / "images/2026-03-01.nii")
    manifest = splits(scans, "id,split\n01,train\n2026-03-01,val\n")
    assert manifest.used["split"].tolist() == ["train", "", "val"]
    text = "path,patient\nimages/01.nii,01.03.1950\nimages/03.nii,02.04.1960\n"
    assert dataset(scans, text).used["patient"].nunique() == 2
    odd = "path,patient\nimages/01.nii,P1\nimages/03.nii,1.00E+05\n"
    refused("TABLE", "line 3: patient", dataset, scans, odd)


# H5: paths stay inside

SECRETS = {
    "up": "../secret.nii", "up-inside": "images/../../secret.nii", "backslash": "..\\secret.nii",
    "mixed": "images/..\\../secret.nii", "dot": "./../secret.nii", "slashes": "..//secret.nii",
    "encoded": "%2e%2e/secret.nii", "encoded-slash": "..%2fsecret.nii", "spaces": ".. /secret.nii",
    "twice-encoded": "%252e%252e%252fsecret.nii", "encoded-backslash": "..%5csecret.nii",
    "wide": "．．/secret.nii", "home": "~/secret.nii", "drive": "C:\\secret.nii",
    "drive-slash": "c:/secret.nii", "share": "\\\\server\\x\\secret.nii", "file": "file:///secret.nii",
    "http": "http://x/secret.nii", "nul": "images/01.nii\0.png", "nul-encoded": "images/01.nii%00",
    "newline": "images/0\n1.nii", "absolute": "{root}/secret.nii", "link": "images/link.nii",
    "linked-folder": "up/secret.nii",
}  # fmt: skip


@pytest.mark.parametrize("name", SECRETS)
def test_h5_no_spelling_leads_out_of_a_dataset(scans, name):
    (scans / "images/link.nii").symlink_to(scans.parent / "secret.nii")
    (scans / "up").symlink_to(scans.parent)
    path = SECRETS[name].replace("{root}", str(scans.parent))
    why = "a control character" if name in ("nul", "nul-encoded", "newline") else "outside=true"
    refused("PATH", f"1 paths lead out|{why}", datalist, scans, ["images/01.nii", path])
    refused("PATH", "1 paths lead out", nnssl, scans, ["images/01.nii", path])
    item = [{"image": "images/01.nii", "label": path}]
    refused("PATH", "1 paths lead out", datalist, scans, item)
    if name not in ("nul", "newline"):
        for text in (f"path\nimages/01.nii\n{path}\n", f"path,mask\nimages/01.nii,{path}\n"):
            refused("PATH", "1 paths lead out", dataset, scans, text)
        mask = f"path,mask\nimages/01.nii,{path}\n"  # not opened whatever the reason
        refused("PATH|LABELS", "t.csv", labels, scans, mask)


def test_h5_an_option_allows_what_is_trusted(scans):
    shutil.copy(scans.parent / "secret.nii", scans.parent / "other.nii")
    (scans / "images/link.nii").symlink_to(scans.parent / "other.nii")
    outside = ["../secret.nii", str(scans / "images/01.nii"), "images/link.nii"]
    manifest = datalist(scans, outside, outside=True)
    assert len(manifest.used) == 3 and manifest.root == scans.parent.resolve()
    assert Manifest.read(manifest.write(scans.parent / "m")).volume("secret").shape == good.SHAPE
    mask = table(scans, "path,mask\nimages/01.nii,../secret.nii\n")
    assert (
        attach(indexed(scans), mask, outside=True).used["label_mask"].iloc[0].endswith("secret.nii")
    )
    for path in ("images/01.nii\0", "a\nb"):
        refused("PATH", "a control character", datalist, scans, [path], outside=True)


def test_h5_a_path_in_a_label_table_only_names_scans_that_were_indexed(scans):
    manifest = labels(scans, "path,y\nimages/01.nii,1\n../secret.nii,2\n/etc/hosts,3\n")
    assert manifest.used["label_y"].tolist()[0] == 1
    assert "2 lines without a scan" in manifest.notes[0]


@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr"])
def test_h5_links_of_nnunet_and_bids_stay_inside(scans, folder):
    out = scans.parent / "Dataset001_x"
    call("index", scans=scans / "images", labels=[scans / "labels"], out=scans.parent / "m")
    call("convert", source=scans.parent / "m", to="nnunet", out=out, files="copy")
    victim = sorted((out / folder).iterdir())[0]
    victim.unlink()
    victim.symlink_to(scans.parent / "secret.nii")
    refused("PATH", f"{folder}/{victim.name}", format_of("nnunet").read, out)
    bids = scans.parent / "bids"
    call("convert", source=scans.parent / "m", to="bids", out=bids, files="copy")
    pattern = "sub-*/**/*.nii" if folder == "imagesTr" else "derivatives/labels/**/*.nii"
    victim = sorted(bids.glob(pattern))[0]
    victim.unlink()
    victim.symlink_to(scans.parent / "secret.nii")
    refused("PATH", victim.name, format_of("bids").read, bids)


# E1 and E2 of folders that are their own list


def nnunet(scans: Path, spoil) -> Manifest:
    out = scans.parent / "Dataset001_x"
    call("index", scans=scans / "images", labels=[scans / "labels"], ids="names", modality="MR",
         out=scans.parent / "m")  # fmt: skip
    call("convert", source=scans.parent / "m", to="nnunet", out=out, files="copy")
    spoil(out)
    return format_of("nnunet").read(out, Reading(ids="names"))


def change(out: Path, **values) -> None:
    about = json.loads((out / "dataset.json").read_text())
    (out / "dataset.json").write_text(json.dumps(about | values))


def rid(*names: str, out: Path) -> None:
    for name in names:
        (out / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (lambda out: rid("labelsTr/01.nii.gz", "labelsTr/02.nii.gz", out=out), "MISSING",
         "2 cases of imagesTr have no mask in labelsTr: 01, 02"),
        (lambda out: rid("imagesTr/03_0000.nii.gz", out=out), "MISSING",
         "1 masks of labelsTr have no image in imagesTr: 03"),
        (partial(change, numTraining=260), "MISSING", "numTraining is 260, imagesTr holds 3"),
        (partial(change, file_ending=".mha"), "DATASET", "file_ending is .mha, found 01_0000.nii.gz"),
        (lambda out: shutil.copy(out / "imagesTr/01_0000.nii.gz", out / "imagesTr/x.nii.gz"),
         "DATASET", "x.nii.gz has no channel number"),
        (lambda out: (out / "splits_final.json").write_text('[{"train": ["01"], "val": ["9", "8"]}]'),
         "MISSING", "names 2 cases that imagesTr lacks: 8, 9"),
        (lambda out: (out / "splits_final.json").write_text('[{"train": ["01"], "val": ["01"]}]'),
         "SPLIT", "in train and val: 01"),
    ],
)  # fmt: skip
def test_e1_a_dataset_of_nnunet_that_contradicts_itself(scans, spoil, code, words):
    refused(code, words, nnunet, scans, spoil)


def test_e1_e2_bids_tables(scans):
    bids = scans.parent / "bids"
    for name in NAMES:
        folder = bids / f"sub-{name}/anat"
        folder.mkdir(parents=True)
        shutil.copy(scans / f"images/{name}.nii", folder / f"sub-{name}_T1w.nii")
    assert recognised(bids) == "bids"
    people = bids / "participants.tsv"
    work = partial(format_of("bids").read, bids, Reading(ids="names"))
    people.write_text("participant_id\tage\nsub-01\t61\nsub-02\tn/a\n")
    used = work().used
    assert used["label_age"].tolist() == [61, pd.NA, pd.NA] and set(used["modality"]) == {"MR"}
    for text, code, words in (
        ("participant_id,age\nsub-01\t61\n", "TABLE", "line 2 has 1 cells, the header 2"),
        ("participant age\nsub-01\n", "TABLE", "no column participant_id|tabs"),
        ("participant_id\tage\nsub-01\t61\nsub-01\t62\n", "DUPLICATE", "sub-01"),
        ("participant_id\tage\n\t61\n", "TABLE", "line 2: participant_id is empty"),
        ("participant_id\tage\nsub-01\tnan\n", "LABELS", "line 2: age is 'nan'"),
        ("participant_id\tsplit\nsub-01\tdev2\n", "SPLIT", "line 2 says 'dev2'"),
    ):
        people.write_text(text)
        refused(code, words, work)
    people.unlink()
    tsv = bids / "sub-01/sub-01_scans.tsv"
    tsv.write_text("filename\ty\nanat/no1.nii\t1\nanat/no2.nii\t2\n")
    refused("MISSING", "2 files|anat/no1.nii, anat/no2.nii", work)


@pytest.mark.parametrize("work", [labels, splits])
@pytest.mark.parametrize("cell", ["1.23457E+11", "1,2E+5", "#REF!"])
def test_e3_patients_that_a_spreadsheet_rewrote_are_not_merged(scans, work, cell):
    text = f'id,split,patient_id\n01,train,"{cell}"\n02,train,"{cell}"\n'
    refused("TABLE", f"patient_id is {cell!r}|spreadsheet", work, scans, text)


@pytest.mark.parametrize(
    "name", ["Nachname", "Vorname", "Patientenname", "Geburtsdatum", "nom", "radiologist"]
)
def test_columns_that_name_people_in_other_languages_are_left_out(scans, name):
    manifest = labels(scans, f"id,grade,{name}\n01,1,Muster\n")
    assert manifest.label_columns == ["label_grade"]
