import pytest

from medssl.data.paths import all_there, inside, listed, located, unsafe
from medssl.errors import UserError


def test_what_lies_below_is_found_and_the_rest_is_none(tmp_path):
    (tmp_path / "a b").mkdir()
    for name in ("x%2e.nii", "a b/y..z.nii", "a b/..w.nii"):
        (tmp_path / name).write_text("x")
    names = ["x%2e.nii", "./a b/y..z.nii", "a b\\y..z.nii", "a b/../x%2e.nii", "a b/..w.nii", "no"]
    found = located(names, tmp_path, tmp_path / "list")
    assert [path and path.relative_to(tmp_path).as_posix() for path in found.values()] == [
        "x%2e.nii", "a b/y..z.nii", "a b/y..z.nii", "x%2e.nii", "a b/..w.nii", None]  # fmt: skip
    with pytest.raises(UserError, match="MISSING .*1 of 6 scans are missing: no. Fix: "):
        all_there(found, "scans", tmp_path / "list")


def test_links_count_for_where_they_lead(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out.nii").write_text("x")
    (tmp_path / "in/a.nii").write_text("x")
    (tmp_path / "in/good.nii").symlink_to("a.nii")
    (tmp_path / "in/bad.nii").symlink_to("../out.nii")
    assert located(["good.nii"], tmp_path / "in", tmp_path)["good.nii"]
    with pytest.raises(UserError, match="PATH .*1 paths .*bad.nii.*a link"):
        located(["good.nii", "bad.nii"], tmp_path / "in", tmp_path)
    assert located(["bad.nii", "../out.nii"], tmp_path / "in", tmp_path, outside=True)["../out.nii"]
    assert inside(tmp_path / "in/good.nii", tmp_path / "in")
    assert not inside(tmp_path / "in/bad.nii", tmp_path / "in", tmp_path / "none")


def test_reasons():
    assert unsafe("a/b.nii") == unsafe("a/../b.nii") == unsafe("..a/b") == ""
    assert unsafe(" ") == "empty" and "characters" in unsafe("x" * 5000)
    assert unsafe("a\x1b", outside=True) == "a control character"
    assert unsafe("/a", outside=True) == "" and unsafe("/a") == "absolute"


def test_long_lists_are_cut():
    assert listed(["a", "b"]) == "a, b" and listed(list("abc"), 2) == "a, b, and 1 more"
