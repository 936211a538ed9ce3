import re

import numpy as np
import pytest

from medssl.data.index.itk import inspect
from medssl.data.index.itk_text import read_text
from medssl.errors import UserError

NRRD = "NRRD0004\ntype: {}\ndimension: 2\nsizes: 2 3\nencoding: raw\nspacings: 1 1\n"
META = "ObjectType = Image\nNDims = 2\nDimSize = 2 3\nElementSpacing = 1 1\n"


@pytest.mark.parametrize(
    ("name", "dtype"),
    {"short": "i2", "unsigned short": "u2", "uint16_t": "u2", "int8": "i1", "uchar": "u1",
     "unsigned char": "u1", "float": "f4", "double": "f8", "signed int": "i4",
     "unsigned long long": "u8", "ulonglong": "u8"}.items(),
)  # fmt: skip
def test_types_of_nrrd(tmp_path, name, dtype):
    path = tmp_path / "a.nrrd"
    path.write_bytes(NRRD.format(name).encode() + b"\n" + bytes(6 * np.dtype(dtype).itemsize))
    text = read_text(path)
    assert (text.dtype, text.sizes, text.packing) == (np.dtype(dtype), (2, 3), "raw")
    assert path.read_bytes()[text.start :] == bytes(text.expected)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ("ElementType = MET_UCHAR\nElementType = MET_SHORT\n", "HEADER"),
        ("elementtype = MET_UCHAR\nElementType = MET_SHORT\n", "HEADER"),
        ("ElementType = MET_UCHAR\nElementNumberOfChannels = 3\n", "DTYPE"),
        ("ElementType = MET_UCHAR\nelementdatafile = LOCAL\n", "HEADER"),
        ("ElementType = MET_UCHAR\nHeaderSize = x\n", "HEADER"),
    ],
)
def test_headers_that_two_readers_may_read_apart_are_refused(tmp_path, lines, code):
    path = tmp_path / "a.mha"
    path.write_bytes((META + lines + "ElementDataFile = LOCAL\n").encode() + bytes(6))
    with pytest.raises(UserError, match=f"^{code}"):
        read_text(path)


VOLUME = (
    "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 3 2\nencoding: {}\n"
    "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,2)\n"
)
PLACED = (
    "ObjectType = Image\nNDims = 3\nDimSize = 2 3 2\nElementType = MET_UCHAR\n"
    "ElementSpacing = 1 1 2\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n"
)


@pytest.mark.parametrize("line", ["byteskip: 4", "byte skip: 4"])
def test_both_spellings_of_an_nrrd_key_count(tmp_path, line):
    path = tmp_path / "a.nrrd"
    path.write_bytes((VOLUME.format("raw") + line + "\n\n").encode() + b"skip" + bytes(range(12)))
    assert path.read_bytes()[read_text(path).start :] == bytes(range(12))


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("raw\n", "raw\nlineskip: 1\n", "UNSUPPORTED"),
        ("raw\n", "gzip\nbyte skip: 4\n", "UNSUPPORTED"),
        ("raw\n", "raw\nbyteskip: 0\nbyte skip: 4\n", "HEADER"),
        ("(0,0,2)", "none", "GEOMETRY"),
        ("(0,0,2)", "", "GEOMETRY"),
        ("raw\n", "raw\nkinds: space space time\n", "SERIES_4D"),
        ("raw\n", "raw\nkinds: space space vector\n", "GEOMETRY"),
        ("raw\n", "raw\nspacings: 1 1 1\n", "HEADER"),
    ],
)
def test_axes_that_are_not_all_space_are_refused(tmp_path, old, new, code):
    path = tmp_path / "a.nrrd"
    path.write_bytes((VOLUME.format("raw").replace(old, new) + "\n").encode() + bytes(12))
    with pytest.raises(UserError, match=f"^{code} "):
        read_text(path)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("left-posterior-superior", "3D-left-handed", "orientation unknown"),
        ("left-posterior-superior", "scanner-xyz", "orientation unknown"),
        ("raw\n", 'raw\nspace units: "um" "um" "um"\n', "length unit is .* read as mm"),
    ],
)
def test_space_and_units_in_doubt_are_remarked(tmp_path, old, new, word):
    path = tmp_path / "a.nrrd"
    text = VOLUME.format("raw")
    path.write_bytes((text + "\n").encode() + bytes(12))
    assert read_text(path).remarks == []
    path.write_bytes((text.replace(old, new) + "\n").encode() + bytes(12))
    (remark,) = read_text(path).remarks
    assert re.search(word, remark)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ("BinaryDataByteOrderMSB = False\nElementByteOrderMSB = True\n", "HEADER"),
        ("ElementToIntensityFunctionSlope = 2\n", "SCALE"),
        ("ElementToIntensityFunctionOffset = -1024\n", "SCALE"),
        ("HeaderSize = 100\n", "HEADER"),
    ],
)
def test_metaimage_keys_that_change_the_values_are_refused(tmp_path, lines, code):
    path = tmp_path / "a.mha"
    path.write_bytes((PLACED + lines + "ElementDataFile = LOCAL\n").encode() + bytes(12))
    with pytest.raises(UserError, match=f"^{code} "):
        read_text(path)


def test_metaimage_units_are_remarked_and_a_stretched_matrix_is_refused(tmp_path):
    path = tmp_path / "a.mha"
    end = "ElementToIntensityFunctionSlope = 1\nDistanceUnits = um\nElementDataFile = LOCAL\n"
    path.write_bytes((PLACED + end).encode() + bytes(12))
    assert read_text(path).remarks == ["the header's length unit is um; read as mm"]
    path.write_bytes((PLACED.replace("= 1 0 0", "= 2 0 0") + end).encode() + bytes(12))
    (row,) = inspect([path])
    assert row.code == "GEOMETRY" and "lengths 2.0x1.0x1.0" in row.reason
