import re
from dataclasses import replace
from pathlib import Path

from medssl.data.index.ids import assign_ids, hide_names, neutral_id, slug, stem
from medssl.data.index.row import Row
from medssl.errors import UserError


def ids(root: Path, *names: str, refused=()) -> list[str]:
    rows = [Row([root / name], "nifti") for name in names]
    rows += [Row.refused([root / name], UserError("X", name, "c", "f")) for name in refused]
    assign_ids(rows, root)
    return [row.id for row in rows]


def test_ids_are_stems_where_those_are_unique(tmp_path):
    assert ids(tmp_path, "a/x.nii.gz", "b/y.NII") == ["x", "y"]


def test_equal_stems_get_parent_folders_or_a_hash(tmp_path):
    assert ids(tmp_path, "a/x.nii", "b/x.nii") == ["a-x", "b-x"]
    assert ids(tmp_path, "a/s/x.nii", "b/s/x.nii") == ["a-s-x", "b-s-x"]
    both = ids(tmp_path, "x.nii", "x.nii.gz")
    assert len(set(both)) == 2 and all(i.startswith("x-") for i in both)


def test_ids_differ_in_more_than_case_and_used_rows_come_first(tmp_path):
    found = ids(tmp_path, "Scan.nii", "scan.png", "x.nii", refused=["x"])
    assert len({i.casefold() for i in found}) == 4 and found[2] == "x"


def test_odd_names_make_safe_ids():
    for name in ("a b", "../x", "é\n", "..", "-x", "a" * 300):
        made = slug(name)
        assert made and len(made) <= 120 and not made.startswith((".", "-"))
        assert made.isascii() and "/" not in made and "\n" not in made
    assert slug("a" * 300) != slug("a" * 301)
    assert (
        stem("a.b.nii.gz") == "a.b" and stem("notes.txt") == "notes.txt" and stem(".nii") == ".nii"
    )


def test_ids_that_may_be_a_person_are_salted_alike_in_every_run(tmp_path):
    rows = [Row([tmp_path / name], "nifti") for name in ("case_1.nii", "DOE.nii", "x.nii")]
    assign_ids(rows, tmp_path)
    for ids, kept in (("names", 3), ("auto", 2), ("pseudonyms", 0)):
        made = [replace(row) for row in rows]
        hide_names(made, ids)
        again = [replace(row) for row in rows]
        hide_names(again, ids)
        assert [row.id for row in made] == [row.id for row in again]
        assert len({row.id for row in made}) == 3
        assert sum(not re.fullmatch("s-[0-9a-f]{10}", row.id) for row in made) == kept
    hide_names(made, "pseudonyms")
    assert made[1].id == neutral_id("DOE")


def test_names_of_windows_devices_are_no_ids():
    assert slug("CON") == "_CON" and slug("com1.x") == "_com1.x" and slug("content") == "content"
