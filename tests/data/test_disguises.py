import base64
import gzip
import os
import zlib

import pytest

from medssl.data.disguises import Words, base64_forms
from medssl.errors import UserError

WORD = b"MUELLER^HANS"
DISGUISES = {
    "text": [WORD, WORD.lower()],
    "UTF-16": [WORD.decode().encode("utf-16-le"), WORD.decode().encode("utf-16-be")],
    "base64": [f(b"\xff" * n + WORD) for n in range(3)
               for f in (base64.b64encode, base64.urlsafe_b64encode)],
    "text in zlib": [zlib.compress(b"pixels" + WORD, level) for level in (1, 6, 9)],
    "text in gzip": [gzip.compress(WORD), gzip.compress(WORD * 9)[:-9]],
    "text in zlib in base64": [b"base64," + base64.b64encode(zlib.compress(b"a picture " + WORD))],
}  # fmt: skip


@pytest.mark.parametrize("how", DISGUISES)
def test_every_disguise_is_found_wherever_it_lies(how):
    words = Words(["SCHMIDT^EVA", WORD.decode()])
    for data in DISGUISES[how]:
        for before in range(4):
            found = {(w, h) for w, h, _ in words.find(b"\0" * before + data + b"\0")}
            assert (WORD.decode(), how) in found, (data, before)


def test_noise_holds_none_of_many_words():
    words = Words([f"CANARY{i:05d}" for i in range(5000)])
    assert list(words.find(os.urandom(1 << 20))) == []


def test_short_words_are_refused_and_short_codes_left_out():
    with pytest.raises(UserError, match="3 characters") as error:
        Words(["Doe"])
    assert "Doe" not in str(error.value)
    assert base64_forms(b"Jane") == set() and len(base64_forms(WORD)) == 3


def test_many_bytes_that_only_look_like_streams_are_passed_quickly():
    """Each false start must cost a piece, and not a copy of all that follows."""
    looked = []

    class Counted(bytes):
        def __getitem__(self, at):
            looked.append(at)
            return super().__getitem__(at)

    data = Counted(b"\x78\x9c" * 50_000 + gzip.compress(b"the name is Muellermann"))
    assert [(word, how) for word, how, _ in Words({"Muellermann"}).find(data)] == [
        ("Muellermann", "text in gzip")
    ]
    assert not [at for at in looked if isinstance(at, slice) and at.stop is None]


@pytest.mark.parametrize(
    ("word", "written", "how"),
    [("J\u00f6rgensen", "JO\u0308RGENSEN".encode(), "text"), ("Jo\u0308rgensen", b"J\xf6rgensen", "Latin-1"),
     ("Strau\u00df", b"STRAUSS", "text"), ("STRAU\u00df", "Strau\u00df".encode("utf-16-le"), "UTF-16")],
)  # fmt: skip
def test_names_with_accents_are_found_however_systems_write_them(word, written, how):
    assert {found[1] for found in Words([word]).find(b"a " + written + b" b")} == {how}
    assert list(Words(["Jorgensen"]).find(written)) == []


def test_a_name_in_capitals_is_found_as_people_write_it():
    words = Words(["MEIER"])
    for written in (b"of Anna Meier", b"of anna meier", b"of MEIER"):
        assert [word for word, *_ in words.find(written)] == ["MEIER"]
