import numpy as np
import pandas as pd
import pytest

from medssl.evaluation.subgroups import UNKNOWN, by_group, grouped
from medssl.evaluation.summary import summary


def test_few_values_stand_as_they_are_and_what_is_empty_is_not_known():
    found = grouped(pd.Series(["F", "M", "", None, "F"], index=list("abcde")))
    assert found.to_dict() == {"a": "F", "b": "M", "c": UNKNOWN, "d": UNKNOWN, "e": "F"}
    assert list(grouped(pd.Series([1.0, 2.5, np.nan]))) == ["1", "2.5", UNKNOWN]


def test_numbers_are_parted_into_thirds_named_by_their_ends():
    ages = pd.Series([*np.arange(20, 80, 2), np.nan])
    found = grouped(ages)
    assert found.iloc[-1] == UNKNOWN and found.nunique() == 4
    for name, members in ages.groupby(found):
        if name != UNKNOWN:
            low, high = map(float, name.split(" to "))
            assert (members.min(), members.max(), len(members)) == (low, high, 10)


def test_of_many_names_the_rare_ones_stand_together():
    sites = [f"site {k}" for k in range(12) for _ in range(12 - k)]
    found = grouped(pd.Series(sites))
    assert set(found) == {*(f"site {k}" for k in range(7)), "others"}


def test_figures_of_a_group_are_those_of_its_cases_alone_in_the_order_of_numbers():
    draw = np.random.default_rng(0)
    cases = pd.DataFrame({"id": list("abcdefgh"), "patient": list("aabbccdd"), "class": "x"})
    cases["dice"] = draw.random(8)
    groups = pd.Series(["10 to 20", "10 to 20", "9 to 9.5", "9 to 9.5", "m", "m", UNKNOWN, UNKNOWN],
                       index=cases["id"])  # fmt: skip
    found = by_group(cases, groups, n=100, seed=1)
    assert list(found) == ["9 to 9.5", "10 to 20", "m", UNKNOWN]
    alone = summary(cases[2:4], n=100, seed=1)
    assert found["9 to 9.5"] == alone and alone["dice, x"].n_patients == 1
    assert alone["dice, x"].estimate == pytest.approx(cases["dice"][2:4].mean())


def test_a_group_of_scans_without_boxes_has_no_figures():
    box = {"class": "nodule", "score": 0.9, "iou": 0.5, "x0": 0.0, "y0": 0.0, "x1": 4.0, "y1": 4.0}
    rows = [
        {"id": "a", "patient": "p1", "box": "truth", **box},
        {"id": "a", "patient": "p1", "box": "found", **box},
        {"id": "b", "patient": "p2", "box": "", "class": "", "iou": 0.5},
    ]
    found = by_group(pd.DataFrame(rows), pd.Series({"a": "M", "b": "F"}), n=100, seed=0)
    assert found["M"]["map"].estimate == 1 and set(found["M"]) == set(found["F"])
    assert all(np.isnan(i.estimate) for i in found["F"].values())
