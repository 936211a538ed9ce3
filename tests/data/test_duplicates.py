import itertools

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medssl.data.duplicates import as_one_patient, contradictions, groups, pixel_fingerprint
from medssl.data.index import scan
from medssl.data.manifest import Manifest
from medssl.data.patients import pseudonym
from medssl.data.splits import check, draw_splits
from medssl.data.volume import Volume, reorient
from medssl.errors import UserError

DRAW = np.random.default_rng(0)
ARRAY = DRAW.integers(-1000, 1000, (1, 6, 7, 8)).astype(np.int16)


def test_type_and_axis_order_do_not_matter_and_one_voxel_does():
    scan = Volume(ARRAY, np.diag([-1.0, -1, 2, 1]))
    same = pixel_fingerprint(scan)
    assert pixel_fingerprint(Volume(ARRAY.astype(np.float32), scan.affine)) == same
    for codes in ("RAS", "PSL", "IRA"):
        assert pixel_fingerprint(reorient(scan, codes)) == same
        assert nib.aff2axcodes(reorient(scan, codes).affine) == tuple(codes)
    changed = ARRAY.copy()
    changed[0, 3, 3, 3] += 1
    assert pixel_fingerprint(Volume(changed, scan.affine)) != same
    assert pixel_fingerprint(Volume(ARRAY.reshape(1, 7, 6, 8), scan.affine)) != same


def test_a_header_that_says_otherwise_does_not_matter():
    scan = pixel_fingerprint(Volume(ARRAY, np.eye(4)))
    for axes in itertools.permutations((1, 2, 3)):
        for flips in itertools.product((1, -1), repeat=3):
            turned = ARRAY.transpose(0, *axes)[:, :: flips[0], :: flips[1], :: flips[2]]
            assert pixel_fingerprint(Volume(turned, np.diag([0.5, 1, 3, 1]))) == scan
    shuffled = ARRAY.copy()
    shuffled[0, 2, 3, [1, 5]] = shuffled[0, 2, 3, [5, 1]]
    assert pixel_fingerprint(Volume(shuffled, np.eye(4))) != scan
    film = DRAW.integers(0, 255, (1, 40, 30))
    same = pixel_fingerprint(Volume(film, np.eye(4)))
    assert pixel_fingerprint(Volume(np.repeat(film, 3, 0), np.eye(4))) == same
    assert pixel_fingerprint(Volume(film.transpose(0, 2, 1)[:, ::-1], np.eye(4))) == same


def test_minus_zero_is_zero():
    film = np.zeros((1, 4, 4), np.float32)
    assert pixel_fingerprint(Volume(film, np.eye(4))) == pixel_fingerprint(Volume(-film, np.eye(4)))


def test_groups_and_what_their_members_say_differently():
    assert groups(pd.Series({"a": "1", "b": "2", "c": "1", "d": "3", "e": "2"})) == [
        ["a", "c"], ["b", "e"]
    ]  # fmt: skip
    used = pd.DataFrame(
        {"patient": ["p", "p", "q"], "split": ["train", "test", "train"], "label_y": [1, 1, None],
         "label_mask": ["m", "", ""], "path": list("abc")}, index=list("abc"),
    )  # fmt: skip
    assert contradictions(["a", "b"], used) == ["split"]
    assert contradictions(["a", "c"], used) == ["patient", "label y"]


def films(folder, *names):
    folder.mkdir()
    for name in names:
        Image.new("L", (8, 8)).save(folder / f"{name}.png")
    return Manifest.from_rows(folder, scan(folder, ids="names"))


def copies(path, *pairs):
    path.write_text(
        "\n".join(["scan,copy,kind,alike,differ", *(f"{a},{b},near copy,1," for a, b in pairs)])
    )
    return path


def test_scans_that_are_copies_of_each_other_are_of_one_patient(tmp_path):
    manifest = films(tmp_path / "scans", *"abcdef")
    manifest.table.loc[manifest.table["id"] == "c", "patient"] = pseudonym("known", "p")
    alone = manifest.table.set_index("id")["patient"]
    as_one_patient(
        manifest, copies(tmp_path / "copies.csv", ("a", "b"), ("b", "c"), ("e", "f"), ("e", "x"))
    )
    patient = manifest.table.set_index("id")["patient"]
    assert (
        patient["a"] == patient["b"] == patient["c"] == pseudonym("known", "p")
    )  # by links, who is known
    assert patient["e"] == patient["f"] and patient["d"] == alone["d"]
    assert patient.nunique() == 3
    said = "3 pairs of copies make 3 patients of 6; 1 pairs are of scans that are not used here"
    assert said in manifest.notes[-1]
    draw_splits(manifest, (0.4, 0.3, 0.3), 0)
    check(manifest.table)
    assert manifest.table["split"].nunique() == 3


def test_copies_of_other_scans_and_other_tables_are_refused(tmp_path):
    manifest = films(tmp_path / "scans", "a", "b")
    with pytest.raises(UserError, match="names none of these 2 scans"):
        as_one_patient(manifest, copies(tmp_path / "copies.csv", ("x", "y")))
    with pytest.raises(UserError, match="no columns scan and copy"):
        (tmp_path / "copies.csv").write_text("id,split\na,train\n")
        as_one_patient(manifest, tmp_path)
    before = manifest.table["patient"].copy()
    as_one_patient(manifest, copies(tmp_path / "copies.csv"))  # there are none
    assert manifest.table["patient"].equals(before)
