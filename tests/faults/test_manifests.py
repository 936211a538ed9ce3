"""Rows E1 to E3 and H5: what is wrong with tables and listings is told, with the mend, all at once."""

import json
from functools import partial

import pytest

from medssl.data.exchange import read, recognise
from medssl.data.manifest import Manifest
from medssl.errors import UserError
from medssl.stages import call
from tests.faults import good
from tests.faults.conftest import MESSAGE

IDS = ("case_01", "case_02", "0012")


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for id in IDS:
        good.nifti(folder, f"{id}.nii.gz", array=good.voxels() + int(id[-1]))
    (tmp_path / "secret.nii.gz").write_bytes((folder / "case_01.nii.gz").read_bytes())
    return folder


def refused(code: str, action, *words: str) -> str:
    with pytest.raises(UserError) as raised:
        action()
    message = str(raised.value)
    assert raised.value.code == code and MESSAGE.fullmatch(message), message
    for word in words:
        assert word in message, message
    return message


def csv(scans, text: str, encoding="utf-8"):
    (scans / "list.csv").write_bytes(text.encode(encoding))
    return lambda: read(scans / "list.csv", recognise(scans / "list.csv"))


def datalist(scans, *items):
    (scans / "dataset.json").write_text(json.dumps({"training": items}))
    return lambda: read(scans / "dataset.json", recognise(scans / "dataset.json"))


def nnssl(scans, *paths):
    images = [
        {"name": f"n{i}", "image_path": path, "modality": "CT"} for i, path in enumerate(paths)
    ]
    subject = {"subject_id": "a", "sessions": {"0": {"session_id": "0", "images": images}}}
    content = {"datasets": {"0": {"dataset_index": 0, "subjects": {"a": subject}}}}
    (scans / "pretrain_data.json").write_text(json.dumps(content))
    return lambda: read(scans / "pretrain_data.json", "nnssl")


# E1: files that are not there


def test_E1_all_missing_files_are_told_at_once(scans):
    absent = ("'a.nii.gz'", "'b.nii.gz'", "2 paths name no file")
    refused("MISSING", csv(scans, "path\ncase_01.nii.gz\na.nii.gz\nb.nii.gz\n"), *absent)
    items = [{"image": "a.nii.gz"}, {"image": "case_01.nii.gz"}, {"image": "b.nii.gz"}]
    refused("MISSING", datalist(scans, *items), *absent)
    refused("MISSING", nnssl(scans, "$nnssl_raw/D/a.nii.gz", "b.nii.gz"), *absent)


def test_E1_missing_masks_are_told(scans):
    refused(
        "MISSING", datalist(scans, {"image": "case_01.nii.gz", "label": "m.nii.gz"}), "m.nii.gz"
    )
    refused("MISSING", csv(scans, "path,mask\ncase_01.nii.gz,m.nii.gz\n"), "m.nii.gz")
    (scans.parent / "l.csv").write_text("id,mask\ncase_01,m1.nii\ncase_02,m2.nii\n")
    run = {"scans": scans, "labels": scans.parent / "l.csv", "out": scans.parent / "m"}
    refused("LABELS", lambda: call("index", **run), "2 masks", "m1.nii, m2.nii")


def test_E1_files_gone_since_the_index_are_listed_and_may_be_too_many(scans, tmp_path):
    call("index", scans=scans, out=tmp_path / "m")
    (scans / "case_01.nii.gz").unlink()
    few = {"manifest": tmp_path / "m", "out": tmp_path / "s", "max_bad": 0.1}
    refused("TOO_MANY_BAD", lambda: call("prepare", "mr_crop", **few), "1 of 3 were refused")
    assert "case_01" in (tmp_path / "s/refused.csv").read_text()


# E2: ids, labels, types


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,path\na,case_01.nii.gz\na,case_02.nii.gz\n", ["'a'", "several scans"]),
        ("id,path\na,case_01.nii.gz\nA,case_02.nii.gz\n", ["'A', 'a'"]),
        ("id,path\na b,case_01.nii.gz\n", ["'a b'", "cannot name a file"]),
        ("id,path\n../x,case_01.nii.gz\n", ["'../x'", "cannot name a file"]),
        ("id,path\na,\n", ["line 2 names no file"]),
        ("id,path,files\na,x,[1]\n", ["line 2 names no file"]),
        ("id,scan\na,case_01.nii.gz\n", ["no column of paths", "id, scan"]),
    ],
)
def test_E2_ids_of_a_listing(scans, text, words):
    refused("EXCHANGE", csv(scans, text), *words)


