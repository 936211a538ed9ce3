import struct

import numpy as np
import pytest
from PIL import Image

from medssl.data.index.film_structure import check_tiff, check_whole
from medssl.errors import UserError

NOISE = np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint8)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"quality": 5}, {"restart_marker_blocks": 1}]
)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_good_jpegs_pass(tmp_path, options, mode):
    path = tmp_path / "a.jpg"
    Image.fromarray(NOISE).convert(mode).save(path, comment=b"\xff\xd8 words", **options)
    check_whole(path, "JPEG")


def test_a_marker_in_the_middle_of_jpeg_data_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(NOISE).save(path)
    raw = bytearray(path.read_bytes())
    scan = raw.index(b"\xff\xda")
    for marker in (b"\xff\xc0", b"\xff\xd8", b"\xff\x01"):
        path.write_bytes(raw[: scan + 200] + marker + raw[scan + 202 :])
        with pytest.raises(UserError, match="HEADER .*where a JPEG segment must begin"):
            check_whole(path, "JPEG")


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"big_tiff": True}])
def test_good_tiffs_pass(tmp_path, options):
    Image.fromarray(NOISE).save(tmp_path / "a.tif", **options)
    check_tiff(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("tag", "change", "words"),
    [
        (262, struct.pack("<HHI", 9999, 3, 1), "lacks PhotometricInterpretation"),
        (262, struct.pack("<HHI", 262, 99, 1), "tag 262 is of type 99"),
        (262, struct.pack("<HHI", 256, 3, 1), "a tag comes twice"),
        (273, struct.pack("<HHI", 9999, 4, 1), "lacks StripOffsets"),
        (273, struct.pack("<HHI", 273, 4, 1 << 30), "tag 273 lies beyond the end"),
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
        check_tiff(path)
    path.write_bytes(raw[:at] + b"\xff\xff" + raw[at + 2 :])
    with pytest.raises(UserError, match="65535 tags"):
        check_tiff(path)
