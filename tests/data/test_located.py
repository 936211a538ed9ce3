import json

import numpy as np
import pytest

from medssl.data.located import located, moved, parts
from medssl.data.volume import LPS_TO_RAS
from medssl.errors import UserError

SCAN = np.array([[0, 2.0, 0, -10], [-1.5, 0, 0, 5], [0, 0, 3, 7], [0, 0, 0, 1]])
SHAPE = (20, 22, 24)


def world(corner):
    """RAS mm of a corner at voxel edges."""
    return (SCAN @ [*(np.array(corner) - 0.5), 1])[:3]


@pytest.mark.parametrize("space", ["RAS", "LPS"])
def test_a_world_box_is_the_box_of_the_voxels_it_covers(space):
    box = [2, 3, 4, 7, 9, 6]
    ends = np.array([world(box[:3]), world(box[3:])])
    if space == "LPS":
        ends = ends @ LPS_TO_RAS[:3, :3]
    text = json.dumps([{"box": [*ends.min(0), *ends.max(0)], "class": "a", "space": space}])
    assert located(text, SCAN, SHAPE, "scan") == pytest.approx(np.array([box]))


def test_films_count_columns_first():
    text = json.dumps([{"box": [1, 2, 3, 9], "class": "a"}])
    assert located(text, np.eye(4), (10, 5), "film").tolist() == [[2, 1, 9, 3]]
    assert located("[]", np.eye(4), (10, 5), "film").shape == (0, 4)


def test_a_box_elsewhere_is_refused():
    far = json.dumps([{"box": [500, 0, 0, 510, 5, 5], "class": "a", "space": "RAS"}])
    with pytest.raises(UserError, match="box 1, .* lies outside the scan"):
        located(far, SCAN, SHAPE, "scan")
    told = far.replace("}", ', "line": 12}')
    with pytest.raises(UserError, match="line 12 of the table of boxes, .*RAS mm.* lies outside"):
        located(told, SCAN, SHAPE, "scan")
    with pytest.raises(UserError, match="has 2 axes, the scan 3"):
        located(json.dumps([{"box": [0, 0, 1, 1], "class": "a"}]), SCAN, SHAPE, "scan")


def test_there_and_back():
    boxes = np.array([[1.5, 2, 3, 8, 9, 10], [0, 0, 0, 20, 22, 24]])
    there = moved(boxes, SCAN)
    assert moved(there, np.linalg.inv(SCAN)) == pytest.approx(boxes)
    assert moved(boxes[:0], SCAN).shape == (0, 6)


def test_parts_of_masks_touch_at_corners():
    mask = np.zeros((8, 8), int)
    mask[0, 0] = mask[1, 1] = 1
    mask[4:7, 5] = 2
    mask[7, 0] = 1
    boxes, labels, left = parts(mask, (1, 2))
    assert boxes.tolist() == [[0, 0, 2, 2], [7, 0, 8, 1], [4, 5, 7, 6]]
    assert labels.tolist() == [1, 1, 2] and left == 0
    boxes, labels, left = parts(mask, (1, 2), smallest=2)
    assert len(boxes) == 2 and left == 1
    assert parts(mask, (3,))[0].shape == (0, 4)
