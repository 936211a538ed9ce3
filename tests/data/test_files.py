import errno
import os
import stat
import subprocess
import sys

import pandas as pd
import pytest

from medssl.data.files import alone_in, write_atomically, write_csv
from medssl.errors import UserError


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    write_atomically(path, lambda p: p.write_text("old"))

    def torn(temporary):
        temporary.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, torn)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_room_is_told_with_folder_and_what_is_free(tmp_path, code):
    def full(temporary):
        temporary.write_text("ne")
        raise OSError(code, os.strerror(code))

    with pytest.raises(UserError, match="a.txt cannot be written .* are free there") as error:
        write_atomically(tmp_path / "a.txt", full)
    assert error.value.code == "DISK" and error.value.where == str(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_held_by_one_process_and_what_killed_ones_left_is_removed(tmp_path):
    names = [".17.a.b2nd", ".hidden.txt", "a.b2nd"]
    for name in names:
        (tmp_path / name).write_text("x")
    code = (
        "import sys\nfrom pathlib import Path\nfrom medssl.data.files import alone_in\n"
        "with alone_in(Path(sys.argv[1])):\n    print('held', flush=True)\n    input()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    holder = subprocess.Popen(command, **pipes)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match="another process is writing there"), alone_in(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with alone_in(tmp_path):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden.txt", ".lock", "a.b2nd"]


def test_tables_run_no_formula_and_private_ones_are_for_their_owner(tmp_path):
    table = pd.DataFrame({"id": ["=HYPERLINK(1)", "+x", "-x", "@x", "\tx", "a=b"], "n": [-1.5] * 6})
    write_csv(tmp_path / "t.csv", table)
    found = pd.read_csv(tmp_path / "t.csv")
    assert [v[0] for v in found["id"]] == ["'"] * 5 + ["a"] and found["n"].tolist() == [-1.5] * 6
    write_csv(tmp_path / "p.csv", table, private=True)
    assert stat.S_IMODE((tmp_path / "p.csv").stat().st_mode) == 0o600
