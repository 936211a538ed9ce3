import pytest

from medssl.data.leakage import overlap, refuse_overlap
from medssl.errors import UserError

CARD = {"patients": {"pretrain": ["a", "b"], "train": ["c"]}}


def test_who_was_seen_where():
    assert overlap(CARD, ["b", "c", "d"]) == {"pretrain": ["b"], "train": ["c"]}
    assert overlap(CARD, ["d"]) == {} and overlap({}, ["a"]) == {}
    assert overlap(CARD, ["b", "c"], ("pretrain",)) == {"pretrain": ["b"]}


def test_refusal_says_how_many_and_who_and_the_way_out():
    with pytest.raises(UserError, match=r"2 seen in pretrain \(a, b\).*allow_overlap=true"):
        refuse_overlap({"pretrain": ["a", "b"]}, "run", allow=False)
    refuse_overlap({"pretrain": ["a"]}, "run", allow=True)
    refuse_overlap({}, "run", allow=False)
