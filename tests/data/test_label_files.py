import json

import numpy as np
import pytest
import SimpleITK as sitk

from medssl.data.entries import key_of
from medssl.data.index import scan
from medssl.data.labels import attach
from medssl.data.manifest import Manifest
from medssl.data.recipe import Recipe
from medssl.errors import UserError


def image(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((5, 4, 3), np.uint8)
    array[0, 0, 0] = value
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


@pytest.mark.parametrize("ending", [".mhd", ".nhdr", ".hdr", ".nrrd"])
def test_a_mask_whose_voxels_change_makes_another_entry(tmp_path, ending):
    image(tmp_path / "images/a.nrrd", 7)
    keys = []
    for value in (1, 1, 2):
        image(tmp_path / f"masks/a{ending}", value)
        rows = scan(tmp_path / "images", "MR")
        manifest = attach(Manifest.from_rows(tmp_path / "images", rows), tmp_path / "masks")
        keys.append(key_of(manifest, "a", Recipe())[0])
    assert keys[0] == keys[1] != keys[2]


def boxes_of(folder, *images):
    """Attach a COCO file of images, each a file name and its boxes."""
    path = folder / "boxes.json"
    path.write_text(json.dumps({
        "images": [
            {"id": i, "file_name": name, "width": 8, "height": 8} for i, (name, _) in enumerate(images)
        ],
        "annotations": [
            {"id": 10 * i + k, "image_id": i, "category_id": 1, "bbox": box}
            for i, (_, found) in enumerate(images) for k, box in enumerate(found)
        ],
        "categories": [{"id": 1, "name": "mass"}],
    }))  # fmt: skip
    manifest = attach(Manifest.from_rows(folder, scan(folder, "CR")), path)
    return dict(zip(manifest.used["path"], manifest.used["boxes"], strict=True))


def test_boxes_go_to_no_film_of_another_folder_and_none_are_replaced(tmp_path):
    for name in ("p1/0001.png", "p1/0002.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        sitk.WriteImage(sitk.GetImageFromArray(np.eye(8, dtype=np.uint8)), str(tmp_path / name))
    one, two = [[1, 1, 2, 2]], [[3, 3, 2, 2]]
    found = boxes_of(tmp_path, ("p1/0001.png", one), ("p2/0001.png", two), ("0002.png", two))
    assert json.loads(found["p1/0001.png"])[0]["box"] == [1, 1, 3, 3]
    assert json.loads(found["p1/0002.png"])[0]["box"] == [3, 3, 5, 5]
    boxes_of(tmp_path, ("p1/0001.png", one), ("p1/0001.png", one))
    for second in (two, []):
        with pytest.raises(UserError, match=r"LABELS .*p1/0001.png more than once"):
            boxes_of(tmp_path, ("p1/0001.png", one), ("p1/0001.png", second))
