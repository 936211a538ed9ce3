import numpy as np
import pandas as pd
import pytest

from medssl.data import leakage
from medssl.data.leakage import look_alikes, overlap, record, refuse_overlap
from medssl.errors import UserError


def items(**patients) -> pd.DataFrame:
    """Scan a of patient p: a="p"."""
    rows = [
        {"patient": p, "source": f"bytes of {s}", "pixels": f"pixels of {s}", "likeness": looks(s)}
        for s, p in patients.items()
    ]
    return pd.DataFrame(rows, columns=["patient", "source", "pixels", "likeness"])


def looks(scan: str) -> str:
    return np.random.default_rng(ord(scan[0])).bytes(32).hex()


def test_patients_are_recognised_by_id_and_scans_by_bytes():
    card = record({}, pretrain=items(a="p", b="q"), train=items(c="r"))
    assert overlap(card, items(x="q", y="r", z="s")) == {"pretrain": ["q"], "train": ["r"]}
    assert overlap(card, items(a="renamed")) == {"pretrain": ["renamed"]}
    assert overlap(card, items(z="s")) == {} == overlap({}, items(a="p"))
    assert overlap(card, items(x="q", y="r"), ("pretrain",)) == {"pretrain": ["q"]}


def test_what_a_parent_has_seen_in_any_part_is_remembered():
    parent = record({}, pretrain=items(a="p"), train=items(b="q"), validation=items(c="r"))
    child = record(parent, train=items(d="s"), validation=items())
    assert child["patients"] == {"train": ["s"], "validation": ["r"], "pretrain": ["p", "q"]}
    assert overlap(child, items(b="x")) == {"pretrain": ["x"]}


def test_of_several_parents_all_is_remembered():
    one = record({}, pretrain=items(a="p"))
    two = record({}, train=items(b="q"), validation=items(c="r"))
    child = record(one, two, {}, pretrain=items(d="s"))
    assert child["patients"] == {"pretrain": ["p", "q", "s"], "validation": ["r"]}


def test_another_key_is_told(monkeypatch, capsys):
    card = record({}, pretrain=items(a="p"))
    assert overlap(card, items(b="q")) == {} and capsys.readouterr().err == ""
    monkeypatch.setattr(leakage, "pseudonym", lambda text, prefix: "k-other")
    assert overlap(card, items(a="x")) == {"pretrain": ["x"]}
    assert "another key" in capsys.readouterr().err


def test_refusal_says_how_many_and_who_and_the_way_out():
    with pytest.raises(UserError, match=r"2 seen in pretrain \(a, b\).*allow_overlap=true"):
        refuse_overlap({"pretrain": ["a", "b"]}, "run", allow=False)
    refuse_overlap({"pretrain": ["a"]}, "run", allow=True)
    refuse_overlap({}, "run", allow=False)


def test_equal_pixels_under_another_name_and_format_are_recognised():
    card = record({}, pretrain=items(a="p"))
    again = items(a="renamed").assign(source="other bytes")
    assert overlap(card, again) == {"pretrain": ["renamed"]}
    assert look_alikes(card, again).empty  # what is known is not listed once more


def test_what_looks_alike_is_listed_and_not_refused(capsys):
    card = record({}, pretrain=items(a="p", b="q"), validation=items(c="r"))
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(looks("b")), np.uint8))
    bits[:7] ^= 1
    again = items(x="renamed", y="s").assign(likeness=[np.packbits(bits).tobytes().hex(), ""])
    assert overlap(card, again) == {}
    found = look_alikes(card, again)
    assert found.to_dict("records") == [
        {"scan": 0, "patient": "renamed", "part": "pretrain", "bits": 7}
    ]
    assert "1 scans look like one that was seen before" in capsys.readouterr().err
    assert look_alikes({}, again).empty


def test_a_card_of_before_fingerprints_of_pixels_still_guards():
    card = {"patients": {"train": ["p"]}, "scans": {"train": []}}
    assert overlap(card, items(a="p")) == {"train": ["p"]} and look_alikes(card, items(a="p")).empty
