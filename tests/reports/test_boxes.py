import matplotlib as mpl
import numpy as np
import pytest

from medssl.evaluation.detection import Boxes
from medssl.reports.boxes import VIEWS, boxes_overlay, boxes_to_ras, views
from medssl.reports.figures import to_ras
from medssl.reports.style import COLOURS

CLASSES = {1: "liver", 2: "spleen"}
NONE = Boxes(np.zeros((0, 6)), np.zeros(0, int), np.zeros(0))


def cubes(*corners, side=4.0, score=None) -> Boxes:
    low = np.array(corners, float).reshape(-1, 3)
    scores = None if score is None else np.full(len(low), score)
    return Boxes(np.hstack([low, low + side]), np.ones(len(low), int), scores)


@pytest.mark.parametrize("shape", [(40, 50), (30, 36, 24)])
def test_boxes_lie_around_what_they_mark(shape):
    image = np.zeros(shape)
    low, high = np.array([4, 8, 5][: len(shape)]), np.array([16, 20, 15][: len(shape)])
    image[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1
    truth = Boxes(np.concatenate([low, high])[None].astype(float), np.array([2]))
    none = Boxes(np.zeros((0, 2 * len(shape))), np.zeros(0, int), np.zeros(0))
    figure = boxes_overlay(image, truth, none, CLASSES)
    assert len(figure.axes) == (1 if len(shape) == 2 else 3)
    for axis in figure.axes:
        (patch,) = axis.patches
        assert patch.get_edgecolor()[:3] == pytest.approx(mpl.colors.to_rgb(COLOURS[1]))
        picture = np.asarray(axis.images[0].get_array())
        rows, columns = np.nonzero(picture > 0.5)
        assert patch.get_xy() == (columns.min() - 0.5, rows.min() - 0.5)
        assert patch.get_width() == np.ptp(columns) + 1 and patch.get_height() == np.ptp(rows) + 1


def test_found_boxes_are_dashed_and_say_their_score_and_others_planes_are_left_free():
    image = np.random.default_rng(0).random((20, 20, 20))
    truth = Boxes(np.array([[2.0, 2, 2, 8, 8, 8]]), np.array([1]))
    found = Boxes(
        np.array([[3.0, 3, 3, 9, 9, 9], [12, 12, 12, 18, 18, 18]]),
        np.array([1, 1]),
        np.array([0.875, 0.5]),
    )
    axes = boxes_overlay(image, truth, found, CLASSES).axes
    assert len(axes) == 6
    for axis in axes[:3]:
        solid, dashed = axis.patches
        assert solid.get_linestyle() in ("-", "solid")
        assert dashed.get_linestyle() not in ("-", "solid")
        assert "0.88" in [t.get_text() for t in axis.texts]
    for axis in axes[3:]:
        (dashed,) = axis.patches
        assert dashed.get_linestyle() not in ("-", "solid")
        assert "0.50" in [t.get_text() for t in axis.texts]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PSR", "AIL"])
def test_boxes_turn_as_their_scans_do(codes):
    mask = np.zeros((10, 12, 14))
    mask[2:5, 3:9, 1:8] = 1
    box = Boxes(np.array([[2.0, 3, 1, 5, 9, 8]]), np.array([1]))
    turned = to_ras(mask, codes)
    (found,) = boxes_to_ras(box, mask.shape, codes).box
    where = np.argwhere(turned)
    assert found.tolist() == [*where.min(0), *(where.max(0) + 1)]


def test_boxes_that_lie_apart_are_each_brought_into_view():
    image = np.random.default_rng(0).random((60, 60, 60))
    truth = cubes((2, 4, 6), (20, 30, 40), (50, 52, 54))
    figure = boxes_overlay(image, truth, NONE, CLASSES)
    assert len(figure.axes) == 9
    assert [len(axis.patches) for axis in figure.axes] == [1] * 9
    assert len({axis.images[0].get_array().tobytes() for axis in figure.axes}) == 9
    where, true, found = views(truth, NONE, image.shape)
    assert where == [[4, 6, 8], [22, 32, 42], [52, 54, 56]] and true.all() and not len(found)


def test_one_set_of_planes_is_enough_for_boxes_that_it_cuts():
    at_one_height = cubes((2, 4, 20), (50, 40, 21), (30, 8, 19))
    where, true, _ = views(at_one_height, NONE, (60, 60, 60))
    assert len(where) == 1 and true.all()
    image = np.random.default_rng(0).random((60, 60, 60))
    axial, *_ = boxes_overlay(image, at_one_height, NONE, CLASSES).axes
    assert len(axial.patches) == 3


def test_when_not_all_can_be_shown_true_boxes_go_before_found_ones():
    truth = cubes((0, 0, 0), (10, 10, 10), (20, 20, 20))
    found = cubes((30, 30, 30), (40, 40, 40), (31, 50, 41), score=0.5)
    where, true, called = views(truth, found, (60, 60, 60))
    assert len(where) == VIEWS and true.all() and not called.any()
    where, true, called = views(cubes((0, 0, 0), (10, 10, 10)), found, (60, 60, 60))
    assert true.all() and called.all() and where[2] == [33, 52, 43]  # whose planes cut all three
    many = cubes(*[(10 * k, 10 * k, 10 * k) for k in range(6)])
    assert views(many, NONE, (60, 60, 60))[1].sum() == VIEWS


def test_without_boxes_the_middle_is_shown():
    where, true, found = views(NONE, NONE, (10, 12, 14))
    assert where == [[5, 6, 7]] and not len(true) and not len(found)
    assert len(boxes_overlay(np.zeros((10, 12, 14)), NONE, NONE, CLASSES).axes) == 3
