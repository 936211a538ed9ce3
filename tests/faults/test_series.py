"""Group D: assembly of series, and of the scans that one series may hold."""

import json
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import MRImageStorage, SecondaryCaptureImageStorage

from medssl.data.index import Row, read, scan
from medssl.errors import UserError
from medssl.stages import index, qc
from tests.faults import good
from tests.faults.conftest import MESSAGE

COUNT = 20
SAGITTAL = [0, 1, 0, 0, 0, -1]
CORONAL = [1, 0, 0, 0, 0, -1]


def rows(folder: Path) -> list[Row]:
    """Rows of a folder; each refusal is told by the contract."""
    found = scan(folder)
    for row in found:
        if row.code not in ("", "NOT_IMAGE"):
            cause, _, fix = row.reason.partition(". Fix: ")
            assert MESSAGE.fullmatch(str(UserError(row.code, row.files[0], cause, fix)))
    return found


def series(folder: Path, count=COUNT, leave=(), **tags) -> list[Path]:
    slices = [good.ct_slice(k, **tags) for k in range(count) if k not in leave]
    return good.save(slices, folder)


def values(k: int, part: int) -> np.ndarray:
    """Pixels that tell slice and part."""
    return np.full((16, 20), 1000 * part + k, np.int16)


# D1: slices missing in the middle


@pytest.mark.parametrize("k", range(1, COUNT - 1), ids=lambda k: f"D1-{k}")
def test_a_missing_slice_is_told_with_its_place(k, tmp_path):
    series(tmp_path, leave=[k])
    (row,) = rows(tmp_path)
    assert row.code == "GAP" and len(row.files) == COUNT - 1
    assert f"between slices {k} and {k + 1} of 19" in row.reason and ": 1 missing" in row.reason
    assert f"({28 + 2 * k:.2f} and {32 + 2 * k:.2f} mm)" in row.reason


@pytest.mark.parametrize("leave", [(5, 6, 7), (3, 11), (1, 18)], ids=lambda k: f"D1-{k}")
def test_several_missing_slices(leave, tmp_path):
    series(tmp_path, leave=leave)
    (row,) = rows(tmp_path)
    assert row.code == "GAP"
    assert f": {3 if len(leave) == 3 else 1} missing" in row.reason


# D2: slices missing at the ends


@pytest.mark.parametrize(
    ("leave", "tags", "words"),
    [
        ((17, 18, 19), {"ImagesInAcquisition": 20}, "ImagesInAcquisition is 20, found 17"),
        ((0,), {"ImagesInAcquisition": 20}, "ImagesInAcquisition is 20, found 19"),
        ((0, 1, 2), {}, "InstanceNumber runs from 4 to 20, found 17 images"),
        ((0, 19), {}, "InstanceNumber runs from 2 to 19, found 18 images"),
        ((18, 19), {"NumberOfSlices": 20}, "NumberOfSlices is 20, found 18 slices"),
    ],
    ids=["D2-last-3", "D2-first", "D2-numbers-first-3", "D2-numbers-both", "D2-pet"],
)
def test_missing_ends_are_remarked(leave, tags, words, tmp_path, judge):
    series(tmp_path, leave=leave, **tags)
    judge(tmp_path, f"remark: {words}")


@pytest.mark.parametrize("numbers", [range(20), range(1, 21), range(1000, 1020), range(0, 200, 10)],
                         ids=["D2-from-0", "D2-from-1", "D2-from-1000", "D2-tens"])  # fmt: skip
def test_complete_series_carry_no_such_remark(numbers, tmp_path):
    good.save([good.ct_slice(k, InstanceNumber=n) for k, n in enumerate(numbers)], tmp_path)
    (row,) = rows(tmp_path)
    assert row.used and not row.remarks


# D3: exact copies


@pytest.mark.parametrize("copies", [(3,), (0, 19), range(COUNT)], ids=["D3-1", "D3-ends", "D3-all"])
@pytest.mark.parametrize("beside", [True, False], ids=["beside", "folder"])
def test_exact_copies_are_listed_and_the_scan_is_used(copies, beside, tmp_path):
    paths = series(tmp_path)
    expected = read(paths).array
    (tmp_path / "again").mkdir()
    for k in copies:
        name = f"copy{k}.dcm" if beside else f"again/slice{k}.dcm"
        shutil.copy(paths[k], tmp_path / name)
    found = rows(tmp_path)
    used = [row for row in found if row.used]
    assert [row.code for row in found if not row.used] == ["COPY"] * len(copies)
    assert len(used) == 1 and np.array_equal(read(used[0]).array, expected)
    assert "an exact copy of a file was dropped" in used[0].remarks