def test_E2_a_file_that_two_scans_claim(scans):
    twice = [{"image": "case_01.nii.gz", "id": "a"}, {"image": "case_01.nii.gz", "id": "b"}]
    refused("EXCHANGE", datalist(scans, *twice), "case_01.nii.gz", "'a'", "'b'")


def test_E2_an_empty_id_is_the_files_name_and_numbers_stay_text(scans):
    table = csv(scans, "id,path,grade\n,case_01.nii.gz,01\n0012,0012.nii.gz,02\n")().table
    assert sorted(table["id"]) == ["0012", "case_01"]
    assert table.set_index("id")["label_grade"].to_dict() == {"case_01": "01", "0012": "02"}


@pytest.mark.parametrize("word", ["holdout", "1", "trian"])
def test_E2_an_unknown_split_names_its_line(scans, word):
    refused("SPLIT", csv(scans, f"path,split\ncase_01.nii.gz,train\n0012.nii.gz,{word}\n"),
            "line 3", f"'{word}'")  # fmt: skip
    (scans.parent / "s.csv").write_text(f"id,split\ncase_01,train\n0012,{word}\n")
    run = {"scans": scans, "splits": scans.parent / "s.csv", "out": scans.parent / "m"}
    refused("SPLIT", lambda: call("index", **run), "line 3", f"'{word}'")


def test_E2_lines_that_contradict_each_other(scans):
    (scans.parent / "l.csv").write_text("id,grade\ncase_01,1\ncase_01,2\n")
    run = {"scans": scans, "labels": scans.parent / "l.csv", "out": scans.parent / "m"}
    refused("LABELS", lambda: call("index", **run), "case_01")


def test_E2_labels_of_words_among_numbers_stay_words(scans):
    (scans.parent / "l.csv").write_text("id,grade\ncase_01,1\ncase_02,nan\n0012,\n")
    call("index", scans=scans, labels=scans.parent / "l.csv", out=scans.parent / "m")
    labels = Manifest.read(scans.parent / "m").table.set_index("id")["label_grade"]
    assert labels.to_dict() == {"case_01": "1", "case_02": "nan", "0012": ""}


# E3: how the bytes of a table are written


ROWS = ["id,grade,path", "case_01,1,case_01.nii.gz", "0012,2,0012.nii.gz"]


@pytest.mark.parametrize(
    "raw",
    [
        "\n".join(ROWS).encode(),
        "\ufeff".encode() + "\n".join(ROWS).encode(),
        "\r\n".join(ROWS).encode(),
        "\n".join(ROWS).replace(",", ";").encode(),
        "\n".join(ROWS).replace(",", "\t").encode(),
        ("\n".join(ROWS) + "\n\n").encode(),
        b'"id","grade","path"\n"case_01","1","case_01.nii.gz"\n"0012","2","0012.nii.gz"',
    ],
    ids=["plain", "BOM", "CRLF", "semicolons", "tabs", "empty lines", "quotes"],
)
def test_E3_ways_to_write_a_table_are_read_alike(scans, raw):
    (scans / "list.csv").write_bytes(raw)
    (scans.parent / "labels.csv").write_bytes(raw.replace(b"path", b"text"))
    listed = read(scans / "list.csv", "csv").table.set_index("id")["label_grade"].to_dict()
    assert listed == {"case_01": 1, "0012": 2}
    call("index", scans=scans, labels=scans.parent / "labels.csv", out=scans.parent / "m")
    labelled = Manifest.read(scans.parent / "m").table.dropna(subset=["label_grade"])
    assert dict(zip(labelled["id"], labelled["label_grade"], strict=True)) == listed


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252"])
def test_E3_other_encodings_are_refused_with_the_mend(scans, encoding):
    text = "path,site\ncase_01.nii.gz,Köln – Süd\n".replace(
        "–", "-" if encoding == "latin-1" else "–"
    )
    message = refused("TABLE", csv(scans, text, encoding), "is not UTF-8", "save it as CSV UTF-8")
    assert "byte" in message


