import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medssl.data.index import scan
from medssl.data.manifest import Manifest
from medssl.data.patients import pseudonym
from medssl.data.tables import Places, existing, mask_columns, match, read_table, split_names
from medssl.errors import UserError


@pytest.fixture
def manifest(tmp_path):
    for name in ("a/x.png", "b/x.png", "a/y.png"):
        (tmp_path / "scans" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "scans" / name)
    return Manifest.from_rows(tmp_path / "scans", scan(tmp_path / "scans"))


@pytest.mark.parametrize(
    "content", [b"id,y\n01, 2 \n", b"\xef\xbb\xbfid;y\r\n01;2\r\n", b"id\ty\n01\t2"]
)
def test_separators_marks_and_line_ends(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    assert read_table(tmp_path / "t.csv").to_dict("records") == [{"id": "01", "y": "2"}]


@pytest.mark.parametrize("content", [b"", b"id\n\xe9t\xe9\n", b'id,y\n"open,1\n'])
def test_unreadable_tables_are_refused(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match="TABLE .*t.csv"):
        read_table(tmp_path / "t.csv")
    with pytest.raises(UserError, match="TABLE"):
        read_table(tmp_path / "none.csv")


def ids(manifest, table, base):
    found, told_by = match(table, manifest, Places(manifest, base), base / "t.csv", [])
    return [[manifest.table.at[i, "id"] for i in rows] for rows in found], told_by


def test_paths_from_the_table_or_from_the_scans(manifest, tmp_path):
    table = pd.DataFrame({"n": ["1", "2", "3"], "t1": ["a/x.png", "scans/b/x.png", "none"]})
    assert ids(manifest, table, tmp_path) == ([["a-x"], ["b-x"], []], ["t1"])


def test_two_columns_of_paths_name_two_scans(manifest, tmp_path):
    table = pd.DataFrame({"t1": ["a/x.png"], "t2": ["a\\y.png"]})
    assert ids(manifest, table, tmp_path) == ([["a-x", "y"]], ["t1", "t2"])


def test_ids_and_stems(manifest, tmp_path):
    assert ids(manifest, pd.DataFrame({"id": ["b-x", "y", "z"]}), tmp_path)[0] == [
        ["b-x"],
        ["y"],
        [],
    ]
    assert ids(manifest, pd.DataFrame({"image_id": ["y.png"]}), tmp_path)[0] == [["y"]]
    with pytest.raises(UserError, match="could mean a/x.png and b/x.png"):
        ids(manifest, pd.DataFrame({"id": ["x"]}), tmp_path)


def test_patients_are_found_by_their_pseudonym(manifest, tmp_path):
    manifest.table["patient"] = pseudonym("P 7", "p")
    table = pd.DataFrame({"patient_id": ["p 7", "P 8"]})
    assert ids(manifest, table, tmp_path)[0] == [["a-x", "y", "b-x"], []]


def test_a_table_about_other_scans_is_refused(manifest, tmp_path):
    with pytest.raises(UserError, match="LABELS .*columns name"):
        ids(manifest, pd.DataFrame({"name": ["q"]}), tmp_path)


def test_a_label_column_holds_masks_only_if_files_exist(manifest, tmp_path):
    table = pd.DataFrame({"label": ["1"], "seg": ["m.png"], "mask_path": [""]})
    assert mask_columns(table, tmp_path, manifest.root) == ["seg", "mask_path"]
    table["label"] = "a/x.png"
    assert "label" in mask_columns(table, tmp_path, manifest.root)
    assert existing("a/x.png", "/nowhere", str(manifest.root)).endswith("scans/a/x.png")
    assert existing("a", str(manifest.root)) == ""


def test_split_names(tmp_path):
    names = split_names(pd.Series(["Train", "validation", "TEST", ""]), tmp_path)
    assert names.tolist() == ["train", "val", "test", ""]
    with pytest.raises(UserError, match="SPLIT .*line 3 says 'holdout'"):
        split_names(pd.Series(["train", "holdout"], [2, 3]), tmp_path)


@pytest.fixture
def visits(tmp_path):
    for name in ("IXI012-HH_T1", "IXI013-HH_T1", "IXI014-HH_T1", "IXI014-HH_T2", "IXI0130"):
        (tmp_path / "scans").mkdir(exist_ok=True)
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / f"scans/{name}.png")
    return Manifest.from_rows(tmp_path / "scans", scan(tmp_path / "scans"))


def paths(manifest, names, base):
    table = pd.DataFrame({"id": names})
    found, told_by = match(table, manifest, Places(manifest, base), base / "t.csv", [])
    assert told_by == ["id"]
    return [manifest.table.loc[rows, "path"].tolist() for rows in found]


def test_ids_are_what_people_call_the_scans_or_how_that_begins(visits, tmp_path):
    t1, t2 = "IXI013-HH_T1.png", "IXI012-HH_T1.png"
    assert paths(visits, ["IXI013-HH", "IXI012", "IXI01", "IXI015"], tmp_path) == [
        [t1],
        [t2],
        [],
        [],
    ]
    assert paths(visits, ["IXI013-HH_T1", "IXI012-HH"], tmp_path) == [[t1], [t2]]
    # what another line calls by a longer name is not meant by the shorter one
    both = ["IXI014-HH_T1", "IXI014-HH"]
    assert paths(visits, both, tmp_path) == [["IXI014-HH_T1.png"], ["IXI014-HH_T2.png"]]


def test_a_beginning_of_two_names_means_both_only_if_they_are_of_one_patient(visits, tmp_path):
    words = "'IXI014-HH' could mean IXI014-HH_T1.png and IXI014-HH_T2.png.*patient_pattern="
    for others in ([], ["IXI013-HH_T1"], ["IXI013"]):
        with pytest.raises(UserError, match=words):
            paths(visits, [*others, "IXI014-HH"], tmp_path)
    visits.table["patient"] = visits.table["path"].str[:6]
    assert paths(visits, ["IXI014-HH"], tmp_path) == [["IXI014-HH_T1.png", "IXI014-HH_T2.png"]]


def test_refused_scans_make_no_id_ambiguous(visits, tmp_path):
    broken = visits.table["path"] == "IXI014-HH_T2.png"
    visits.table.loc[broken, "verdict"] = "refused"
    assert paths(visits, ["IXI014"], tmp_path) == [["IXI014-HH_T1.png"]]


def test_patients_count_more_than_how_names_begin(visits, tmp_path):
    visits.table["patient"] = pseudonym("P 7", "p")
    table = pd.DataFrame({"id": ["IXI012"], "patient_id": ["P 7"]})
    places = Places(visits, tmp_path)
    assert match(table, visits, places, tmp_path / "t.csv", [])[1] == ["patient_id"]


def test_where_no_id_matches_it_is_said_what_scans_are_called(visits, tmp_path):
    words = (
        "line 0: 'x'.; scans are called IXI012-HH_T1, IXI013-HH_T1, IXI0130, and 2 more.*whole or"
    )
    with pytest.raises(UserError, match=words):
        paths(visits, ["x"], tmp_path)