# D4: other images at one place


@pytest.mark.parametrize("k", [0, 7, 19], ids=lambda k: f"D4-{k}")
@pytest.mark.parametrize("uid", ["same", "other"])
def test_two_images_at_one_place(k, uid, tmp_path):
    paths = series(tmp_path)
    tags = (
        {"SOPInstanceUID": good.pydicom.dcmread(paths[k]).SOPInstanceUID} if uid == "same" else {}
    )
    good.save([good.ct_slice(k, values(k, 1), **tags)], tmp_path, "other")
    (row,) = rows(tmp_path)
    assert row.code == "DUPLICATE" and f"slice{k}.dcm" in row.reason and "other0.dcm" in row.reason
    assert f"({30 + 2 * k:.2f} mm)" in row.reason


@pytest.mark.parametrize(
    "tag", [{"AcquisitionNumber": 2}, {"ImageType": ["DERIVED", "SECONDARY"]}, {"EchoTime": 40}],
    ids=["D4-acquisition", "D4-type", "D4-echo"],
)  # fmt: skip
def test_an_image_that_says_how_it_differs_is_split_off(tag, tmp_path):
    series(tmp_path)
    good.save([good.ct_slice(7, values(7, 1), **tag)], tmp_path, "other")
    found = rows(tmp_path)
    assert sorted((row.code, len(row.files)) for row in found) == [("", 20), ("FEW_SLICES", 1)]


# D5: several series and patients in one folder


@pytest.mark.parametrize(
    "tags",
    [
        {"SeriesInstanceUID": "1.9"},
        {"PatientID": "PAT 2", "SeriesInstanceUID": "1.9", "StudyInstanceUID": "1.8"},
        {"PatientID": "PAT 2"},
        {"StudyInstanceUID": "1.8"},
        {"Modality": "PT"},
    ],
    ids=["D5-series", "D5-patients", "D5-patients-1-uid", "D5-studies-1-uid", "D5-pet-ct-1-uid"],
)
def test_what_lies_in_one_folder_is_kept_apart(tags, tmp_path):
    good.save([good.ct_slice(k, values(k, 0)) for k in range(6)], tmp_path, "a")
    good.save([good.ct_slice(k, values(k, 1), **tags) for k in range(8)], tmp_path, "b")
    found = rows(tmp_path)
    assert [(row.used, row.shape) for row in found] == [(True, "20x16x6"), (True, "20x16x8")]
    assert len({row.id for row in found}) == 2
    assert len({row.patient for row in found}) == 1 + ("PatientID" in tags)
    for part, row in enumerate(found):
        assert read(row).array[0, 0, 0].tolist() == [
            1000 * part + k - 1024 for k in range(6 + 2 * part)
        ]


# D6: one UID for several scans


def echoes(k, part):
    return {"EchoNumbers": part + 1, "EchoTime": (20, 80)[part]}


MIXED = {
    "D6-t2-pd": lambda k, p: {"EchoTime": (20, 80)[p]},
    "D6-echoes": echoes,
    "D6-repetition": lambda k, p: {"TemporalPositionIdentifier": p + 1, "AcquisitionNumber": k},
    "D6-b-values": lambda k, p: {"DiffusionBValue": float((0, 1000)[p])},
    "D6-kernels": lambda k, p: {"ConvolutionKernel": ("B30f", "B70f")[p]},
    "D6-kernels-2-words": lambda k, p: {"ConvolutionKernel": [("I30f", "I70f")[p], "3"]},
    "D6-phases-ct": lambda k, p: {"NominalPercentageOfCardiacPhase": (30.0, 70.0)[p]},
    "D6-phases-mr": lambda k, p: {"TriggerTime": (10, 400)[p]},
    "D6-phases-jitter": lambda k, p: {"TriggerTime": (10 + k % 7, 400 + 3 * k)[p]},
    "D6-dual-energy": lambda k, p: {"KVP": (80, 140)[p], "AcquisitionNumber": 1},
    "D6-inversion": lambda k, p: {"InversionTime": (150, 900)[p]},
    "D6-magnitude-phase": lambda k, p: {"ImageType": ["ORIGINAL", "PRIMARY", "MP"[p], "ND"]},
    "D6-fov": lambda k, p: {"PixelSpacing": ([0.5, 0.7], [0.4, 0.5])[p]},
    "D6-contrast": lambda k, p: {"AcquisitionNumber": p + 2, "KVP": 120},
    "D6-directions": lambda k, p: {
        "DiffusionBValue": 700.0,
        "DiffusionGradientOrientation": ([1.0, 0.0, 0.0], [0.0, 0.6, 0.8])[p],
    },
}


