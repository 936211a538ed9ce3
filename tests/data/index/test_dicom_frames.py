import json
import random

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLSLossless,
    MRImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    NuclearMedicineImageStorage,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from medssl.data.entries import key_of
from medssl.data.index import read, scan
from medssl.data.index.dicom import picture
from medssl.data.index.dicom_header import read_headers
from medssl.data.manifest import Manifest
from medssl.data.recipe import Recipe
from medssl.errors import UserError
from medssl.stages import index, prepare, qc
from tests.faults import good

COUNT = 7
ALL = ("PixelMeasuresSequence", "PlaneOrientationSequence", "PixelValueTransformationSequence")
OBLIQUE = [0.8, 0.6, 0.0, 0.0, 0.0, -1.0]


def slices(count=COUNT, oblique=False, **tags) -> list[pydicom.Dataset]:
    if not oblique:
        return [good.ct_slice(k, **tags) for k in range(count)]
    normal = np.cross(OBLIQUE[:3], OBLIQUE[3:])
    return [
        good.ct_slice(k, ImageOrientationPatient=OBLIQUE,
                      ImagePositionPatient=[round(float(x), 8) for x in 2.5 * k * normal - 7], **tags)
        for k in range(count)
    ]  # fmt: skip


def wide() -> list[pydicom.Dataset]:
    """Slices that an encoder for JPEG 2000 takes."""
    return [good.ct_slice(k, good.voxels((48, 64)) + k) for k in range(COUNT)]


def written(d: pydicom.Dataset, folder, name="a.dcm"):
    folder.mkdir(exist_ok=True)
    d.save_as(folder / name, enforce_file_format=True)
    return folder / name


def single(found, folder):
    """The volume of the same slices, one a file."""
    folder.mkdir()
    return read(scan_one(good.save(found, folder)[0].parent))


def scan_one(folder):
    (row,) = scan(folder)
    assert row.used, row.reason
    return row


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize("shared", [ALL, (), ("PixelMeasuresSequence",)], ids=len)
@pytest.mark.parametrize("order", ["in order", "backwards", "shuffled"])
def test_frames_make_the_volume_of_the_same_slices(order, shared, oblique, tmp_path):
    found = slices(oblique=oblique)
    one = single(found, tmp_path / "slices")
    if order != "in order":
        found.reverse() if order == "backwards" else random.Random(1).shuffle(found)
    path = written(good.enhanced(found, shared), tmp_path / "frames")
    row = scan_one(path.parent)
    assert row.files == [path] and row.frames == [] and row.shape == f"20x16x{COUNT}"
    volume = read(row)
    assert np.array_equal(volume.array, one.array) and volume.array.dtype == one.array.dtype
    assert np.allclose(volume.affine, one.affine) and volume.modality == "CT"


def test_simpleitk_finds_the_same_place_and_values(tmp_path):
    path = written(good.enhanced(slices(oblique=True), ALL), tmp_path / "frames")
    volume, image = read([path]), sitk.ReadImage(str(path))
    assert np.array_equal(volume.array[0], sitk.GetArrayFromImage(image).transpose(2, 1, 0))
    for at in ([0, 0, 0], [19, 0, 0], [3, 15, 6]):
        lps = image.TransformIndexToPhysicalPoint(at)
        assert np.allclose((volume.affine @ [*at, 1])[:3], np.multiply(lps, [-1, -1, 1]), atol=1e-4)


def test_legacy_converted_images_of_highdicom(tmp_path):
    from highdicom.legacy import LegacyConvertedEnhancedCTImage

    found = slices(FrameOfReferenceUID="1.2.9", PatientName="", PatientBirthDate="",
                   PatientSex="", AccessionNumber="", StudyID="", StudyDate="", StudyTime="",
                   ReferringPhysicianName="", Manufacturer="", ImageType=["ORIGINAL", "PRIMARY",
                   "AXIAL"], AcquisitionNumber=1, SeriesNumber=1, PatientPosition="HFS",
                   SliceThickness=2)  # fmt: skip
    one = single(found, tmp_path / "slices")
    legacy = LegacyConvertedEnhancedCTImage(found, generate_uid(), 2, generate_uid(), 1)
    volume = read(scan_one(written(legacy, tmp_path / "frames").parent))
    assert np.array_equal(volume.array, one.array) and np.allclose(volume.affine, one.affine)


