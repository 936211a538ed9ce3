import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless, SecondaryCaptureImageStorage

from medssl.data.index import dicom_image
from medssl.data.index.dicom_header import read_header
from medssl.errors import UserError


@pytest.mark.parametrize(
    ("tags", "code", "word"),
    [
        ({"PixelSpacing": None}, "GEOMETRY", "PixelSpacing missing"),
        ({"PixelSpacing": [0, 0]}, "GEOMETRY", "PixelSpacing"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "GEOMETRY", "right-angled"),
        ({"NumberOfFrames": 3}, "CUT", "found 40 bytes of pixels, expected 120"),
        ({"RescaleSlope": 0}, "SCALE", "RescaleSlope"),
        ({"SamplesPerPixel": 3}, "COLOUR", "colour"),
        ({"BitsAllocated": 1}, "DTYPE", "1 bits"),
        ({"BitsStored": 20}, "HEADER", "BitsStored is 20 of 16"),
        ({"BitsStored": None}, "HEADER", "BitsStored is missing"),
        ({"PixelRepresentation": 2}, "HEADER", "PixelRepresentation 2, expected 0 or 1"),
        ({"Rows": 8}, "CUT", "found 40 bytes of pixels, expected 80"),
        ({"Rows": 65535, "Columns": 65535}, "TOO_LARGE", "pixels"),
        ({"PixelData": None}, "CUT", "without pixel data"),
    ],
)
def test_a_fault_of_a_slice_is_kept_with_its_identity(slice_of, save, tags, code, word):
    header = read_header(*save([slice_of(0, **tags)]))
    assert header.fault.code == code and word in header.fault.cause
    assert header.series == "1.2.3.4"


def test_a_missing_codec_names_the_package(slice_of, save, monkeypatch):
    class NoDecoder:
        is_available = False

    d = slice_of(0)
    d.file_meta.TransferSyntaxUID = JPEG2000Lossless
    d["PixelData"].is_undefined_length = True
    d.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\4\0\0\0abcd"
    monkeypatch.setattr(dicom_image, "get_decoder", lambda syntax: NoDecoder())
    fault = read_header(*save([d])).fault
    assert fault.code == "CODEC" and "JPEG 2000" in fault.cause
    assert fault.fix == "pip install pylibjpeg-openjpeg"


def test_a_colour_film_is_used_with_a_remark(film, save):
    pixels = np.zeros((3, 4, 3), np.uint8)
    kind = {"SOPClassUID": SecondaryCaptureImageStorage, "Modality": "OT"}
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    header = read_header(*save([film(pixels, **kind, **colour)]))
    assert header.fault is None and "RGB read as one grey channel" in header.remarks


def test_an_empty_patient_is_replaced_by_the_study(slice_of, save):
    a, b, c = (
        read_header(path)
        for path in save(
            [
                slice_of(0, PatientID=""),
                slice_of(1, PatientID="", SeriesInstanceUID="1.5"),
                slice_of(2, PatientID="", StudyInstanceUID="1.6"),
            ]
        )
    )
    assert a.patient == b.patient != c.patient
    assert "PatientID is empty" in a.remarks[0]


def test_files_that_are_no_scans(slice_of, save):
    with pytest.raises(UserError, match="RT Dose Storage"):
        read_header(*save([slice_of(0, SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2")]))


def test_a_modality_against_the_sop_class_is_remarked(slice_of, save):
    (remark,) = read_header(*save([slice_of(0, Modality="MR")])).remarks
    assert remark == "Modality is MR, the SOP class CT Image Storage"


def test_packed_items_under_a_raw_syntax_are_refused(slice_of, save):
    items = bytes.fromhex("feff00e000000000feff00e028000000") + bytes(40)
    header = read_header(*save([slice_of(0, PixelData=items)]))
    assert header.fault.code == "HEADER" and "packed in items" in header.fault.cause
