import re

import numpy as np
import pytest
import SimpleITK as sitk

from medssl.data.index.dicom import inspect, read
from medssl.errors import UserError


def one(rows, **expected):
    assert len(rows) == 1, [(r.code, r.reason) for r in rows]
    assert all(getattr(rows[0], name) == value for name, value in expected.items()), rows[0]
    return rows[0]


def test_shuffled_files_become_one_volume_with_the_geometry_that_simpleitk_finds(slice_of, save):
    paths = save([slice_of(k) for k in (3, 0, 5, 1, 4, 2)])
    row = one(inspect(paths), verdict="used", shape="5x4x6", spacing="0.7x0.5x2.0", modality="CT")
    assert row.orientation == "LPS"
    volume = read(row.files)
    image = sitk.ReadImage([str(path) for path in row.files])
    assert np.array_equal(volume.array[0], sitk.GetArrayFromImage(image).transpose(2, 1, 0))
    assert volume.array.dtype == np.int16
    rng = np.random.default_rng(0)
    for index in rng.integers(0, (5, 4, 6), (10, 3)):
        lps = image.TransformIndexToPhysicalPoint([int(i) for i in index])
        ras = volume.affine @ [*index, 1]
        assert np.allclose(ras[:3], np.multiply(lps, [-1, -1, 1]), atol=1e-6)


def test_oblique_axes_agree_with_simpleitk(slice_of, save):
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    normal = np.cross(turn[0], turn[1])
    axes = {"ImageOrientationPatient": [round(float(v), 8) for v in turn[:2].ravel()]}
    paths = save(
        slice_of(k, ImagePositionPatient=[round(float(v), 8) for v in normal * 2 * k], **axes)
        for k in range(4)
    )
    volume = read(one(inspect(paths), verdict="used").files)
    image = sitk.ReadImage([str(path) for path in paths])
    ras = volume.affine @ [3, 2, 1, 1]
    lps = image.TransformIndexToPhysicalPoint([3, 2, 1])
    assert np.allclose(ras[:3], np.multiply(lps, [-1, -1, 1]), atol=1e-4)


@pytest.mark.parametrize("missing", range(1, 7))
def test_a_missing_slice_is_refused_and_named(slice_of, save, missing):
    rows = inspect(save(slice_of(k) for k in range(8) if k != missing))
    row = one(rows, verdict="refused", code="GAP")
    assert f"between slices {missing} and {missing + 1}" in row.reason
    assert "1 missing" in row.reason and len(row.files) == 7


def test_two_images_on_one_position(slice_of, save):
    odd = slice_of(2, np.ones((4, 5), np.int16))
    row = one(inspect(save([*(slice_of(k) for k in range(4)), odd])), code="DUPLICATE")
    assert "i002.dcm" in row.reason and "i004.dcm" in row.reason


def test_an_exact_copy_is_listed_and_the_series_used(slice_of, save):
    slices = [slice_of(k) for k in range(4)]
    rows = inspect(save([*slices, slices[1]]))
    assert sorted((row.verdict, row.code) for row in rows) == [("refused", "COPY"), ("used", "")]


def test_gantry_tilt_is_measured(slice_of, save):
    shift = np.tan(np.deg2rad(12.5)) * 2
    paths = save(
        slice_of(k, ImagePositionPatient=[0, round(k * shift, 6), 2 * k]) for k in range(5)
    )
    assert "12.5 degrees" in one(inspect(paths), code="TILT").reason


def test_two_slices_are_too_few(slice_of, save):
    one(inspect(save(slice_of(k) for k in range(2))), code="FEW_SLICES")


def test_two_series_two_patients_and_two_echoes_are_kept_apart(slice_of, save):
    slices = [slice_of(k, EchoNumbers=e) for e in (1, 2) for k in range(3)]
    slices += [slice_of(k, PatientID="other") for k in range(3)]
    slices += [slice_of(k, SeriesInstanceUID="1.9") for k in range(3)]
    rows = inspect(save(slices))
    assert [row.verdict for row in rows] == ["used"] * 4
    assert len({row.id for row in rows}) == 4 and len({row.patient for row in rows}) == 2


@pytest.mark.parametrize(
    "tag", [{"TemporalPositionIdentifier": 2}, {"AcquisitionNumber": 2}, {"EchoTime": 9.5}]
)
def test_phases_at_the_same_positions_are_split(slice_of, save, tag):
    rows = inspect(save([slice_of(k, **t) for t in ({}, tag) for k in range(3)]))
    assert [(row.verdict, len(row.files)) for row in rows] == [("used", 3)] * 2


def test_a_cut_slice_refuses_its_whole_series(slice_of, save):
    paths = save(slice_of(k) for k in range(6))
    paths[5].write_bytes(paths[5].read_bytes()[:-10])
    row = one(inspect(paths), verdict="refused", code="CUT")
    assert "found 30 bytes of pixels, expected 40" in row.reason and "i005.dcm" in row.reason
    with pytest.raises(UserError, match="CUT"):
        read(paths)


def test_a_slice_without_place_refuses_its_series(slice_of, save):
    slices = [slice_of(k) for k in range(4)]
    del slices[3].ImagePositionPatient
    assert "ImagePositionPatient missing" in one(inspect(save(slices)), code="GEOMETRY").reason


def test_one_slice_of_another_pixel_size_is_named(slice_of, save):
    slices = [slice_of(k, PixelSpacing=[0.5, 0.9] if k == 2 else [0.5, 0.7]) for k in range(5)]
    assert "i002.dcm" in one(inspect(save(slices)), code="GEOMETRY").reason


