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
    for options, said in (
        ({"category": 2}, r"annotation 0 \(on a.png\) has the category_id 2, .*there are 1: x"),
        ({"image": 2}, "annotation 0 has the image_id 2, which none of the images has"),
    ):
        with pytest.raises(UserError, match=said):
            read_coco(coco([1, 2, 3, 4], **options))
    for content in ("[]", '{"images": []}'):
        (tmp_path / "c.json").write_text(content)
        with pytest.raises(UserError, match="is no COCO file"):
            read_coco(tmp_path / "c.json")


def test_the_size_must_be_the_scans(coco, tmp_path):
    image = read_coco(coco())[0]
    check_size(image, pd.Series({"shape": "20x30"}), tmp_path)
    with pytest.raises(UserError, match="20x30"):
        check_size(image, pd.Series({"shape": "30x20"}), tmp_path)


CONTENT = {
    "images": [{"id": 1, "file_name": "a.png", "width": 9, "height": 9, "patient_id": None}],
    "annotations": [{"id": 5, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}],
    "categories": [{"id": 1, "name": "n"}],
}


def spoilt(part: str, **changes):
    """The content with an entry's keys changed, or taken out where they are ...."""

    def spoil(content):
        entry = content[part][0]
        entry |= {k: v for k, v in changes.items() if v is not ...}
        for key in [k for k, v in changes.items() if v is ...]:
            del entry[key]

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda c: c.pop("images"), "images is missing; it has annotations, categories"),
        (lambda c: c.update(annotations={}), "annotations is no list"),
        (lambda c: c["annotations"].append("no object"), 'entry 2 of annotations is "no object"'),
        (lambda c: c["images"].append(7), "entry 2 of images is 7, expected an object"),
        (lambda c: c["images"].append(c["images"][0]),
         r"image number 2 \(a.png\) has the id 1 of an earlier one"),
        (lambda c: c["categories"].append(c["categories"][0]), r"category number 2 \(n\) has the id 1"),
        (spoilt("images", id=...), r"image number 1 \(a.png\) has no id"),
        (spoilt("images", id=None), r"image number 1 \(a.png\) has the id null"),
        (spoilt("images", file_name=...), "image number 1 has no file_name, expected a text"),
        (spoilt("images", file_name=3), "image number 1 has the file_name 3"),
        (spoilt("images", width=float("inf")), r"\(a.png\) has the width Infinity, expected a number"),
        (spoilt("images", height="9 px"), r"\(a.png\) has the height "),
        (spoilt("categories", name=...), "category number 1 has no name"),
        (spoilt("annotations", image_id=[1]), r"annotation 5 has the image_id \[1\]"),
        (spoilt("annotations", image_id=...), "annotation 5 has no image_id"),
        (spoilt("annotations", id=..., category_id=...),
         r"entry 1 of annotations \(on a.png\) has no category_id"),
        (spoilt("annotations", bbox=...), r"annotation 5 \(on a.png\) has no bbox, expected four"),
        (spoilt("annotations", bbox={"x": 1}), r"annotation 5 \(on a.png\) has the bbox "),
        (spoilt("annotations", bbox=[1, 2, 3, 10**400]), "annotation 5 .* expected four numbers"),
        (spoilt("annotations", iscrowd=2), r"annotation 5 \(on a.png\) has the iscrowd 2, expected 0 or 1"),
        (spoilt("annotations", iscrowd="yes"), 'has the iscrowd "yes", expected 0 or 1'),
        (spoilt("annotations", bbox=[1, 2, 3, 40]), r"outside the image \(9 x 9\)"),
    ],
)  # fmt: skip
def test_what_is_no_coco_is_refused_by_its_entry(tmp_path, spoil, said):
    path, content = tmp_path / "c.json", json.loads(json.dumps(CONTENT))
    path.write_text(json.dumps(content))
    assert read_coco(path)[0].patient == ""
    spoil(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"LABELS .*c.json: .*{said}") as error:
        read_coco(path)
    for word in ("Error", "NoneType", "object is not", "list index", "dict"):
        assert word not in str(error.value)


@pytest.mark.parametrize("crowd", [1, True, 1.0])
def test_a_crowd_is_a_region_to_be_ignored(tmp_path, crowd):
    content = json.loads(json.dumps(CONTENT))
    content["annotations"][0]["iscrowd"] = crowd
    content["annotations"].append({**CONTENT["annotations"][0], "iscrowd": 0})
    (tmp_path / "c.json").write_text(json.dumps(content))
    box = {"box": [1, 1, 3, 3], "class": "n"}
    assert read_coco(tmp_path / "c.json")[0].boxes == [{**box, "ignored": True}, box]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is no JSON from line 1, column 2 on"),
        (b"[1]", "holds a list, as COCO has for results"),
        (b"7", "is no object"),
        (b"\xff\xfe{}", "is not UTF-8"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"images": %s}' % (b"1" * 5000), "a number that is too long"),
    ],
)
def test_what_is_no_json_is_said_without_the_words_of_python(tmp_path, content, said):
    (tmp_path / "c.json").write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_coco(tmp_path / "c.json")
    with pytest.raises(UserError, match="cannot be read"):
        read_coco(tmp_path)


def test_ids_and_sizes_may_be_written_as_fractions_or_texts(tmp_path):
    content = json.loads(json.dumps(CONTENT))
    content["images"][0] |= {"id": 1.0, "width": 9.0, "height": "9"}
    content["annotations"][0]["bbox"] = ["1", 1, 2, 2.0]
    (tmp_path / "c.json").write_text(json.dumps(content))
    (image,) = read_coco(tmp_path / "c.json")
    assert (image.width, image.height, image.boxes[0]["box"]) == (9, 9, [1, 1, 3, 3])
    assert image.sources == ["annotation 5 (on a.png)"]
