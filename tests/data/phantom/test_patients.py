from collections import Counter

import pytest

from medssl.data.phantom.patients import has_finding, splits


@pytest.mark.parametrize("kind", ["ct", "mr", "film"])
def test_one_of_each_pair_has_the_finding(kind):
    found = [has_finding(3, kind, p) for p in range(40)]
    assert all(a != b for a, b in zip(found[::2], found[1::2], strict=True))
    assert len({tuple(pair) for pair in zip(found[::2], found[1::2], strict=True)}) == 2


@pytest.mark.parametrize("patients", [6, 8, 16, 31])
def test_every_split_of_a_cohort_has_both_classes(patients):
    names = splits(0, "ct", patients)
    assert len(names) == patients
    for name in ("train", "val", "test"):
        members = [p for p in range(patients) if names[p] == name]
        assert {has_finding(0, "ct", p) for p in members} == {True, False} or len(members) == 1
    assert Counter(names)["train"] >= patients / 3


@pytest.mark.parametrize(
    ("patients", "expected"),
    [(0, set()), (1, {"train"}), (2, {"train", "test"}), (3, {"train", "val", "test"})],
)
def test_small_cohorts(patients, expected):
    assert set(splits(0, "ct", patients)) == expected


def test_a_seed_gives_one_split():
    assert splits(1, "mr", 20) == splits(1, "mr", 20)
    assert splits(1, "mr", 20) != splits(2, "mr", 20)