@pytest.mark.parametrize("value", ["1.00E+05", "1,2E+11", "1-Feb", "Mar-01", "#NAME?", "12"])
def test_E3_ids_that_a_spreadsheet_changed_are_refused(scans, value):
    (scans.parent / "l.csv").write_text(f'id,grade\ncase_01,1\n"{value}",2\n')
    run = {"scans": scans, "labels": scans.parent / "l.csv", "out": scans.parent / "m"}
    refused("TABLE", lambda: call("index", **run), "line 3", repr(value), "as text")
    if value != "12":  # beside no known id a plain number is one
        refused("TABLE", csv(scans, f'id,path\n"{value}",case_01.nii.gz\n'), "line 2", repr(value))


def test_E3_a_huge_field_and_a_torn_quote(scans):
    huge = "x" * 5_000_000
    table = csv(scans, f"path,site\ncase_01.nii.gz,{huge}\n")().table
    assert table["label_site"][0] == huge
    refused("TABLE", csv(scans, 'path,site\ncase_01.nii.gz,"x\n'), "no table")
    refused("TABLE", csv(scans, ""), "no table")


NO_LISTINGS = ["[]", "{", '{"training": 3, "test": []}', '{"training": [3]}',
               '{"training": [{"image": []}]}', '{"training": [{"image": 4}]}']  # fmt: skip


@pytest.mark.parametrize("text", NO_LISTINGS)
def test_E3_listings_that_are_none(scans, text):
    (scans / "dataset.json").write_text(text)
    refused("EXCHANGE", lambda: read(scans / "dataset.json", "datalist"), "dataset.json")


# H5: paths that lead elsewhere


SPELLINGS = [
    "../secret.nii.gz", "..\\secret.nii.gz", "./../secret.nii.gz", "a/../../secret.nii.gz",
    "a\\..\\..\\secret.nii.gz", ".//..//secret.nii.gz", "../scans/../secret.nii.gz",
    "{up}/secret.nii.gz", "{up}/scans/../secret.nii.gz", "//{up}/secret.nii.gz", "link.nii.gz",
    "folder/secret.nii.gz", "/etc/passwd", "/dev/zero", "/proc/self/mem", "../../../../etc/passwd",
]  # fmt: skip
NOWHERE = ["%2e%2e/secret.nii.gz", "~/secret.nii.gz", "$HOME/secret.nii.gz", "file://secret.nii.gz",
           "C:\\secret.nii.gz", "\uff0e\uff0e/secret.nii.gz"]  # fmt: skip


@pytest.mark.parametrize("spelling", [*SPELLINGS, *NOWHERE])
def test_H5_no_spelling_leads_out_of_the_folder(scans, spelling):
    (scans / "link.nii.gz").symlink_to(scans.parent / "secret.nii.gz")
    (scans / "folder").symlink_to(scans.parent)
    path = spelling.replace("{up}", str(scans.parent))
    code = "OUTSIDE" if spelling in SPELLINGS else "MISSING"
    refused(code, datalist(scans, {"image": path}))
    refused(code, csv(scans, f'path\n"{path}"\n'))
    refused(code, datalist(scans, {"image": "case_01.nii.gz", "label": path}))
    if not spelling.startswith("$"):  # nnssl's own variables lead into the folder
        refused(code, nnssl(scans, path))


def test_H5_a_null_byte(scans):
    refused("OUTSIDE", datalist(scans, {"image": "case_01.nii.gz\0.txt"}))


def test_H5_files_elsewhere_are_read_if_their_folder_is_given(scans):
    datalist(scans, {"image": "../secret.nii.gz"})
    manifest = read(scans / "dataset.json", "datalist", root=scans.parent)
    assert manifest.used["path"].tolist() == ["secret.nii.gz"]


def test_H5_a_manifests_own_paths(scans, tmp_path):
    call("index", scans=scans, out=tmp_path / "m")
    manifest = Manifest.read(tmp_path / "m")
    id = manifest.table.at[0, "id"]
    for path in ("../secret.nii.gz", str(tmp_path / "secret.nii.gz"), "/etc/passwd", "a/../../b"):
        table = manifest.table.assign(files=json.dumps([path]), label_mask=path)
        Manifest(scans, table).write(tmp_path / "n")
        edited = Manifest.read(tmp_path / "n")
        refused("OUTSIDE", partial(edited.volume, id), path)
        if path.startswith("/"):  # masks may lie in a folder beside the scans
            refused("OUTSIDE", partial(edited.mask, id), path)