@pytest.mark.parametrize("order", ["blocks", "alternating", "shuffled"])
@pytest.mark.parametrize("row", MIXED)
def test_one_uid_for_two_scans(row, order, tmp_path):
    where = [(k, p) for p in (0, 1) for k in range(12)]
    if order == "alternating":
        where.sort()
    elif order == "shuffled":
        random.Random(3).shuffle(where)
    slices = [good.ct_slice(k, values(k, p), InstanceNumber=n, **MIXED[row](k, p))
              for n, (k, p) in enumerate(where, 1)]  # fmt: skip
    good.save(slices, tmp_path)
    found = rows(tmp_path)
    assert [row.verdict for row in found] == ["used"] * 2, [row.reason for row in found]
    assert all("one part of a series that holds several" in row.remarks[-1] for row in found)
    parts = [read(row).array[0] for row in found]
    parts.sort(key=lambda array: array.max())
    for part, array in enumerate(parts):
        expected = np.stack([values(k, part).T - 1024 for k in range(12)], axis=-1)
        assert np.array_equal(array, expected)


def test_two_tags_together_tell_four_scans_apart(tmp_path):
    slices = [
        good.ct_slice(k, values(k, 2 * a + b), EchoTime=(20, 80)[a], FlipAngle=(5, 20)[b])
        for k in range(6) for a in (0, 1) for b in (0, 1)
    ]  # fmt: skip
    good.save(slices, tmp_path)
    found = rows(tmp_path)
    assert [row.verdict for row in found] == ["used"] * 4
    assert sorted(read(row).array.max() for row in found) == [1000 * p + 5 - 1024 for p in range(4)]


def test_scans_that_lie_half_way_between_each_other(tmp_path):
    slices = [
        good.ct_slice(k + 0.4 * p, values(k, p), **echoes(k, p)) for k in range(6) for p in (0, 1)
    ]
    for d in slices:
        del d.EchoNumbers
    good.save(slices, tmp_path)
    assert [row.shape for row in rows(tmp_path)] == ["20x16x6"] * 2


