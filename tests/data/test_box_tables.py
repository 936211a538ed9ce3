import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medssl.data.box_tables import taken
from medssl.data.index import scan
from medssl.data.labels import attach
from medssl.data.manifest import Manifest
from medssl.errors import UserError


def indexed(root, lines, film=False):
    (root / "scans").mkdir(exist_ok=True)
    for name in ("case_1", "case_2", "case_3"):
        if film:
            Image.fromarray(np.zeros((20, 30), np.uint8)).save(root / f"scans/{name}.png")
        else:
            nib.save(nib.Nifti1Image(np.zeros((6, 7, 8), np.uint8), np.eye(4)),
                     root / f"scans/{name}.nii")  # fmt: skip
    (root / "boxes.csv").write_text("\n".join(lines) + "\n")
    manifest = Manifest.from_rows(root / "scans", scan(root / "scans"))
    return attach(manifest, root / "boxes.csv").table.set_index("id")["boxes"]


VOXELS = "id,x0,y0,z0,x1,y1,z1,class"


def test_a_line_a_box_and_a_line_without_numbers_for_none(tmp_path):
    lines = [VOXELS, "case_1,0,1,2,3,4,5,nodule", "case_1,1,1,1,6,7,8,mass", "case_2,,,,,,,"]
    found = indexed(tmp_path, lines)
    assert json.loads(found["case_1"]) == [
        {"box": [0, 1, 2, 3, 4, 5], "class": "nodule"},
        {"box": [1, 1, 1, 6, 7, 8], "class": "mass"},
    ]
    assert json.loads(found["case_2"]) == [] and found["case_3"] == ""


def test_a_table_may_also_bring_labels(tmp_path):
    lines = ["id,x0,y0,x1,y1,sex,split", "case_1,0,0,5,5,F,train", "case_1,9,9,30,20,F,train"]
    indexed(tmp_path, lines, film=True)
    manifest = Manifest.from_rows(tmp_path / "scans", scan(tmp_path / "scans"))
    table = attach(manifest, tmp_path / "boxes.csv").table.set_index("id")
    assert table.at["case_1", "label_sex"] == "F" and table.at["case_1", "split"] == "train"
    assert [b["class"] for b in json.loads(table.at["case_1", "boxes"])] == ["finding"] * 2
    assert "label_x0" not in table


@pytest.mark.parametrize(
    ("lines", "space", "box"),
    [
        (["id,r0,a0,s0,r1,a1,s1", "case_1,-1,-2,-3,1,2,3"], "RAS", [-1, -2, -3, 1, 2, 3]),
        (["id,l0,p0,s0,l1,p1,s1", "case_1,-1,-2,-3,1,2,3"], "LPS", [-1, -2, -3, 1, 2, 3]),
        (["id,coordX,coordY,coordZ,diameter_mm", "case_1,10,20,30,4"], "LPS",
         [8, 18, 28, 12, 22, 32]),
    ],
)  # fmt: skip
def test_world_boxes_say_their_axes(tmp_path, lines, space, box):
    found = indexed(tmp_path, lines)
    assert json.loads(found["case_1"]) == [
        {"box": box, "class": "finding", "space": space, "line": 2}
    ]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([VOXELS, "case_1,0,1,2,3,,5,a"], "line 2 holds no box"),
        ([VOXELS, "case_1,3,1,2,0,4,5,a"], "line 2 holds no box"),
        ([VOXELS, "case_1,0,1,2,3,nan,5,a"], "line 2 holds no box"),
        ([VOXELS, "case_1,0,1,2,3,4,5,"], "line 2 holds no box"),
        ([VOXELS, "case_2,0,1,2,3,4,5,a", "", "case_1,0,1,2,3,4,12,a"],
         r"line 4: box .* of case_1 reaches outside the scan \(x to 6, y to 7, z to 8\)"),
        (["id,x0,y0,x1,y1", "case_1,0,1,2,3"], "line 2: a box of case_1 has 2 axes, the scan 3"),
        (["id,x0,y0,z0,x1,y1,z1,r0,a0,s0,r1,a1,s1", "case_1,0,0,0,1,1,1,0,0,0,1,1,1"], "twice"),
        (["id,x0,y0,z0,x1,y1,z1,grade", "case_1,0,0,0,1,1,1,1", "case_1,0,0,0,2,2,2,2"],
         "both speak of"),
    ],
)  # fmt: skip
def test_what_is_no_box_is_refused(tmp_path, lines, said):
    with pytest.raises(UserError, match=said):
        indexed(tmp_path, lines)


def test_what_predict_writes_is_read_again_without_boxes_that_are_not_called():
    told = {"id": ["a", "a", "b"], "class": "mass", "score": [0.9, 0.2, ""], "x0": ["1", "2", ""],
            "y0": ["1", "2", ""], "x1": ["5", "6", ""], "y1": ["5", "6", ""], "longest_side_mm": "",
            "called": ["True", "False", ""], "sd_score": ""}  # fmt: skip
    left, boxes = taken(pd.DataFrame(told), Path("boxes.csv"))
    assert list(left) == ["id"] and [b and b["box"] for b in boxes] == [[1, 1, 5, 5], None, None]
    mine = pd.DataFrame({"id": ["a"], "score": ["3"], "xmin": ["1"], "ymin": ["1"], "xmax": ["5"],
                         "ymax": ["6"]})  # fmt: skip
    left, boxes = taken(mine, Path("boxes.csv"))
    assert list(left) == ["id", "score"] and boxes[0]["box"] == [1, 1, 5, 6]
