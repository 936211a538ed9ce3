import pandas as pd
import pytest

from medssl.data import leakage
from medssl.data.leakage import overlap, record, refuse_overlap
from medssl.errors import UserError


def items(**patients) -> pd.DataFrame:
    """Scan a of patient p: a="p"."""
    rows = [{"patient": p, "source": f"bytes of {s}"} for s, p in patients.items()]
    return pd.DataFrame(rows, columns=["patient", "source"])


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
