import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from medssl.data.dicom_results import write_boxes, write_results
from medssl.data.index import read, scan
from medssl.data.phantom import write_dicom
from medssl.data.volume import LPS_TO_RAS, Volume
from medssl.errors import UserError

CLASSES = {2: "liver", 7: "my finding", 9: "spleen"}


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    array = np.random.default_rng(0).integers(-500, 500, (20, 24, 9)).astype(np.int16)
    affine = np.diag([0.8, 0.9, 2.5, 1.0])
    affine[:3, 3] = [-7, 11, 30]
    write_dicom.series(folder, array, affine, "CT", "PHANTOM-000")
    (row,) = [r for r in scan(folder, "", "auto") if r.used]
    return row, read(row)


def labelled(volume: Volume) -> Volume:
    array = np.zeros((1, *volume.shape), np.uint8)
    array[0, 3:9, 4:15, 2:7], array[0, 12:14, 1:3, 5] = 2, 7
    return Volume(array, volume.affine)


def test_segments_come_back_voxel_by_voxel_with_their_codes(series, tmp_path):
    row, volume = series
    labels = labelled(volume)
    segments, _ = write_results(labels, row.files, tmp_path / "s-1", CLASSES, "0123abcd" * 8)
    found = hd.seg.segread(segments)
    assert found.number_of_segments == 2
    told = [found.get_segment_description(n) for n in (1, 2)]
    assert [t.segment_label for t in told] == ["liver", "my finding"]  # nothing of the spleen
    assert told[0].segmented_property_type.value == "10200004"
    assert told[1].segmented_property_type.scheme_designator == "99MEDSSL"
    back = found.get_volume(combine_segments=True)
    places = np.indices(back.array.shape).reshape(3, -1)
    to_ours = np.linalg.inv(LPS_TO_RAS @ labels.affine) @ back.affine
    at = to_ours[:3, :3] @ places + to_ours[:3, 3:]
    assert np.abs(at - np.rint(at)).max() < 1e-3
    ours = labels.array[0][tuple(np.rint(at).astype(int))]
    assert np.array_equal(back.array.ravel(), np.select([ours == 2, ours == 7], [1, 2]))
    assert (back.array > 0).sum() == (labels.array > 0).sum()
    again = sitk.GetArrayFromImage(sitk.ReadImage(str(segments)))
    assert (again > 0).sum() == (labels.array > 0).sum()
    source = pydicom.dcmread(row.files[0])
    assert found.PatientID == source.PatientID and found.StudyInstanceUID == source.StudyInstanceUID
    assert segments.stat().st_mode & 0o077 == 0  # it names the patient


def test_the_report_has_the_volumes_and_points_to_the_segments(series, tmp_path):
    row, volume = series
    labels = labelled(volume)
    segments, report = write_results(labels, row.files, tmp_path / "s-1", CLASSES, "0123abcd" * 8)
    groups = hd.sr.srread(report).content.get_volumetric_roi_measurement_groups()
    voxel = 0.8 * 0.9 * 2.5 / 1000
    for group, value in zip(groups, (2, 7), strict=True):
        (measured,) = group.get_measurements()
        assert measured.value == pytest.approx((labels.array == value).sum() * voxel, abs=1e-4)
        assert measured.unit.value == "mL"
    written = hd.seg.segread(segments)
    tracked = {written.get_segment_description(n).tracking_uid for n in (1, 2)}
    assert {group.tracking_uid for group in groups} == tracked
    assert written.SOPInstanceUID in str(pydicom.dcmread(report))


def test_the_same_prediction_has_the_same_uids_and_another_model_others(series, tmp_path):
    row, volume = series
    ids = [
        pydicom.dcmread(write_results(labelled(volume), row.files, tmp_path / name, CLASSES, m)[0])
        for name, m in (("a", "1" * 64), ("b", "1" * 64), ("c", "2" * 64))
    ]
    first, same, other = (d.SOPInstanceUID for d in ids)
    assert first == same != other


def test_what_cannot_be_archived_is_said(series, tmp_path):
    row, volume = series
    empty = Volume(np.zeros((1, *volume.shape), np.uint8), volume.affine)
    with pytest.raises(UserError, match="no class was found"):
        write_results(empty, row.files, tmp_path / "e", CLASSES, "0" * 64)
    bare = []
    for file in row.files:
        dataset = pydicom.dcmread(file)
        dataset.StudyInstanceUID = ""
        bare.append(tmp_path / file.name)
        dataset.save_as(bare[-1])
    with pytest.raises(UserError, match="has no StudyInstanceUID"):
        write_results(labelled(volume), bare, tmp_path / "b", CLASSES, "0" * 64)


def test_boxes_are_outlined_on_the_images_that_they_reach(series, tmp_path):
    row, volume = series
    boxes = np.array([[3, 4, 2, 9, 15, 7], [0, 1, 5.1, 2.5, 3, 5.4]], float)
    (report,) = write_boxes(
        boxes,
        ["nodule", "nodule"],
        np.array([0.9, 0.4]),
        volume,
        row.files,
        tmp_path / "b",
        "2" * 64,
    )
    thick, thin = hd.sr.srread(report).content.get_volumetric_roi_measurement_groups()
    assert len(thick.roi) == 5 and len(thin.roi) == 1
    by_uid = {pydicom.dcmread(f).SOPInstanceUID: pydicom.dcmread(f) for f in row.files}
    places = set()
    for region in thick.roi:
        outline = np.array(region.value)
        assert outline.min(0).tolist() == [3, 4] and outline.max(0).tolist() == [9, 15]
        assert (outline[0] == outline[-1]).all()
        uid = region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        image = by_uid[uid]
        # The pixels inside are those of the scan's voxels inside: columns are its first axis.
        place = (np.linalg.inv(volume.affine) @ LPS_TO_RAS @ [*image.ImagePositionPatient, 1])[2]
        places.add(round(place))
        hounsfield = image.pixel_array * image.RescaleSlope + image.RescaleIntercept
        assert np.array_equal(hounsfield[4:15, 3:9], volume.array[0, 3:9, 4:15, round(place)].T)
    assert places == {2, 3, 4, 5, 6}
    side, score = (m.value for m in thick.get_measurements())
    assert side == pytest.approx(max(6 * 0.8, 11 * 0.9, 5 * 2.5)) and score == pytest.approx(0.9)
    with pytest.raises(UserError, match="no box is called"):
        write_boxes(boxes[:0], [], np.zeros(0), volume, row.files, tmp_path / "n", "2" * 64)
    with pytest.raises(UserError, match="not the slices of the scan"):
        write_boxes(boxes, ["a", "a"], np.ones(2), volume, row.files[:4], tmp_path / "n", "2" * 64)