VARYING = {
    "D6-exposure": lambda k: {"ExposureTime": 500 + k, "XRayTubeCurrent": 100 + 7 * k},
    "D6-acquisition-each": lambda k: {"AcquisitionNumber": k + 1},
    "D6-acquisition-2": lambda k: {"AcquisitionNumber": 1 + k // 10},
    "D6-trigger-each": lambda k: {"TriggerTime": 20 * k},
    "D6-type-first": lambda k: {"ImageType": ["ORIGINAL", "PRIMARY", "ND" if k else "NORM"]},
    "D6-temporal": lambda k: {"TemporalPositionIdentifier": k + 1},
    "D6-kernel-each": lambda k: {"ConvolutionKernel": f"kernel {k}", "StackID": f"{k}"},
    "D6-kernel-once": lambda k: {"ConvolutionKernel": "B30f"} if k == 4 else {},
    "D6-kvp-2": lambda k: {"KVP": 120 + (k > 9)},
}


@pytest.mark.parametrize("row", VARYING)
def test_what_varies_within_an_ordinary_series_splits_nothing(row, tmp_path, judge):
    good.save([good.ct_slice(k, **VARYING[row](k)) for k in range(COUNT)], tmp_path)
    found = judge(tmp_path, "ok")
    assert len(found) == 1 and found[0].remarks == ""


@pytest.mark.parametrize("row", VARYING)
def test_nor_does_it_hide_a_missing_slice(row, tmp_path):
    good.save([good.ct_slice(k, **VARYING[row](k)) for k in range(COUNT) if k != 9], tmp_path)
    assert [found.code for found in rows(tmp_path)] == ["GAP"]


# D7: order


@pytest.mark.parametrize("seed", range(3), ids=lambda n: f"D7-{n}")
def test_only_positions_say_the_order(seed, tmp_path):
    order = random.Random(seed).sample(range(COUNT), COUNT)
    numbers = random.Random(seed + 9).sample(range(1, COUNT + 1), COUNT)
    slices = [
        good.ct_slice(k, values(k, 0), InstanceNumber=n)
        for k, n in zip(order, numbers, strict=True)
    ]
    good.save(slices, tmp_path)
    (row,) = rows(tmp_path)
    assert row.used
    assert read(row).array[0, 0, 0].tolist() == [k - 1024 for k in range(COUNT)]


# D8: one slice differs


ODD = {
    "Rows": {"pixels": np.ones((12, 20), np.int16)},
    "Columns": {"pixels": np.ones((16, 24), np.int16)},
    "PixelSpacing": {"PixelSpacing": [0.5, 0.9]},
    "ImageOrientationPatient": {"ImageOrientationPatient": SAGITTAL},
    "Modality": {"Modality": "MR", "SOPClassUID": MRImageStorage},
    "Modality ": {"Modality": "OT", "SOPClassUID": SecondaryCaptureImageStorage},
    "PatientID": {"PatientID": "PAT 2"},
    "ConvolutionKernel": {"ConvolutionKernel": "B70f"},
}
USUAL = {"ConvolutionKernel": "B30f"}


@pytest.mark.parametrize("k", [0, 10, 19])
@pytest.mark.parametrize("tag", ODD, ids=lambda tag: f"D8-{tag.strip()}{len(tag)}")
def test_one_slice_that_differs_is_named_with_its_tag(tag, k, tmp_path):
    slices = [good.ct_slice(n, **{**USUAL, **(ODD[tag] if n == k else {})}) for n in range(COUNT)]
    good.save(slices, tmp_path)
    (row,) = rows(tmp_path)
    assert row.code == "GEOMETRY" and len(row.files) == COUNT
    assert f"slice{k}.dcm" in row.reason and tag.strip() in row.reason, row.reason


# B6: scouts


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    "axes", [SAGITTAL, CORONAL, [0.8, 0.6, 0, -0.6, 0.8, 0]], ids=["D8-sag", "D8-cor", "D8-turned"]
)
def test_scouts_under_the_same_uid_are_split_off(axes, count, tmp_path):
    series(tmp_path)
    scouts = [
        good.ct_slice(k, ImageOrientationPatient=axes, ImagePositionPatient=[-60, -80.0, 90 + 9 * k],
                      ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        for k in range(count)
    ]  # fmt: skip
    good.save(scouts, tmp_path, "scout")
    found = rows(tmp_path)
    assert sorted((row.code, len(row.files)) for row in found) == [("", 20), ("FEW_SLICES", count)]


# D9: one corrupt slice


SPOIL = {
    "pixels-cut": lambda path: good.cut(path, 0.7),
    "header-cut": lambda path: good.cut(path, 0.4),
    "0-slope": lambda path: (
        good.replace(path, b"RescaleSlope", b"") if 0 else edit(path, RescaleSlope=0)
    ),
    "no-rows": lambda path: edit(path, Rows=None),
    "bad-number": lambda path: good.replace(path, b"0.5\\0.7", b"0,5\\0,7"),
    "no-pixels": lambda path: edit(path, PixelData=None),
}


def cut_at(path: Path, word: bytes) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: raw.index(word)])


def edit(path: Path, **tags) -> None:
    d = good.pydicom.dcmread(path)
    for name, value in tags.items():
        delattr(d, name) if value is None else setattr(d, name, value)
    d.save_as(path)


@pytest.mark.parametrize("k", [0, 10, 19])
@pytest.mark.parametrize("row", SPOIL, ids=lambda row: f"D9-{row}")
def test_a_corrupt_slice_refuses_its_series(row, k, tmp_path):
    SPOIL[row](series(tmp_path)[k])
    found = rows(tmp_path)
    assert not any(row.used for row in found), [(row.code, row.shape, row.remarks) for row in found]
    assert any(
        f"slice{k}.dcm" in row.reason or row.files[0].name == f"slice{k}.dcm" for row in found
    )


@pytest.mark.parametrize("content", [b"", b"\0" * 3000, b"<html>404</html>"],
                         ids=["D9-empty", "D9-zeros", "D9-html"])  # fmt: skip
@pytest.mark.parametrize("k", [0, 10, 19])
def test_a_slice_that_is_no_dicom_any_more(k, content, tmp_path):
    series(tmp_path)[k].write_bytes(content)
    found = rows(tmp_path)
    assert not any(row.used for row in found), [(row.code, row.remarks) for row in found]


