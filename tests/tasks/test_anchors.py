import numpy as np

from medssl.tasks.anchors import fitted


def test_shapes_are_those_of_the_boxes_small_to_large():
    kinds = np.array([[4, 4], [10, 5], [5, 10], [30, 30]], float)
    sizes = np.repeat(kinds, 20, axis=0) * np.random.default_rng(0).uniform(0.98, 1.02, (80, 1))
    found = fitted(sizes, 2, 2)
    assert found.shape == (2, 2, 2)
    flat = found.reshape(4, 2)
    assert np.allclose(flat[0], [4, 4], rtol=0.05) and np.allclose(flat[3], [30, 30], rtol=0.05)
    assert {tuple(np.rint(row)) for row in flat[1:3]} == {(10, 5), (5, 10)}
    shuffled = sizes[np.random.default_rng(1).permutation(80)]
    assert np.allclose(fitted(shuffled, 2, 2), found)


def test_fewer_boxes_than_anchors_give_shapes_around_them():
    found = fitted(np.array([[8.0, 8.0, 8.0]]), 2, 3).reshape(6, 3)
    volumes = found.prod(1)
    assert (np.diff(volumes) > 0).all() and volumes[0] < 512 < volumes[-1]
    assert np.isfinite(fitted(np.array([[8.0, 4.0], [8.0, 4.0], [2.0, 2.0]]), 1, 3)).all()
