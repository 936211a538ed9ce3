import json

import pandas as pd
import pytest

from medssl.data.boxes import check_size, read_coco
from medssl.errors import UserError

IMAGE = {"id": 1, "file_name": "a.png", "width": 30, "height": 20}


@pytest.fixture
def coco(tmp_path):
    def write(*boxes, category=1, image=1):
        content = {
            "images": [IMAGE],
            "categories": [{"id": 1, "name": "x"}],
            "annotations": [
                {"id": i, "image_id": image, "category_id": category, "bbox": box}
                for i, box in enumerate(boxes)
            ],
        }
        (tmp_path / "c.json").write_text(json.dumps(content))
        return tmp_path / "c.json"

    return write


def test_boxes_become_corners_and_rounding_is_clipped(coco):
    boxes = read_coco(coco([1, 2, 3, 4], [-0.4, 0, 30.9, 20]))[0].boxes
    assert [b["box"] for b in boxes] == [[1, 2, 4, 6], [0, 0, 30, 20]]
    assert read_coco(coco())[0].boxes == []


@pytest.mark.parametrize(
    "box", [[1, 2, 0, 4], [1, 2, -3, 4], [25, 2, 10, 4], [-5, 0, 9, 9], [1, 2, 3], "x", None,
            [float("nan"), 1, 2, 3]]
)  # fmt: skip
def test_boxes_outside_or_empty_are_refused(coco, box):
    with pytest.raises(UserError, match="LABELS .*annotation 0"):
        read_coco(coco(box))


def test_unknown_images_and_categories_are_refused(coco, tmp_path):
    for options in ({"category": 2}, {"image": 2}):
        with pytest.raises(UserError, match="unknown image or category"):
            read_coco(coco([1, 2, 3, 4], **options))
    for content in ("[]", "{", '{"images": []}'):
        (tmp_path / "c.json").write_text(content)
        with pytest.raises(UserError, match="is no COCO file"):
            read_coco(tmp_path / "c.json")


def test_the_size_must_be_the_scans(coco, tmp_path):
    image = read_coco(coco())[0]
    check_size(image, pd.Series({"shape": "20x30"}), tmp_path)
    with pytest.raises(UserError, match="20x30"):
        check_size(image, pd.Series({"shape": "30x20"}), tmp_path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: c["annotations"].append("no object"),
        lambda c: c["annotations"][0].update(image_id=[1]),
        lambda c: c["images"][0].update(width=float("inf")),
        lambda c: c["images"].append(c["images"][0]),
        lambda c: c["categories"].append(c["categories"][0]),
        lambda c: c["images"].append(7),
    ],
)
def test_what_is_no_coco_is_refused_in_words(tmp_path, spoil):
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 9, "height": 9, "patient_id": None}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}],
        "categories": [{"id": 1, "name": "n"}],
    }
    path = tmp_path / "c.json"
    path.write_text(json.dumps(content))
    assert read_coco(path)[0].patient == ""
    spoil(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="LABELS .*c.json: is no COCO file"):
        read_coco(path)
