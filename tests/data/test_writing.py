import nibabel as nib
import numpy as np
import pytest

from medssl.data.index import read
from medssl.data.volume import Volume, spacing_affine
from medssl.data.writing import affine_code, write_volume
from medssl.errors import UserError
from tests.stages.conftest import oblique


def test_a_volume_keeps_values_place_and_space(tmp_path):
    array = np.random.default_rng(0).integers(-900, 2000, (1, 5, 6, 7)).astype(np.int16)
    path = write_volume(Volume(array, oblique((1, 2, 3))), tmp_path / "a.b", code=4)
    assert path.name == "a.b.nii.gz" and affine_code([path], "nifti") == 4
    found = read([path])
    assert np.array_equal(found.array, array) and found.remarks == ()
    assert np.allclose(found.affine, oblique((1, 2, 3)), atol=1e-5)
    assert affine_code([path], "dicom") == 1


def test_sheared_axes_have_no_qform(tmp_path):
    affine = np.eye(4)
    affine[0, 2] = 0.4
    path = write_volume(Volume(np.zeros((1, 3, 3, 3), np.uint8), affine), tmp_path / "a")
    assert nib.load(path).get_qform(coded=True)[1] == 0
    assert np.allclose(nib.load(path).affine, affine)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32])
def test_a_film_of_whole_numbers_is_exact(tmp_path, kind):
    array = np.arange(200, dtype=kind).reshape(1, 10, 20)
    path = write_volume(Volume(array, spacing_affine((1, 1))), tmp_path / "f")
    assert path.name == "f.png" and np.array_equal(read([path]).array, array)


@pytest.mark.parametrize("value", [-1, 70000, 0.5])
def test_other_films_are_refused(tmp_path, value):
    film = Volume(np.full((1, 2, 2), value, np.float32), spacing_affine((1, 1)))
    with pytest.raises(UserError, match="UNSUPPORTED"):
        write_volume(film, tmp_path / "f")
