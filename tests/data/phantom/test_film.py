import numpy as np
import pytest

from medssl.data.phantom import film


def test_is_a_function_of_its_arguments():
    one, two = film.chest(0, 1, 0), film.chest(0, 1, 0)
    np.testing.assert_array_equal(one[0], two[0])
    assert one[1] == two[1]
    assert (one[0] != film.chest(0, 1, 1)[0]).mean() > 0.5


@pytest.mark.parametrize("size", film.SIZES)
def test_uses_the_twelve_bits(size):
    picture, _ = film.chest(0, 0, 0, size)
    assert picture.shape == film.SIZES[size] and picture.dtype == np.uint16
    assert picture.max() <= film.WHITE and np.ptp(picture) > 0.7 * film.WHITE


def test_half_of_the_patients_have_an_opacity():
    boxes = [film.chest(0, p, 0)[1] for p in range(6)]
    assert sum(box is not None for box in boxes) == 3


@pytest.mark.parametrize("patient", range(4))
def test_opacity_brightens_its_box_and_little_else(patient):
    clear, none = film.chest(0, patient, 0, opacity=False)
    ill, box = film.chest(0, patient, 0, opacity=True)
    assert none is None
    x, y, w, h = (int(v) for v in box)
    assert min(x, y) >= 0 and x + w <= clear.shape[1] and y + h <= clear.shape[0]
    change = ill.astype(float) - clear
    inside = np.zeros(clear.shape, bool)
    inside[y : y + h, x : x + w] = True
    assert change[inside].mean() > 4 * abs(change[~inside].mean())
    assert change[inside].mean() > 60


def test_opacity_keeps_its_place_between_scans():
    first, second = (film.chest(0, 2, s, opacity=True)[1] for s in (0, 1))
    assert abs(first[0] - second[0]) < 30 and abs(first[1] - second[1]) < 30


def test_lungs_are_dark_and_the_spine_is_bright():
    picture, _ = film.chest(0, 0, 0, opacity=False)
    lungs = np.median(picture[90:140, 45:90]), np.median(picture[90:140, 170:210])
    spine = np.median(picture[190:230, 120:136])
    assert max(lungs) < 0.75 * spine
