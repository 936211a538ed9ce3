from dataclasses import replace

import numpy as np
import pytest

from medssl.data.index.dicom_header import read_header
from medssl.data.index.dicom_series import duplicates, grid
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


def test_duplicates_share_their_instance_uid(slice_of, headers):
    found = headers(
        slice_of(0, SOPInstanceUID="1.1"), slice_of(1, SOPInstanceUID="1.1"), slice_of(2)
    )
    assert duplicates(found) == {found[0].path, found[1].path}


def test_frames_of_one_file_are_no_duplicates(headers, slice_of):
    (header,) = headers(slice_of(0))
    frames = [replace(header, frame=k) for k in (1, 2)]
    assert duplicates(frames) == set() and frames[1].name.endswith("i000.dcm frame 2")
