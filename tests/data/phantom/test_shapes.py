import numpy as np
import pytest

from medssl.data.phantom import shapes
from medssl.seeding import generator


@pytest.fixture
def points():
    return shapes.grid((20, 24, 28), np.diag([2.0, 2.0, 2.0, 1.0]))


def test_grid_gives_world_places():
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = -10, 5, 0
    places = shapes.grid((4, 5, 6), affine)
    np.testing.assert_allclose(places[:, 1, 2, 3], affine[:3] @ [1, 2, 3, 1])


def test_distance_to_a_ball_is_exact(points):
    centre, radius = (18, 22, 26), 9
    true = np.linalg.norm(points - np.reshape(centre, (3, 1, 1, 1)), axis=0) - radius
    np.testing.assert_allclose(shapes.ellipsoid(points, centre, [radius] * 3), true, atol=1e-3)
    np.testing.assert_allclose(
        shapes.tube(points, [centre, np.add(centre, 1e-3)], 9), true, atol=0.01
    )


def test_shapes_far_away_are_outside(points):
    places = [(200, 0, 0), (0, -90, 0)]
    assert (shapes.ellipsoid(points, places[0], (20, 20, 20)) > shapes.FAR).all()
    assert (shapes.tube(points, [(200, 0, 0), (220, 0, 0)], 4) > shapes.FAR).all()


def test_rotation_keeps_lengths_and_turns_x_to_y():
    turn = shapes.rotation((10, -20, 30))
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(shapes.rotation((0, 0, 90)) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_move_undoes_the_pose(points):
    there = shapes.move(points, (0, 0, 90), (5, 6, 7))
    turn, off = shapes.rotation((0, 0, 90)), np.reshape((5, 6, 7), (3, 1, 1, 1))
    np.testing.assert_allclose(np.tensordot(turn, there, 1) + off, points, atol=1e-4)


def test_waves_depend_on_places_alone(points):
    field = shapes.waves(points, generator(0, "test"), 12)
    part = shapes.waves(points[..., 5:9], generator(0, "test"), 12)
    np.testing.assert_allclose(field[..., 5:9], part, atol=1e-5)
    assert abs(field.mean()) < 0.2 and 0.7 < field.std() < 1.3


def test_cover_is_the_share_of_a_voxel():
    np.testing.assert_allclose(
        shapes.cover(np.array([-9.0, -1, 0, 1, 9]), 4), [1, 0.75, 0.5, 0.25, 0]
    )


def test_paint_blends_in_place():
    image = np.zeros(3, np.float32)
    shapes.paint(image, np.array([0, 0.5, 1], np.float32), 10)
    assert image.tolist() == [0, 5, 10]


def test_rounded_union_holds_both_shapes():
    a, b = np.array([-1.0, 5, 2]), np.array([4.0, -2, 2])
    assert (shapes.union(a, b, 6) <= np.minimum(a, b)).all()
    assert shapes.union(a, b).tolist() == [-1, -2, 2]
