import pytest

from medssl.errors import UserError
from medssl.yaml_file import read_yaml

BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: 1\na: 2", "a key is given twice"),
        ("a:\n  b: 1\n  b: 2", "a key is given twice"),
        (BOMB, "aliases are not read"),
        ("[" * 5000, "nested deeper than 20"),
        ("7: x", "the key 7 is no word"),
        ("- a", "found no mapping"),
        ("a: [", "not readable as YAML"),
        (b"\xff\xfe", "not readable as YAML"),
    ],
)
def test_what_is_no_plain_mapping_is_refused(tmp_path, text, word):
    path = tmp_path / "bad.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=f"CONFIG .*bad.yaml.*{word}"):
        read_yaml(path)


def test_numbers_are_what_they_look_like(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text("a: 10\nb: 010\nc: 1:30\nd: -3\ne: 0\nf: 1.5\ng: {1: liver}\nh: true\n")
    assert read_yaml(path) == {
        "a": 10, "b": "010", "c": "1:30", "d": -3, "e": 0, "f": 1.5, "g": {1: "liver"}, "h": True,
    }  # fmt: skip
    path.write_text("a: 5e-05\nb: -1E+3\nc: 2e\n")
    assert read_yaml(path) == {"a": 5e-05, "b": -1000.0, "c": "2e"}
    path.write_text("# nothing\n")
    assert read_yaml(path) == {}
