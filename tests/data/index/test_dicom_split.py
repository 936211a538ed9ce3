import numpy as np
import pytest

from medssl.data.index.dicom_header import read_header
from medssl.data.index.dicom_split import odd_ones, split


@pytest.fixture
def headers(slice_of, save):
    return lambda *slices: [read_header(path) for path in save(slices)]


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


def test_the_fewest_parts_by_the_fewest_tags(slice_of, headers):
    found = split(headers(*(
        slice_of(k, EchoTime=10 * e, FlipAngle=k, AcquisitionNumber=2 * k + e)
        for k in range(4) for e in (1, 2)
    )))  # fmt: skip
    assert [len(part) for _, part in found] == [4, 4]
    assert all(name.endswith(("EchoTime 10.0", "EchoTime 20.0")) for name, _ in found)


def test_images_that_nothing_tells_apart_stay_together(slice_of, headers):
    found = split(headers(*(slice_of(k) for k in (0, 1, 2) for _ in (1, 2))))
    assert [len(part) for _, part in found] == [6]


def test_trigger_times_count_by_their_order_at_each_place(slice_of, headers):
    found = split(headers(*(
        slice_of(k, TriggerTime=100 * p + 7 * k) for k in range(4) for p in (2, 0, 1)
    )))  # fmt: skip
    assert [name[-len("phase 1 of 3") :] for name, _ in found] == [
        f"phase {p} of 3" for p in (1, 2, 3)
    ]
    assert [len(part) for _, part in found] == [4, 4, 4]


def test_an_image_far_away_is_no_odd_one(slice_of, headers):
    small = np.zeros((2, 5), np.int16)
    place = {"ImagePositionPatient": [-10, -20, 300]}
    near = split(headers(*(slice_of(k) for k in range(4)), slice_of(4, small)))
    far = split(headers(*(slice_of(k) for k in range(4)), slice_of(4, small, **place)))
    ((_, odd, error),) = odd_ones(near, [])
    assert (
        len(odd) == 1
        and "i004.dcm lies among the slices but has Rows 2, the others 4" in error.cause
    )
    assert odd_ones(far, []) == []
