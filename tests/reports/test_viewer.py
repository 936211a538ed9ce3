"""The viewer holds what it shows, where scripts run and where they do not."""

import json
import re

import nibabel as nib
import numpy as np
import pytest

from medssl.data.index import scan as scan_folder
from medssl.data.index.row import BURNED_IN
from medssl.data.manifest import Manifest
from medssl.data.volume import Volume
from medssl.errors import UserError
from medssl.reports.viewer import view
from tests.data.test_store import make
from tests.reports.test_slices import opened

EVIL = "</script><b>"


def held(shown) -> dict:
    """What the script is given."""
    return json.loads(re.search(r'type="application/json">(.*?)</script>', shown.html).group(1))


def stills(shown) -> list[np.ndarray]:
    return [np.asarray(opened(s)) for s in re.findall(r'<img src="([^"]+)"', shown.html)]


def volume(shape=(30, 24, 18), modality="", low=-1000, high=1000) -> Volume:
    array = np.random.default_rng(0).uniform(low, high, (1, *shape)).astype(np.float32)
    return Volume(array, np.diag([2.0, 2, 3, 1]), modality)


def test_a_volume_is_three_planes_with_a_still_each():
    shown = view(volume())
    given = held(shown)
    assert (
        [len(p["images"]) for p in given["planes"]]
        == [18, 24, 30]
        == [int(n) for n in re.findall(r"</output> of (\d+)", shown.html)]
    )
    assert [p["numbers"][p["first"]] for p in given["planes"]] == [10, 13, 16]
    assert len(stills(shown)) == 3 and "<input" not in shown.html  # sliders come with the script
    assert not any(p["masks"] for p in given["planes"])
    assert "//" not in re.sub('base64,[^"]*|http://www.w3.org/2000/svg|// .*', "", shown.html)
    # 60 x 48 x 54 mm at one scale
    sizes = re.findall(r'width="(\d+)" height="(\d+)" alt', shown.html)
    (w0, h0), (w1, h1), (w2, h2) = [(int(w), int(h)) for w, h in sizes]
    assert w0 == w1 and h1 == h2 and h0 == w2 and w0 / h1 == pytest.approx(60 / 54, rel=0.01)


def test_levels_are_those_of_the_values():
    """What the page decodes is what was given, within a grey level."""
    ct = volume(modality="CT", low=-900, high=1400)
    given = held(view(ct))
    assert given["unit"] == "HU" and given["window"] == [-160, 240] and "lung" in given["windows"]
    knots, codes = given["knots"], np.linspace(0, 255, len(given["knots"]))
    level = np.asarray(opened(given["planes"][0]["images"][4])).astype(float)
    values, true = np.interp(level, codes, knots), ct.array[0, ::-1, ::-1, 4].T
    soft = np.abs(true) < 90
    assert np.abs(values - true)[soft].max() < 2.1 and np.abs(values - true).max() < 12.5
    still = stills(view(ct))[0]
    shown = (
        np.interp(np.asarray(opened(given["planes"][0]["images"][9])), codes, knots) + 160
    ) / 400
    assert np.abs(still - 255 * shown.clip(0, 1)).max() < 1


def test_other_scans_get_a_window_of_their_own_values():
    given = held(view(volume(modality="MR", low=3, high=7)))
    assert given["windows"] == {} and given["unit"] == ""
    assert 3 <= given["window"][0] < 3.1 and 6.9 < given["window"][1] <= 7
    far = np.zeros((9, 9, 9), np.float32)
    far[4, 4, 4] = 1e6
    assert np.ptp(held(view(far))["knots"]) < 10  # one voxel does not take all grey levels
    assert held(view(far, window=(0, 500)))["window"] == [0, 500]
    assert np.isfinite(held(view(np.full((4, 4, 4), np.nan)))["knots"]).all()


def test_a_film_is_one_picture_without_a_slider():
    shown = view(np.random.default_rng(0).normal(size=(40, 30)), spacing=(0.5, 0.5))
    assert len(stills(shown)) == 1 and "slice" not in shown.html.partition("<script")[0]
    assert [len(p["images"]) for p in held(shown)["planes"]] == [1]


