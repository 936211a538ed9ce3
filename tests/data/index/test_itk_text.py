import numpy as np
import pytest

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
