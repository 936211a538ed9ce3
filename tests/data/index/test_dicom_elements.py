"""The walk finds what pydicom finds, or leaves the file to it."""

import io
import warnings

import pydicom
import pytest
from pydicom.data import get_testdata_files
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from medssl.data.index.dicom_elements import PIXELS, ordinary
from medssl.data.index.dicom_tags import DEFER, WANTED

NATIVE = [path for path in get_testdata_files() if path.endswith(".dcm")]


def walked(path) -> pydicom.FileDataset | None:
    with io.FileIO(str(path)) as stream:
        return ordinary(stream, WANTED, DEFER)


def general(path) -> pydicom.FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path, force=True, specific_tags=[*WANTED], defer_size=DEFER)


@pytest.mark.filterwarnings("ignore")
def test_pydicom_finds_the_same_in_its_own_files():
    compared = 0
    for path in NATIVE:
        mine, reference = walked(path), general(path)
        if mine is None:
            continue
        compared += 1
        assert set(mine.keys()) == set(reference.keys()), path
        for element in set(mine.keys()):
            if element in PIXELS:
                pixels = [d.get_item(element, keep_deferred=True) for d in (mine, reference)]
                assert pixels[0].value_tell == pixels[1].value_tell, path
                assert pixels[0].length == pixels[1].length, path
            else:
                assert mine[element] == reference[element], path
        assert {e.tag: e.value for e in mine.file_meta} == {
            e.tag: e.value for e in reference.file_meta if e.tag.element
        }
        assert mine.original_encoding == reference.original_encoding, path
        assert mine.original_character_set == reference.original_character_set, path
    assert compared > 0.7 * len(NATIVE)


@pytest.mark.parametrize("implicit", [False, True])
def test_sequences_of_either_kind_are_stepped_over(slice_of, tmp_path, implicit):
    dataset, inner = slice_of(0), pydicom.Dataset()
    inner.PatientComments, inner.Rows = "x" * 100, 7
    inner.ReferencedImageSequence = [pydicom.Dataset(), pydicom.Dataset()]
    inner.ReferencedImageSequence[1].Columns = 9
    dataset.ReferencedImageSequence = [inner, inner]
    if implicit:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    for undefined in (False, True):
        for holder in (dataset, inner):
            holder["ReferencedImageSequence"].is_undefined_length = undefined
        inner.is_undefined_length_sequence_item = undefined
        path = tmp_path / f"{undefined}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        found = walked(path)
        assert found.Rows == dataset.Rows == 4 and found.Columns == dataset.Columns
        assert "PixelData" in found and "ReferencedImageSequence" not in found


def test_what_is_out_of_the_ordinary_is_left_to_pydicom(slice_of, tmp_path):
    dataset, path = slice_of(0), tmp_path / "a.dcm"
    dataset.save_as(path, enforce_file_format=True)
    good = path.read_bytes()
    assert walked(path) is not None
    rows = good.index(b"\x28\0\x10\0US")
    swapped = good[:rows] + good[rows + 10 : rows + 20] + good[rows : rows + 10] + good[rows + 20 :]
    for odd in (
        good[132:], good[:300], good[:rows] + b"\x28\0\x10\0??" + good[rows + 6 :], swapped,
        good[:140] + b"\xff\xff" + good[142:], b"", bytes(200),
    ):  # fmt: skip
        path.write_bytes(odd)
        assert walked(path) is None
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=False)
    assert walked(path) is None


def test_an_unusual_number_of_elements_is_left_to_pydicom(slice_of, tmp_path):
    dataset, path = slice_of(0), tmp_path / "a.dcm"
    for n in range(21_000):
        dataset.add_new((0x0009 + 2 * (n // 0xFF00), 0x0100 + n % 0xEF00), "US", n % 7)
    dataset.save_as(path, enforce_file_format=True)
    assert walked(path) is None


def test_a_big_element_before_the_wanted_ones_is_stepped_over(slice_of, tmp_path):
    dataset, path = slice_of(0), tmp_path / "a.dcm"
    dataset.add_new(0x00091001, "OB", bytes(100_000))
    dataset.save_as(path, enforce_file_format=True)
    assert walked(path).Rows == 4
