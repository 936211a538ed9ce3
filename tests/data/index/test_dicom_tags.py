import io
import zlib

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medssl.data.index import checks, dicom_tags
from medssl.data.index.dicom_header import read_header
from medssl.data.index.dicom_tags import floats, integer, load, text
from medssl.errors import UserError


def test_a_file_without_preamble_and_meta_is_read_with_a_remark(slice_of, tmp_path):
    d, path = slice_of(0), tmp_path / "bare.dcm"
    del d.file_meta
    pydicom.dcmwrite(path, d, implicit_vr=False, little_endian=True, enforce_file_format=False)
    assert path.read_bytes()[128:132] != b"DICM"
    header = read_header(path)
    assert header.fault is None and header.rows == 4
    assert "no DICOM preamble" in header.remarks[0]


def test_a_broken_tag_is_named_and_an_unneeded_one_harms_nobody(slice_of, save):
    path = save([slice_of(0)])[0]
    path.write_bytes(path.read_bytes().replace(b"0.5\\0.7", b"0,5\\0.7"))
    fault = read_header(path).fault
    assert fault.code == "HEADER" and "PixelSpacing" in fault.cause and "0,5" in fault.cause
    other = save([slice_of(1, PatientWeight="71.25")], "other")[0]
    raw = other.read_bytes()
    other.write_bytes(raw.replace(b"71.25", b"7x.25"))
    assert other.read_bytes() != raw and read_header(other).fault is None


def test_values(tmp_path):
    d = pydicom.Dataset()
    d.Rows, d.PatientID = 5, " A "
    assert integer(d, "Rows", tmp_path) == 5 and integer(d, "Columns", tmp_path, 7) == 7
    assert text(d, "PatientID") == "A" and text(d, "StudyID") == ""
    assert floats(d, "PixelSpacing", 2, tmp_path) is None
    with pytest.raises(UserError, match="Columns is missing"):
        integer(d, "Columns", tmp_path)
    d.PixelSpacing = [1.0, 2.0, 3.0]
    with pytest.raises(UserError, match="expected 2 numbers"):
        floats(d, "PixelSpacing", 2, tmp_path)


def test_a_deflated_bomb_is_refused_before_it_is_inflated(slice_of, tmp_path, monkeypatch):
    d, path = slice_of(0), tmp_path / "bomb.dcm"
    d.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    d.save_as(path, enforce_file_format=True)
    assert read_header(path).fault is None
    monkeypatch.setattr(checks, "BOMB_BYTES", 1 << 20)
    raw = path.read_bytes()
    start = 144 + int.from_bytes(raw[140:144], "little")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    path.write_bytes(raw[:start] + deflate.compress(bytes(4 << 20)) + deflate.flush())
    monkeypatch.setattr(zlib, "decompress", lambda *a, **k: pytest.fail("was inflated whole"))
    with pytest.raises(UserError, match="TOO_LARGE"):
        load(path, pixels=False)


@pytest.mark.parametrize(("size", "most"), [(100, 10), (64 * 50, 50), (64 * 10_000, 100)])
def test_large_files_may_hold_more_elements(tmp_path, monkeypatch, size, most):
    monkeypatch.setattr(dicom_tags, "MOST_PIECES", 10)
    (tmp_path / "a").write_bytes(bytes(size))
    with io.FileIO(tmp_path / "a") as raw:
        assert dicom_tags.Bounded(raw).most == most
