import os
import socket

import pytest

from medssl.data.index.walk import walk
from medssl.errors import UserError


def test_special_entries_are_listed_and_never_opened(tmp_path):
    root = tmp_path / "scans"
    (root / "b").mkdir(parents=True)
    (root / "b" / "two").write_text("2")
    (root / "a").write_text("1")
    (root / "broken").symlink_to("nowhere")
    (root / "loop").symlink_to(root)
    (root / "again").symlink_to(root / "b")
    (root / "self").symlink_to("self")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        cwd = os.getcwd()
        os.chdir(root)
        server.bind("socket")
        os.chdir(cwd)
        files, refused = walk(root)
    assert [str(file.relative_to(root)) for file in files] == ["a", "b/two"]
    codes = {path.name: error.code for path, error in refused}
    assert codes == {"broken": "LINK", "loop": "LINK", "again": "LINK", "self": "LINK",
                     "pipe": "SPECIAL", "socket": "SPECIAL"}  # fmt: skip


def test_links_to_folders_elsewhere_are_followed_once(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "x").write_text("x")
    (tmp_path / "far" / "back").symlink_to(tmp_path / "far")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "one").symlink_to(tmp_path / "far")
    (tmp_path / "root" / "two").symlink_to(tmp_path / "far")
    files, refused = walk(tmp_path / "root")
    assert [file.name for file in files] == ["x"]
    assert sorted(path.name for path, _ in refused) == ["back", "two"]


def test_one_file_a_linked_root_and_nothing(tmp_path):
    (tmp_path / "x").write_text("x")
    assert walk(tmp_path / "x") == ([tmp_path / "x"], [])
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "y").write_text("y")
    (tmp_path / "link").symlink_to(tmp_path / "d")
    assert walk(tmp_path / "link")[0] == [tmp_path / "link" / "y"]
    with pytest.raises(UserError, match="SCANS"):
        walk(tmp_path / "nothing")


def test_a_name_that_is_no_utf8(tmp_path):
    open(os.path.join(os.fsencode(tmp_path), b"\xff.nii"), "wb").close()
    files, refused = walk(tmp_path)
    assert files == [] and refused[0][1].code == "NAME"


def test_everything_is_listed_once_whatever_links_lead_to_it(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "ext/sub").mkdir(parents=True)
    for name in ("root/x", "ext/sub/y", "ext/z"):
        (tmp_path / name).write_text("")
    for name, target in {"a": "ext/sub", "b": "ext", "c": "root/x", "d": "ext/z"}.items():
        (tmp_path / "root" / name).symlink_to(tmp_path / target)
    files, refused = walk(tmp_path / "root")
    assert len({os.path.realpath(f) for f in files}) == len(files) == 3
    assert {f.name for f in files} == {"x", "y", "z"}
    assert [error.code for _, error in refused] == ["LINK"] * 3


def test_a_deep_tree_is_walked_to_its_end(tmp_path, monkeypatch):
    """Deeper than Python recurses; made and removed step by step, since shutil recurses, too."""
    deepest = 1100
    monkeypatch.chdir(tmp_path)
    for _ in range(deepest):
        os.mkdir("d")
        os.chdir("d")
    try:
        assert walk(tmp_path) == ([], [])
    finally:
        for _ in range(deepest):
            os.chdir("..")
            os.rmdir("d")
