import stat

import pandas as pd
import pytest

from medssl.data.files import write_atomically, write_csv


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    write_atomically(path, lambda p: p.write_text("old"))

    def torn(temporary):
        temporary.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, torn)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_tables_run_no_formula_and_private_ones_are_for_their_owner(tmp_path):
    table = pd.DataFrame({"id": ["=HYPERLINK(1)", "+1", "-x", "@x", "\tx", "a=b"], "n": [-1.5] * 6})
    write_csv(tmp_path / "t.csv", table)
    found = pd.read_csv(tmp_path / "t.csv")
    assert [v[0] for v in found["id"]] == ["'"] * 5 + ["a"] and found["n"].tolist() == [-1.5] * 6
    write_csv(tmp_path / "p.csv", table, private=True)
    assert stat.S_IMODE((tmp_path / "p.csv").stat().st_mode) == 0o600