def test_each_frame_has_its_own_scale(tmp_path):
    found = [good.ct_slice(k, RescaleSlope=1 + k, RescaleIntercept=-k) for k in range(4)]
    one = single(found, tmp_path / "slices")
    path = written(good.enhanced(found, ALL[:2]), tmp_path / "frames")
    assert np.array_equal(read([path]).array, one.array)
    assert len(np.unique(one.array[0, 0, 0])) == 4


PARTS = {
    "echoes": lambda p: {"MREchoSequence": good.items(EffectiveEchoTime=(10.0, 90.0)[p])},
    "b-values": lambda p: {"MRDiffusionSequence": good.items(DiffusionBValue=(0.0, 800.0)[p])},
    "stacks": lambda p: {"FrameContentSequence": good.items(StackID="12"[p])},
    "times": lambda p: {"FrameContentSequence": good.items(TemporalPositionIndex=p + 1)},
    "types": lambda p: {"MRImageFrameTypeSequence": good.items(
        FrameType=["ORIGINAL", "PRIMARY", ["M_FFE", "P_FFE"][p], "NONE"])},
    "phases": lambda p: {"CardiacSynchronizationSequence": good.items(
        NominalCardiacTriggerDelayTime=(5.0, 300.0)[p])},
    "directions": lambda p: {"MRDiffusionSequence": good.items(
        DiffusionGradientDirectionSequence=good.items(
            DiffusionGradientOrientation=([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])[p]))},
    "kernels": lambda p: {"CTReconstructionSequence": good.items(ConvolutionKernel="sb"[p])},
    "dimension": lambda p: {"FrameContentSequence": good.items(DimensionIndexValues=[1, p + 1])},
}  # fmt: skip


def two_parts(name: str, modality="MR") -> tuple[pydicom.Dataset, list[np.ndarray]]:
    """One file whose frames alternate between two scans, and the values of the scans."""
    where = [(k, p) for k in range(COUNT) for p in (0, 1)]
    kind = {"Modality": modality, "SOPClassUID": MRImageStorage}
    found = [good.ct_slice(k, np.full((16, 20), 1000 * p + k), **kind) for k, p in where]
    d = good.enhanced(found, ALL, lambda n: PARTS[name](where[n][1]))
    d.DimensionIndexSequence = [
        good.items(DimensionIndexPointer=tag)[0] for tag in (0x00200032, 0x00209128)
    ]
    values = [np.arange(COUNT) + 1000 * p - 1024 for p in (0, 1)]
    return d, values


@pytest.mark.parametrize("name", PARTS)
def test_several_scans_of_one_file_are_split(name, tmp_path):
    d, values = two_parts(name)
    path = written(d, tmp_path)
    rows = scan(tmp_path)
    assert [(row.verdict, row.shape) for row in rows] == [("used", f"20x16x{COUNT}")] * 2
    assert all(row.files == [path] for row in rows) and len({row.id for row in rows}) == 2
    assert sorted(n for row in rows for n in row.frames[0]) == list(range(1, 2 * COUNT + 1))
    found = sorted((read(row).array[0, 0, 0].tolist() for row in rows), key=max)
    assert found == [v.tolist() for v in values]
    with pytest.raises(UserError, match="DUPLICATE.*frame"):
        read([path])


def test_one_scan_a_file_under_one_uid(tmp_path):
    for p in (0, 1):
        tags = {"EffectiveEchoTime": (10.0, 90.0)[p]}
        found = [good.ct_slice(k, np.full((16, 20), 1000 * p + k)) for k in range(4)]
        more = {"MREchoSequence": good.items(**tags)}
        written(good.enhanced(found, ALL, lambda n, more=more: more), tmp_path, f"{p}.dcm")
    rows = scan(tmp_path)
    assert [(row.verdict, len(row.files), row.frames) for row in rows] == [("used", 1, [])] * 2


def test_one_scan_in_two_files(tmp_path):
    found = slices(8)
    one = single(found, tmp_path / "slices")
    (tmp_path / "frames").mkdir()
    for n in (0, 4):
        written(good.enhanced(found[n : n + 4], ALL), tmp_path / "frames", f"{n}.dcm")
    row = scan_one(tmp_path / "frames")
    assert len(row.files) == 2 and np.array_equal(read(row).array, one.array)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless],
                         ids=["rle", "jls", "j2k"])  # fmt: skip