def test_it_opens_where_the_mask_is_and_lies_as_the_mask_does():
    mask = np.zeros((30, 24, 18), np.uint8)
    mask[20:26, 4:8, 12:15] = 3
    shown = view(volume(), mask, classes={3: "liver"})
    planes = held(shown)["planes"]
    numbers = [p["numbers"][p["first"]] - 1 for p in planes]
    assert 12 <= numbers[0] < 15 and 4 <= numbers[1] < 8 and 20 <= numbers[2] < 26
    assert "liver" in shown.html and all(len(p["masks"]) == len(p["images"]) for p in planes)
    axial = np.asarray(opened(planes[0]["masks"][planes[0]["first"]]).convert("RGBA"))[..., 3]
    rows, columns = np.nonzero(axial)
    scale = axial.shape[1] // 30
    assert (rows.min() // scale, rows.max() // scale) == (24 - 8, 24 - 5)  # behind: below
    assert (columns.min() // scale, columns.max() // scale) == (
        30 - 26,
        30 - 21,
    )  # right: on the left
    assert view(volume(), mask, classes={1: "other"}).html.count("other") == 1


def test_scans_of_any_axes_are_shown_alike():
    ras = volume()
    turned = Volume(np.ascontiguousarray(ras.array[:, ::-1, ::-1]), ras.affine @ np.array(
        [[-1, 0, 0, 29], [0, -1, 0, 23], [0, 0, 1, 0], [0, 0, 0, 1.0]]
    ))  # fmt: skip
    assert turned.orientation == "LPS" and view(ras).html == view(turned).html
    mask = ras.with_array((ras.array > 500).astype(np.uint8))
    of_turned = turned.with_array((turned.array > 500).astype(np.uint8))
    assert view(ras, mask).html == view(turned, mask).html == view(turned, of_turned.array).html


def test_size_is_bounded_and_what_is_left_out_is_said():
    big = volume((300, 280, 60))
    shown = view(big, megabytes=0.5)
    assert len(shown.html) < 0.5e6 * 1.3
    assert "one voxel in 2x2x1" in shown.html and "as JPEG" in shown.html
    planes = held(shown)["planes"]
    every = int(re.search(r"one slice in (\d+)", shown.html).group(1))
    for plane, n in zip(planes, (60, 280, 300), strict=True):
        assert len(plane["images"]) == len(plane["numbers"]) < n / every + 1
    assert np.diff(planes[0]["numbers"]).tolist() == [every] * (len(planes[0]["numbers"]) - 1)
    assert "Shown here" not in view(volume()).html


def test_text_is_escaped():
    mask = np.ones((30, 24, 18), int)
    shown = view(volume(), mask, title=EVIL, classes={1: EVIL})
    assert EVIL not in shown.html and shown.html.count("&lt;b&gt;") == 2


def test_items_of_a_store_come_with_their_mask(tmp_path):
    store = make(tmp_path / "s", [(12, 10, 8), (12, 10, 8)])
    shown = view(store, item="case0")
    assert "case0" in shown.html and all(p["masks"] for p in held(shown)["planes"])
    assert str(tmp_path) not in shown.html
    with pytest.raises(UserError, match="there is no scan of this id"):
        view(store, item="case9")
    with pytest.raises(UserError, match="name a scan"):
        view(store)
    store.items["burned_in"] = True
    with pytest.raises(UserError, match=f"PHI case0: {BURNED_IN}"):
        view(store, item="case0")


def test_scans_of_a_manifest_are_read_from_their_files(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    array = volume(low=-50, high=100).array[0]
    nib.save(nib.Nifti1Image(array, np.diag([-2.0, -2, 3, 1])), folder / "case_1.nii.gz")
    manifest = Manifest.from_rows(folder, scan_folder(folder, "CT"))
    shown = view(manifest, item="case_1")
    assert held(shown)["unit"] == "HU" and str(folder) not in shown.html
    manifest.table["remarks"] = BURNED_IN
    with pytest.raises(UserError, match="PHI"):
        view(manifest, item="case_1")


def test_what_does_not_fit_is_refused_in_words():
    with pytest.raises(UserError, match="GEOMETRY mask: has shape"):
        view(volume(), np.zeros((3, 3, 3)))
    shifted = Volume(np.zeros((1, 30, 24, 18)), np.diag([2.0, 2, 4, 1]))
    with pytest.raises(UserError, match="lies on another grid"):
        view(volume(), shifted)
    with pytest.raises(UserError, match="has 1 axes"):
        view(np.zeros(3))
    for spacing in ((1, 1), (1, 1, 0)):
        with pytest.raises(UserError, match="give 3 sizes above 0"):
            view(np.zeros((3, 3, 3)), spacing=spacing)
    with pytest.raises(UserError, match="channel"):
        view(volume(), channel=1)
