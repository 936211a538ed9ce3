import numpy as np
import pytest

from medssl.data.index.dicom_header import read_header
from medssl.data.index.dicom_series import duplicates, grid
from medssl.data.index.dicom_split import split
from medssl.errors import UserError


@pytest.fixture
def headers(slice_of, save):
    return lambda *slices: [read_header(path) for path in save(slices)]


def test_grid_orders_along_the_normal_and_maps_to_ras(slice_of, headers):
    ordered, affine = grid(headers(*(slice_of(k) for k in (2, 0, 1))))
    assert [header.position[2] for header in ordered] == [30, 32, 34]
    assert np.allclose(affine @ [0, 0, 0, 1], [10, 20, 30, 1])
    assert np.allclose(affine @ [1, 1, 1, 1], [10 - 0.7, 20 - 0.5, 32, 1])


@pytest.mark.parametrize(("jitter", "even"), [(0.015, True), (0.05, False)])
def test_uneven_spacing_is_tolerated_up_to_one_percent(slice_of, headers, jitter, even):
    slices = [slice_of(k) for k in range(5)]
    slices[2].ImagePositionPatient = [-10, -20, 34 + jitter]
    if even:
        assert len(grid(headers(*slices))[0]) == 5
    else:
        with pytest.raises(UserError, match="GAP"):
            grid(headers(*slices))


def test_a_slice_beside_the_others_is_refused(slice_of, headers):
    slices = [slice_of(k) for k in range(5)]
    slices[2].ImagePositionPatient = [-8, -20, 34]
    with pytest.raises(UserError, match="slice 3 .i002.dcm. lies .* beside"):
        grid(headers(*slices))


def test_split_names_what_differs(slice_of, headers):
    small = np.zeros((2, 5), np.int16)
    slices = [slice_of(k) for k in range(3)] + [slice_of(k, small) for k in range(3)]
    parts = dict(split(headers(*slices)))
    assert sorted(parts) == ["5x2, orientation 1", "5x4, orientation 1"]
    assert [len(part) for part in parts.values()] == [3, 3]


def test_rounded_orientations_stay_together(slice_of, headers):
    near = {"ImageOrientationPatient": [0.9999999, 0.0002, 0, -0.0002, 0.9999999, 0]}
    assert len(split(headers(slice_of(0), slice_of(1, **near), slice_of(2)))) == 1


def test_an_acquisition_number_that_does_not_resolve_is_no_reason_to_split(slice_of, headers):
    slices = [slice_of(k, AcquisitionNumber=k) for k in range(4)]
    assert len(split(headers(*slices))) == 1


def test_duplicates_share_their_instance_uid(slice_of, headers):
    found = headers(
        slice_of(0, SOPInstanceUID="1.1"), slice_of(1, SOPInstanceUID="1.1"), slice_of(2)
    )
    assert duplicates(found) == {found[0].path, found[1].path}