@pytest.mark.parametrize("table", [True, False], ids=["table", "no table"])
@pytest.mark.parametrize("pieces", [1, 3])
def test_compressed_frames_in_several_fragments(syntax, table, pieces, tmp_path):
    found = wide()
    one = single(found, tmp_path / "slices")
    d = good.enhanced(found, ALL)
    d.compress(syntax)
    frames = list(pydicom.encaps.generate_frames(d.PixelData, number_of_frames=COUNT))
    d.PixelData = pydicom.encaps.encapsulate(frames, fragments_per_frame=pieces, has_bot=table)
    path = written(d, tmp_path / "frames")
    if syntax == RLELossless and pieces > 1 and not table:
        with pytest.raises(UserError, match="told apart into 7 frame"):
            read([path])  # PS3.5 A.4.2 allows one fragment a frame only; no mark ends a frame
        return
    assert np.array_equal(read([path]).array, one.array)


def edited(change) -> pydicom.Dataset:
    d = good.enhanced(slices(), ALL)
    change(d)
    return d


def group(d, k) -> pydicom.Dataset:
    return d.PerFrameFunctionalGroupsSequence[k]


FAULTS = {
    "a frame short": ("HEADER", "found the groups of 7", lambda d: (
        setattr(d, "NumberOfFrames", 6), setattr(d, "PixelData", d.PixelData[:-640]))),
    "pixels short": ("CUT", "found 4000 bytes of pixels, expected 4480",
                     lambda d: setattr(d, "PixelData", d.PixelData[:4000])),
    "no place": ("GEOMETRY", "frame 3: ImagePositionPatient missing",
                 lambda d: delattr(group(d, 2), "PlanePositionSequence")),
    "no spacing": ("GEOMETRY", "PixelSpacing missing",
                   lambda d: delattr(d.SharedFunctionalGroupsSequence[0], ALL[0])),
    "slope 0": ("SCALE", "frame 4: RescaleSlope is 0", lambda d: setattr(
        group(d, 3), ALL[2], good.items(RescaleSlope=0, RescaleIntercept=0))),
    "gap": ("GAP", "between slices 4 and 5", lambda d: setattr(
        group(d, 6), "PlanePositionSequence", good.items(ImagePositionPatient=[-10, -20, 47]))
        or [setattr(group(d, k), "PlanePositionSequence", good.items(
            ImagePositionPatient=[-10, -20, 32 + 2 * k])) for k in (4, 5, 6)]),
    "double": ("DUPLICATE", "a.dcm frame 1 and a.dcm frame 2", lambda d: setattr(
        group(d, 1), "PlanePositionSequence", good.items(ImagePositionPatient=[-10, -20, 30]))),
    "turned": ("GEOMETRY", "a.dcm frame 3 lies among the slices but has ImageOrientationPatient",
               lambda d: setattr(group(d, 2), ALL[1], good.items(
                   ImageOrientationPatient=[0, 1, 0, 0, 0, -1]))),
    "no groups": ("MULTIFRAME", "7 frames of Enhanced CT Image Storage, without a place each",
                  lambda d: delattr(d, "PerFrameFunctionalGroupsSequence")),
    "a million": ("CUT", "found 4480 bytes", lambda d: setattr(d, "NumberOfFrames", 1_000_000)),
    "negative": ("HEADER", "NumberOfFrames", lambda d: setattr(d, "NumberOfFrames", -3)),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_a_frame_is_told(fault, tmp_path):
    code, words, change = FAULTS[fault]
    written(edited(change), tmp_path)
    (row,) = scan(tmp_path)
    assert row.code == code and words in row.reason, row.reason


@pytest.mark.parametrize(
    "kind",
    [
        {"SOPClassUID": UltrasoundMultiFrameImageStorage, "Modality": "US"},
        {"SOPClassUID": MultiFrameGrayscaleWordSecondaryCaptureImageStorage, "Modality": "OT"},
        {"SOPClassUID": NuclearMedicineImageStorage, "Modality": "NM"},
    ],
    ids=["us", "sc", "nm"],
)
def test_frames_without_a_place_are_refused(kind, tmp_path):
    groups = {"PerFrameFunctionalGroupsSequence": None, "SharedFunctionalGroupsSequence": None}
    written(good.enhanced(slices(), **groups, **kind), tmp_path)
    (row,) = scan(tmp_path)
    assert row.code == "MULTIFRAME" and "7 frames of" in row.reason


@pytest.mark.parametrize("step", [2.5, -2.5])
def test_a_reconstructed_nm_is_read_in_the_order_of_its_slices(step, tmp_path):
    groups = {"PerFrameFunctionalGroupsSequence": None, "SharedFunctionalGroupsSequence": None}
    found = slices()
    d = good.enhanced(found, **groups, SOPClassUID=NuclearMedicineImageStorage, Modality="NM")
    d.ImageType, d.NumberOfSlices = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"], COUNT
    d.FrameIncrementPointer, d.SliceVector = 0x00540080, list(range(1, COUNT + 1))
    d.PixelSpacing, d.SpacingBetweenSlices = [3.0, 2.0], step
    d.DetectorInformationSequence = good.items(
        ImagePositionPatient=[1, 2, 3], ImageOrientationPatient=[1, 0, 0, 0, 1, 0]
    )
    row = scan_one(written(d, tmp_path).parent)
    array = np.frombuffer(d.PixelData, np.int16).reshape(COUNT, 16, 20).transpose(2, 1, 0)
    volume = read(row)
    assert np.array_equal(volume.array[0], array if step > 0 else array[..., ::-1])
    first = volume.affine @ [0, 0, 0 if step > 0 else COUNT - 1, 1]
    assert np.allclose(first[:3], [-1, -2, 3]) and np.allclose(volume.spacing, [2, 3, 2.5])


def test_a_loop_of_one_frame_is_a_film(tmp_path):
    groups = {"PerFrameFunctionalGroupsSequence": None, "SharedFunctionalGroupsSequence": None}
    kind = {"SOPClassUID": UltrasoundMultiFrameImageStorage, "Modality": "US"}
    row = scan_one(written(good.enhanced(slices(1), **groups, **kind), tmp_path).parent)
    assert row.shape == "16x20"


def test_a_second_frame_of_another_size_is_refused_before_it_is_decoded(tmp_path):
    d = good.enhanced(wide(), ALL)
    d.compress(JPEG2000Lossless)
    frames = list(pydicom.encaps.generate_frames(d.PixelData, number_of_frames=COUNT))
    large = (60_000).to_bytes(4, "big")
    frames[3] = frames[3][:8] + large + large + frames[3][16:]
    d.PixelData = pydicom.encaps.encapsulate(frames)
    row = scan_one(written(d, tmp_path).parent)
    with pytest.raises(UserError, match="HEADER .*frame 4 is 60000x60000"):
        read(row)


@pytest.mark.parametrize("undefined", [False, True])
def test_sequences_of_either_length_are_read(undefined, tmp_path):
    d = good.enhanced(slices(), ALL)
    for name in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        d[name].is_undefined_length = undefined
        for item in d[name].value:
            item.is_undefined_length_sequence_item = undefined
    headers = read_headers(written(d, tmp_path))
    assert [h.frame for h in headers] == list(range(1, COUNT + 1))
    assert [h.position[2] for h in headers] == [30 + 2 * k for k in range(COUNT)]


def test_picture_shows_the_middle_frame(tmp_path):
    path = written(good.enhanced(slices(), ALL), tmp_path)
    assert np.array_equal(picture(path), read([path]).array[0, :, :, COUNT // 2].T)


def test_prepare_and_qc_tell_the_scans_of_one_file_apart(tmp_path):
    d, values = two_parts("echoes")
    scans, out = tmp_path / "scans", tmp_path / "manifest"
    written(d, scans)
    index.run(index.Config(scans=scans, out=out))
    manifest = Manifest.read(out)
    ids = list(manifest.used["id"])
    found = [manifest.volume(id).array.max() for id in ids]
    assert sorted(found) == [v.max() for v in values]
    assert len({key_of(manifest, id, Recipe()) for id in ids}) == 2
    prepare.run(prepare.Config(manifest=out, out=tmp_path / "store"))
    assert len(list((tmp_path / "store/arrays").glob("*.b2nd"))) == 2
    qc.run(qc.Config(manifest=out, out=tmp_path / "qc", thumbnails=2))
    told = json.loads((tmp_path / "qc/findings.json").read_text())
    assert told["n_used"] == 2 and not told["copies"] and not told["unreadable"]


def test_a_manifest_without_the_column_of_frames_is_read(tmp_path):
    path = written(good.enhanced(slices(), ALL), tmp_path)
    manifest = Manifest.from_rows(tmp_path, scan(tmp_path))
    del manifest.table["frames"]
    assert np.array_equal(manifest.volume(manifest.table["id"][0]).array, read([path]).array)


def test_an_mr_of_one_frame_is_too_few(tmp_path):
    written(good.enhanced(slices(1, Modality="MR"), ALL), tmp_path)
    (row,) = scan(tmp_path)
    assert row.code == "FEW_SLICES"
