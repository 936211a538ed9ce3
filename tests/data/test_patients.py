import stat

import pytest

from medssl.data.patients import key, pseudonym
from medssl.data.processes import each
from medssl.errors import UserError


def test_the_key_is_made_once_and_for_the_user_only(tmp_path):
    path = tmp_path / "sub" / "patient.key"
    first = key(path)
    assert len(first) == 32 and key(path) == first == path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["patient.key"]
    assert key(tmp_path / "other.key") != first


def test_it_lies_in_the_users_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    key()
    assert (tmp_path / ".config" / "medssl" / "patient.key").exists()


def test_pseudonyms_depend_on_the_key_and_not_on_spelling(tmp_path):
    a, b = tmp_path / "a.key", tmp_path / "b.key"
    name = pseudonym("DOE^JOHN  1", "p", a)
    assert name == pseudonym(" doe^john 1\n", "p", a)
    assert name != pseudonym("DOE^JOHN 1", "p", b) and name != pseudonym("DOE^JOHN 2", "p", a)
    assert name.startswith("p-") and len(name) == 12 and int(name[2:], 16) >= 0
    assert len({pseudonym(str(i), "p", a) for i in range(1000)}) == 1000


def test_a_damaged_key_is_refused(tmp_path):
    (tmp_path / "k").write_bytes(b"short")
    with pytest.raises(UserError, match="KEY .*5 bytes"):
        key(tmp_path / "k")


def test_processes_that_start_together_agree(tmp_path):
    assert len(set(each(key, [tmp_path / "k"] * 8, workers=4))) == 1
