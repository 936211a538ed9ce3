import pytest

from medssl.data.files import write_atomically


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    write_atomically(path, lambda p: p.write_text("old"))

    def torn(temporary):
        temporary.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, torn)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
