import gzip

import numpy as np
import pytest

from medssl.data.index.sniff import identify
from medssl.errors import UserError

NIFTI = bytes(344) + b"n+1\0"


@pytest.mark.parametrize(
    ("content", "format"),
    [
        (bytes(128) + b"DICM", "dicom"),
        (b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", "dicom"),
        (b"\x00\x08\x00\x05CS\x00\x0aISO_IR 100", "dicom"),
        (b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 100", "dicom"),
        (NIFTI, "nifti"),
        (gzip.compress(NIFTI, mtime=0), "nifti"),
        (b"\x1c\x02\0\0n+2\0" + bytes(532), "nifti"),
        (b"ObjectType = Image\nNDims = 3\n", "itk"),
        (b"NRRD0004\n", "itk"),
        (b"\x89PNG\r\n\x1a\n", "image2d"),
        (b"\xff\xd8\xff\xe0", "image2d"),
        (b"II*\0", "image2d"),
    ],
)
@pytest.mark.parametrize("name", ["a", "a.txt", "a.nii.gz", "a.dcm"])
def test_content_decides_whatever_the_suffix(tmp_path, content, format, name):
    (tmp_path / name).write_bytes(content)
    assert identify(tmp_path / name) == format


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("a.dcm", b"", "EMPTY", "0 bytes"),
        ("a.nii.gz", b"<html>404", "UNREADABLE", "HTML"),
        ("a.dcm", b"version https://git-lfs.github.com/spec/v1", "UNREADABLE", "git-LFS"),
        ("a.nii.gz", gzip.compress(b"x" * 2000, mtime=0), "UNREADABLE", "no NIfTI header"),
        ("a.nii.gz", b"\x1f\x8b\x08broken", "UNREADABLE", "cannot be read"),
        ("a.tar.gz", gzip.compress(b"x" * 2000, mtime=0), "UNSUPPORTED", "gzip archive"),
        ("a.dcm.gz", gzip.compress(bytes(128) + b"DICM", mtime=0), "UNSUPPORTED", "gzipped DICOM"),
        ("a.hdr", np.int32(348).tobytes() + bytes(344), "UNSUPPORTED", "Analyze"),
        ("a.nii", np.int32(348).tobytes() + bytes(344), "UNREADABLE", "magic"),
        ("a.mnc", b"\x89HDF\r\n", "UNSUPPORTED", "HDF5"),
        ("a.csv", b"id,label\n", "NOT_IMAGE", "a csv file"),
        ("README", b"hello", "NOT_IMAGE", "plain text"),
    ],
)
def test_what_else_a_file_is(tmp_path, name, content, code, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        identify(tmp_path / name)
    assert caught.value.code == code and words in caught.value.cause


def test_a_file_that_is_gone(tmp_path):
    with pytest.raises(UserError, match="UNREADABLE"):
        identify(tmp_path / "gone")
