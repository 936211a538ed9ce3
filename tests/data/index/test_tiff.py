"""A TIFF's directory must say what its pixels are."""

import struct

import numpy as np
import pytest
from PIL import Image

from medssl.data.index import tiff
from medssl.errors import UserError

NOISE = np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint8)


def check(path) -> None:
    with Image.open(path) as image:
        assert tiff.check(image, path) == []


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"big_tiff": True}])
def test_good_tiffs_pass(tmp_path, options):
    Image.fromarray(NOISE).save(tmp_path / "a.tif", **options)
    check(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("tag", "change", "words"),
    [
        (262, struct.pack("<HHI", 9999, 3, 1), "lacks PhotometricInterpretation"),
        (262, struct.pack("<HHI", 262, 99, 1), "tag 262 .*no known type .99."),
        (262, struct.pack("<HHI", 256, 3, 1), "tag 256 comes twice"),
    ],
)
def test_a_directory_that_says_too_little_is_refused(tmp_path, tag, change, words):
    path = tmp_path / "a.tif"
    Image.fromarray(NOISE).save(path)
    raw = bytearray(path.read_bytes())
    at, count = struct.unpack_from("<I", raw, 4)[0], 0
    while struct.unpack_from("<H", raw, at + 2 + 12 * count)[0] != tag:
        count += 1
    place = at + 2 + 12 * count
    path.write_bytes(raw[:place] + change + raw[place + 8 :])
    with pytest.raises(UserError, match=words):
        check(path)
    path.write_bytes(raw[:at] + b"\xff\xff" + raw[at + 2 :])
    with pytest.raises(UserError, match="65535 tags"):
        check(path)
