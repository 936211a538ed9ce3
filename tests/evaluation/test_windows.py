import numpy as np
import pytest

from medssl.evaluation.windows import windows


@pytest.mark.parametrize(
    ("shape", "size"),
    [((10, 7), (4, 4)), ((20, 9, 33), (8, 9, 16)), ((5, 3), (8, 8)), ((6, 4, 5), (4, 4, 1))],
)
def test_every_voxel_belongs_to_one_window_that_sees_it(shape, size):
    count = np.zeros(shape, int)
    found = windows(shape, size)
    for w in found:
        count[w.own] += 1
        assert tuple(b - a for a, b in zip(w.low, w.high, strict=True)) == size
        seen = np.zeros(size)[w.inner]
        assert seen.shape == count[w.own].shape and seen.size
    assert (count == 1).all()
    assert len(found) == np.prod([-(-n // s) for n, s in zip(shape, size, strict=True)])


def test_windows_stay_inside_and_share_what_overlaps():
    a, b = windows((10,), (8,))
    assert (a.low, a.high, b.low, b.high) == ((0,), (8,), (2,), (10,))
    assert (a.first, a.last, b.first, b.last) == ((0,), (5,), (5,), (10,))
    (small,) = windows((3,), (8,))
    assert (small.low, small.high) == ((-2,), (6,)) and small.inner == (slice(2, 5),)
