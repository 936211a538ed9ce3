import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from medssl.data.phantom import mr


@pytest.fixture(scope="module")
def scan():
    return mr.head(0, 0, 0, atrophy=False)


def core(scan, name):
    signal, mask, _ = scan
    inside = mask == mr.CLASSES[name]
    return np.median(signal[binary_erosion(inside) if name != "putamen" else inside])


def test_is_a_function_of_its_arguments(scan):
    for one, two in zip(scan, mr.head(0, 0, 0, atrophy=False), strict=True):
        np.testing.assert_array_equal(one, two)
    assert (scan[0] != mr.head(0, 0, 1, atrophy=False)[0]).mean() > 0.5


def test_types_and_axes(scan):
    signal, mask, affine = scan
    assert signal.dtype == np.int16 and mask.dtype == np.uint8
    assert signal.shape == mask.shape == mr.GRIDS["small"][0]
    assert signal.min() >= 0
    assert nib.aff2axcodes(affine) == ("R", "A", "S")
    assert set(np.unique(mask)) == {0, *mr.CLASSES.values()}


def test_contrast_is_t1_weighted(scan):
    assert core(scan, "ventricles") < 0.6 * core(scan, "thalamus")
    assert core(scan, "putamen") < core(scan, "brainstem")


def test_structures_have_their_places(scan):
    _, mask, _ = scan
    at = {name: np.argwhere(mask == c).mean(0) for name, c in mr.CLASSES.items()}
    middle = at["ventricles"][0]
    assert all(abs(place[0] - middle) < 2.5 for place in at.values())  # both sides alike
    assert at["cerebellum"][1] < at["brainstem"][1] < at["putamen"][1]
    assert at["brainstem"][2] < at["thalamus"][2] < at["ventricles"][2] + 4


def test_masks_lie_inside_the_head(scan):
    signal, mask, _ = scan
    deep = mask[[0, -1]].any() or mask[:, [0, -1]].any() or mask[:, :, -1].any()
    assert not deep
    assert np.median(signal[mask > 0]) > 4 * np.median(signal[:, -3:])


def test_atrophy_widens_the_ventricles_of_every_patient():
    sizes = {
        ill: [(mr.head(0, p, 0, atrophy=ill)[1] == 1).sum() for p in range(4)] for ill in (0, 1)
    }
    assert min(sizes[1]) > 1.3 * max(sizes[0])


def test_intensity_scale_is_arbitrary():
    levels = [np.percentile(mr.head(0, 1, s)[0], 95) for s in range(5)]
    assert max(levels) > 1.5 * min(levels)