@pytest.mark.parametrize("name", ["notes.txt", "broken.dcm", "other/slice3.dcm"])
def test_a_broken_file_of_no_series_harms_none(name, tmp_path):
    (tmp_path / "scan").mkdir()
    series(tmp_path / "scan")
    path = tmp_path / "scan" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\0" * 3000)
    assert [row.verdict for row in rows(tmp_path)].count("used") == 1


# D10: no place


@pytest.mark.parametrize("k", [None, 0, 10, 19], ids=lambda k: f"D10-{k}")
@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_slices_without_a_place(tag, k, tmp_path, judge):
    good.ct(tmp_path, odd=k, count=COUNT, **{tag: None})
    (fate,) = judge(tmp_path, "GEOMETRY")
    assert f"{tag} missing" in fate.message


# D11: too few


@pytest.mark.parametrize("count", [1, 2], ids=lambda k: f"D11-{k}")
@pytest.mark.parametrize("type", [["ORIGINAL", "PRIMARY", "LOCALIZER"], ["ORIGINAL", "PRIMARY"]])
def test_too_few_slices(type, count, tmp_path, judge):
    good.ct(tmp_path, count=count, ImageType=type)
    judge(tmp_path, "FEW_SLICES")


# D12: the same image under other names


def converted(folder: Path, kind: str, paths: list[Path]) -> None:
    import nibabel as nib
    import SimpleITK as sitk

    if kind == "uids":
        for path in paths:
            edit(path, SeriesInstanceUID="1.7")
            edit(path, SOPInstanceUID=good.pydicom.uid.generate_uid())
        for k, path in enumerate(paths):
            shutil.move(path, folder / f"new{k}.dcm")
        series(folder)
    elif kind == "nii":
        volume = read(paths)
        nib.save(nib.Nifti1Image(volume.array[0], volume.affine), folder / "copy.nii.gz")
    else:
        sitk.WriteImage(sitk.ReadImage([str(p) for p in paths]), folder / "copy.mha")


@pytest.mark.parametrize("kind", ["uids", "nii", "mha"], ids=lambda k: f"D12-{k}")
def test_one_scan_under_two_names_is_told(kind, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    converted(scans, kind, series(scans))
    index.run(index.Config(scans=scans, out=tmp_path / "manifest"))
    qc.run(qc.Config(manifest=tmp_path / "manifest", out=tmp_path / "qc", thumbnails=0))
    found = json.loads((tmp_path / "qc/findings.json").read_text())
    assert found["n_used"] == 2 and [len(group["ids"]) for group in found["copies"]] == [2]


# Tilt, uneven steps, turned slices


@pytest.mark.parametrize("degrees", [-18.5, 0.6, 5, 30], ids=lambda a: f"B4-{a}")
def test_a_gantry_tilt_is_measured(degrees, tmp_path):
    shift = np.tan(np.deg2rad(degrees)) * 2
    slices = [
        good.ct_slice(k, ImagePositionPatient=[0, round(k * shift, 8), 2 * k]) for k in range(9)
    ]
    good.save(slices, tmp_path)
    (row,) = rows(tmp_path)
    assert row.code == "TILT" and f"{abs(degrees):.1f} degrees" in row.reason


@pytest.mark.parametrize(
    "places", [[0, 1, 2, 3, 4.5, 6, 7.5], [0, 1, 2.1, 3, 4], [0, 2, 3, 4, 5]],
    ids=["B3-two-steps", "B3-one-off", "B3-first"],
)  # fmt: skip
def test_uneven_steps_are_told_with_their_place(places, tmp_path):
    good.save([good.ct_slice(p) for p in places], tmp_path)
    (row,) = rows(tmp_path)
    assert row.code == "GAP" and re.search(r"between slices \d and \d of \d", row.reason)


def test_three_orientations_in_one_series_are_three_scans(tmp_path):
    for name, axes in {"a": [1, 0, 0, 0, 1, 0], "b": SAGITTAL, "c": CORONAL}.items():
        normal = np.cross(axes[:3], axes[3:])
        slices = [
            good.ct_slice(
                k, ImageOrientationPatient=axes, ImagePositionPatient=(2.0 * k * normal).tolist()
            )
            for k in range(5)
        ]
        good.save(slices, tmp_path, name)
    found = rows(tmp_path)
    assert [row.verdict for row in found] == ["used"] * 3
    assert len({row.orientation for row in found}) == 3
