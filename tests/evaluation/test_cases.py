import numpy as np

from medssl.evaluation.cases import structures, whole_scans
from medssl.evaluation.windows import windows

POINTS = {
    "a": np.array([[k, i, i + 1, i + 2] for k in (1, 2, 9) for i in range(20)]),
    "b": np.array([[2, 5, 5, 5]]),
}


def test_boxes_lie_around_voxels_of_the_structures_asked_about():
    scans = [("a", "p"), ("b", "q")]
    found = structures(scans, POINTS.get, [1, 2], (4, 4, 1), per_class=3, seed=0)
    assert found.answers.tolist() == [1, 1, 1, 2, 2, 2, 2]
    assert found.patients.tolist() == ["p"] * 6 + ["q"]
    for ((scan, low, high),), value in zip(found.boxes, found.answers, strict=True):
        centre = [low[0] + 2, low[1] + 2, low[2]]
        assert [value, *centre] in POINTS[scan].tolist()
        assert [b - a for a, b in zip(low, high, strict=True)] == [4, 4, 1]
    again = structures(scans, POINTS.get, [1, 2], (4, 4, 1), per_class=3, seed=0)
    other = structures(scans, POINTS.get, [1, 2], (4, 4, 1), per_class=3, seed=1)
    assert again.boxes == found.boxes != other.boxes
    assert found.chance == 4 / 7


def test_whole_scans_are_those_with_an_answer():
    found = whole_scans(
        [("a", "p"), ("b", "q"), ("c", "r")], {"a": 1, "c": 0}, lambda i, n: windows((8, 8), (4, 8))
    )
    assert found.answers.tolist() == [1, 0] and found.patients.tolist() == ["p", "r"]
    assert [len(b) for b in found.boxes] == [2, 2] and found.boxes[0][0] == ("a", (0, 0), (4, 8))