def test_a_slice_of_another_orientation_is_named(slice_of, save):
    turned = {"ImageOrientationPatient": [0, 1, 0, 0, 0, 1]}
    row = one(inspect(save(slice_of(k, **(turned if k == 2 else {})) for k in range(6))))
    assert row.code == "GEOMETRY" and len(row.files) == 6
    assert "i002.dcm" in row.reason and "ImageOrientationPatient" in row.reason


def test_slope_and_intercept_count_slice_by_slice(slice_of, save):
    pixels = np.full((4, 5), 10, np.int16)
    paths = save(slice_of(k, pixels, RescaleSlope=0.5 * k + 1) for k in range(3))
    volume = read(paths)
    assert volume.array.dtype == np.float32
    assert volume.array[0, 0, 0].tolist() == [-990, -985, -980]


def test_films_with_unknown_and_known_spacing(film, save):
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    rows = inspect(save([film(pixels), film(pixels, ImagerPixelSpacing=[0.2, 0.1])]))
    assert [row.verdict for row in rows] == ["used", "used"]
    assert len({row.id for row in rows}) == 2
    assert "pixel spacing unknown" in rows[0].remarks
    volume = read(rows[1].files)
    assert volume.array.shape == (1, 3, 4) and volume.spacing == (0.2, 0.1)


def test_an_object_that_is_no_image_is_named(save, slice_of):
    struct = slice_of(0, SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3", PixelData=None, Rows=None)
    row = one(inspect(save([struct])), code="NOT_IMAGE")
    assert "RT Structure Set Storage" in row.reason


def test_no_identity_is_written(slice_of, save):
    secret = {"PatientID": "CANARY-7", "StudyInstanceUID": "9.8.7", "SeriesInstanceUID": "9.8.7.6"}
    row = one(inspect(save(slice_of(k, **secret) for k in range(3))), verdict="used")
    text = repr(row.record(row.files[0].parent))
    assert "CANARY" not in text and "9.8.7" not in text


def test_a_hostile_uid_names_no_file_and_a_program_in_front_is_told(save, slice_of):
    slices = [slice_of(k, SOPInstanceUID=f"/tmp/pwn{k}", SeriesInstanceUID="../../x" * 40)
              for k in range(3)]  # fmt: skip
    slices[1].preamble = b"MZ".ljust(128, b"\0")
    (row,) = inspect(save(slices))
    assert re.fullmatch("s-[0-9a-f]{10}", row.id)
    assert any("Windows program" in remark for remark in row.remarks)


def test_a_tag_s_own_words_are_not_repeated(save, slice_of):
    series = [slice_of(k, Modality="MUELLER") for k in range(3)]
    assert all(r.modality == "CT" and "MUELLER" not in str(r) for r in inspect(save(series, "a")))
    twice = [
        slice_of(k % 3, ImageType=["ORIGINAL", "MUELLER" if k > 2 else "PRIMARY"]) for k in range(6)
    ]
    rows = inspect(save(twice, "b"))
    assert len(rows) == 2 and not any("MUELLER" in str(row) for row in rows)
    assert any("PRIMARY" in str(row) for row in rows)


@pytest.mark.parametrize("name", ["RescaleSlope", "RescaleIntercept"])
def test_one_slice_that_is_not_rescaled_spoils_its_series(slice_of, save, name):
    scale = {"RescaleSlope": 2, "RescaleIntercept": -1024}
    (row,) = inspect(
        save(slice_of(k, **scale | {name: None} if k == 2 else scale) for k in range(5))
    )
    assert row.code == "SCALE" and f"i002.dcm has no {name} (1 of 5 slices)" in row.reason
    neutral = {"RescaleSlope": 1, "RescaleIntercept": 0}
    paths = save(
        (slice_of(k, **neutral | {name: None} if k == 2 else neutral) for k in range(5)), "b"
    )
    assert inspect(paths)[0].used


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        ({"RescaleSlope": -1}, "RescaleSlope is -1, unusual for CT"),
        ({"RescaleSlope": 1000}, "RescaleSlope is 1, unusual|differs between slices .1 to 1000"),
        ({"FrameOfReferenceUID": "1.2.9"}, "its slices name 2 frames of reference"),
        ({"SOPInstanceUID": "1.2.7"}, "another image of other content has its SOPInstanceUID"),
    ],
)
def test_slices_that_contradict_one_another_are_remarked(slice_of, save, tags, word):
    tags = [tags if k == 1 or "SOPInstanceUID" in tags else {} for k in range(4)]
    (row,) = inspect(save(slice_of(k, **t) for k, t in enumerate(tags)))
    assert row.used and re.search(word, "; ".join(row.remarks))


def test_slices_of_two_contrasts_that_lie_one_behind_the_other_are_remarked(slice_of, save):
    halves = save(slice_of(k, EchoTime=10 if k < 3 else 90) for k in range(6))
    assert "EchoTime has 2 values among its slices" in inspect(halves)[0].remarks
    derived = [{"ImageType": ["DERIVED", "SECONDARY", "MIP"]} if k == 2 else {} for k in range(6)]
    mixed = save((slice_of(k, **derived[k]) for k in range(6)), "c")
    assert "ImageType is DERIVED in 1 of 6 slices" in inspect(mixed)[0].remarks
    one_a_slice = save((slice_of(k, EchoTime=10 + k) for k in range(6)), "b")
    assert "EchoTime" not in " ".join(inspect(one_a_slice)[0].remarks)


def test_a_slope_beyond_whole_numbers_does_not_wrap_round(slice_of, save):
    volume = read(save(slice_of(k, RescaleSlope=1e16) for k in range(3)))
    assert volume.array.dtype == np.float32 and volume.array.max() > 1e18
    assert (np.diff(volume.array[0, :, 0, 0]) > 0).all()
