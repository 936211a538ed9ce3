import pandas as pd
import pytest

from medssl.data.subset import few, of_splits
from medssl.errors import UserError


def items(n=20, per_patient=2):
    return pd.DataFrame(
        {
            "id": [f"s{i:02d}" for i in range(n)],
            "patient": [f"p{i // per_patient}" for i in range(n)],
            "split": ["train", "test"] * (n // 2),
            "label": ["a"] * (n - 4) + ["b"] * 4,
        }
    )


def test_draws_are_nested_and_differ():
    table = items()
    for draw in range(3):
        chosen = [set(few(table, n, draw)["id"]) for n in (1, 2, 4, 8)]
        assert all(a < b for a, b in zip(chosen, chosen[1:], strict=False))
    assert set(few(table, 4, 0)["id"]) != set(few(table, 4, 1)["id"])
    assert list(few(table, 0, 0)["id"]) == list(table["id"])


def test_classes_take_turns():
    assert sorted(few(items(), 4, 0, by="label")["label"]) == ["a", "a", "b", "b"]


def test_does_not_depend_on_the_order_of_the_table():
    table = items()
    mixed = table.sample(frac=1, random_state=0)
    assert list(few(table, 5, 2)["id"]) == list(few(mixed, 5, 2)["id"])


def test_too_many_are_refused_with_the_number_there_is():
    with pytest.raises(UserError, match="21 scans were asked for, 20 are labelled"):
        few(items(), 21, 0)


def test_splits():
    assert set(of_splits(items(), ["train"])["split"]) == {"train"}
    assert len(of_splits(items(), ["train", "test"])) == 20 and of_splits(items(), [""]).empty
