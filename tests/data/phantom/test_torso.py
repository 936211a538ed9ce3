import numpy as np

from medssl.data.phantom import shapes
from medssl.data.phantom.torso import Anatomy


def places():
    affine = np.diag([8.0, 8.0, 8.0, 1.0])
    affine[:3, 3] = -176, -130, -190
    return shapes.grid((44, 33, 47), affine)


def test_organs_do_not_depend_on_the_grid():
    points = places()
    whole = Anatomy(0, 0, points).liver()
    part = Anatomy(0, 0, points[..., 20:30].copy()).liver()
    near = np.abs(part) < 5
    np.testing.assert_allclose(whole[..., 20:30][near], part[near], atol=1e-2)


def test_layers_of_the_body_are_nested():
    body = Anatomy(0, 1, places())
    assert (body.skin < body.muscle).all() and (body.muscle < body.wall).all()


def test_lungs_leave_room_for_heart_and_liver():
    body = Anatomy(0, 2, places())
    heart, liver = body.heart(), body.liver()
    lungs = body.lungs(heart, liver) < 0
    assert lungs.any() and not (lungs & ((heart < 0) | (liver < 0))).any()


def test_chambers_lie_in_the_heart():
    body = Anatomy(0, 3, places())
    heart = body.heart()
    for chamber in body.heart_chambers():
        assert (chamber < 0).any() and (heart[chamber < 0] < 0).all()


def test_patients_differ():
    points = places()
    assert not np.allclose(Anatomy(0, 0, points).liver(), Anatomy(0, 1, points).liver())
