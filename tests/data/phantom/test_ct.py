import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_erosion, label

from medssl.data.phantom import ct

HU = {  # of an organ's core, without the partial volume of its surface
    "liver": (45, 125), "spleen": (80, 130), "kidneys": (115, 185), "lungs": (-900, -700),
    "heart": (80, 160),
}  # fmt: skip


@pytest.fixture(scope="module", params=[0, 5])
def scan(request):
    return ct.torso(0, request.param, 0, lesion=False)


def centre(mask, affine, name):
    return (affine @ [*np.argwhere(mask == ct.CLASSES[name]).mean(0), 1])[:3]


def test_is_a_function_of_its_arguments(scan):
    again = ct.torso(0, 5, 0, lesion=False)
    other = ct.torso(0, 5, 1, lesion=False)
    np.testing.assert_array_equal(again[0], ct.torso(0, 5, 0, lesion=False)[0])
    assert (again[0] != other[0]).mean() > 0.5
    assert (again[0] != ct.torso(1, 5, 0, lesion=False)[0]).mean() > 0.5


def test_types_and_axes(scan):
    hu, mask, affine = scan
    assert hu.dtype == np.int16 and mask.dtype == np.uint8
    assert hu.shape == mask.shape == ct.GRIDS["small"][0]
    assert nib.aff2axcodes(affine) == ("R", "A", "S")
    assert hu.min() >= -1024 and 300 < hu.max() <= 2000


@pytest.mark.parametrize("name", ct.CLASSES)
def test_organs_have_their_hounsfield_units(scan, name):
    hu, mask, _ = scan
    core = binary_erosion(mask == ct.CLASSES[name])
    assert core.any()
    low, high = HU[name]
    assert low < hu[core].mean() < high


def test_masks_lie_inside_the_body(scan):
    hu, mask, _ = scan
    for z in range(hu.shape[2]):  # air that can be reached from the image's edge is outside
        parts, _ = label(hu[:, :, z] < -500)
        rim = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
        outside = np.isin(parts, rim[rim > 0])
        assert not mask[:, :, z][outside].any()


def test_organs_have_their_places(scan):
    _, mask, affine = scan
    at = {name: centre(mask, affine, name) for name in ct.CLASSES}
    assert at["liver"][0] > at["heart"][0] > at["spleen"][0]  # x runs to the right
    assert at["kidneys"][2] < at["liver"][2] < at["heart"][2] < at["lungs"][2] + 20
    assert at["kidneys"][1] < at["heart"][1]  # y runs to the front


def test_lesion_darkens_the_liver_and_nothing_else():
    hu, mask, _ = ct.torso(0, 0, 0, lesion=False)
    ill, ill_mask, _ = ct.torso(0, 0, 0, lesion=True)
    np.testing.assert_array_equal(mask, ill_mask)
    darker = hu.astype(int) - ill > 20
    assert darker.sum() > 30
    assert (mask[darker] == ct.CLASSES["liver"]).mean() > 0.9


def test_scans_of_a_patient_resemble_each_other_more_than_those_of_two():
    first, again, other = (
        ct.torso(0, p, s, lesion=False)[1] > 0 for p, s in [(2, 0), (2, 1), (3, 0)]
    )

    def overlap(a, b):
        return 2 * (a & b).sum() / (a.sum() + b.sum())

    assert overlap(first, again) > overlap(first, other) > 0.5


def test_grids_cover_the_same_body():
    extents = [np.multiply(shape, spacing) for shape, spacing in ct.GRIDS.values()]
    np.testing.assert_allclose(extents[0], extents[1], rtol=0.1)


def test_anatomy_does_not_depend_on_the_grid(monkeypatch):
    small = ct.torso(0, 0, 0)
    monkeypatch.setitem(ct.GRIDS, "small", ((96, 76, 80), (4.0, 4.0, 4.8)))
    large = ct.torso(0, 0, 0)
    assert large[0].shape == (96, 76, 80)
    for name in ct.CLASSES:
        away = centre(*small[1:], name) - centre(*large[1:], name)
        assert np.abs(away).max() < 6
