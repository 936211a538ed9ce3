import numpy as np
import pytest

from medssl.tasks.cleaning import CHOICES, Choosing, cleaned


def scene():
    """Class 1 with a hole and an island, class 2 inside another hole of class 1."""
    labels = np.zeros((12, 12), int)
    labels[1:8, 1:8] = 1
    labels[3, 3], labels[5, 5], labels[10, 10] = 0, 2, 1
    return labels


def test_islands_go_holes_are_filled_and_what_has_another_name_stays():
    before = scene()
    after = cleaned(before, {1: (True, True)})
    assert after[10, 10] == 0 and after[3, 3] == 1 and after[5, 5] == 2
    assert np.array_equal(before, scene())  # what is given is left as it was
    only_largest, only_filled = (
        cleaned(before, {1: (True, False)}),
        cleaned(before, {1: (False, True)}),
    )
    assert (only_largest[10, 10], only_largest[3, 3]) == (0, 0)
    assert (only_filled[10, 10], only_filled[3, 3]) == (1, 1)
    assert np.array_equal(cleaned(before, {3: (True, True)}), before)


@pytest.mark.parametrize("spoil, wanted", [
    (lambda t: t, (False, False)),
    (lambda t: t.__setitem__((10, 10), 1), (True, False)),
    (lambda t: t.__setitem__((3, 3), 0), (False, True)),
])  # fmt: skip
def test_what_helps_is_chosen_class_by_class(spoil, wanted):
    truth = np.zeros((12, 12), int)
    truth[1:8, 1:8], truth[9:11, 0:2] = 1, 2
    found = truth.copy()
    spoil(found)
    choosing = Choosing([1, 2])
    for _ in range(2):
        choosing.show(found, truth)
    chosen, score = choosing.chosen()
    assert chosen == {1: wanted, 2: (False, False)} and score == 1


def test_two_true_parts_are_not_thrown_away():
    truth = np.zeros((12, 12), int)
    truth[1:4, 1:4] = truth[8:11, 8:11] = 1
    found = truth.copy()
    found[6, 0] = 1  # an island, which costs less than a kidney
    choosing = Choosing([1])
    choosing.show(found, truth)
    chosen, score = choosing.chosen()
    assert chosen == {1: (False, False)} and score == pytest.approx(2 * 18 / (18 + 19))


def test_classes_that_no_case_holds_are_left_out():
    choosing = Choosing([1, 2])
    choosing.show(np.zeros((4, 4), int), np.zeros((4, 4), int))
    assert choosing.chosen() == ({1: CHOICES[0], 2: CHOICES[0]}, None)
    truth = np.eye(4, dtype=int)
    choosing.show(np.zeros((4, 4), int), truth)
    assert choosing.chosen()[1] == 0
    assert Choosing([1]).chosen() == ({1: CHOICES[0]}, None)


def test_a_gain_that_is_none_changes_nothing():
    truth = np.zeros((400, 400), int)
    truth[:300] = 1
    found = truth.copy()
    found[-1, -1] = 1  # one voxel of 120,000
    choosing = Choosing([1])
    choosing.show(found, truth)
    assert choosing.chosen()[0] == {1: CHOICES[0]}


def test_one_class_everywhere_is_an_answer_too():
    choosing = Choosing([1, 2])
    assert choosing.constant() == 0
    truth = np.zeros((4, 5), int)
    truth[:2], truth[3, 0] = 1, 2
    choosing.show(np.ones_like(truth), truth)
    assert choosing.constant() == choosing.chosen()[1] == (2 * 10 / 30) / 2
