"""A TIFF's directory must say what its pixels are."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from medssl.data.index import tiff
from medssl.data.index.image2d import inspect, read
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


def deflated_tiles(path):
    """40 x 50 pixels in tiles of 16 x 32, as scanners of slides write them."""
    tiles, padded = [], np.zeros((48, 64), np.uint8)
    padded[:40, :50] = NOISE
    for row in range(0, 48, 16):
        for column in range(0, 64, 32):
            tiles.append(zlib.compress(padded[row : row + 16, column : column + 32].tobytes()))
    data, starts = b"", []
    for tile in tiles:
        starts.append(8 + len(data))
        data += tile
    tables = [len(tile) for tile in tiles], starts
    at = 8 + len(data)
    for values in tables:
        data += struct.pack(f"<{len(values)}I", *values)
    numbers = [(256, 50), (257, 40), (258, 8), (259, 8), (262, 1), (277, 1), (322, 32), (323, 16)]
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in numbers]
    entries.append(struct.pack("<HHII", 324, 4, len(tiles), at + 4 * len(tiles)))
    entries.append(struct.pack("<HHII", 325, 4, len(tiles), at))
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory)


def test_deflated_tiles_are_read(tmp_path):
    deflated_tiles(tmp_path / "a.tif")
    assert inspect([tmp_path / "a.tif"])[0].used
    assert np.array_equal(read([tmp_path / "a.tif"]).array[0], NOISE)


def set_tag(path, tag: int, value: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[raw.index(struct.pack("<HHI", tag, 3, 1)) + 8] = value
    path.write_bytes(raw)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero_is_read_as_black_is_zero(tmp_path, dtype):
    values = NOISE.astype(dtype) * (dtype == np.uint16 and 200 or 1)
    Image.fromarray(values).save(tmp_path / "a.tif")
    set_tag(tmp_path / "a.tif", 262, 0)
    assert np.array_equal(read([tmp_path / "a.tif"]).array[0], np.iinfo(dtype).max - values)


def test_32_bit_pixels_beyond_31_bits_are_refused(tmp_path):
    for top, fine in ((2**31 - 1, True), (3_000_000_000, False)):
        values = np.full((4, 5), top, np.uint32)
        Image.fromarray(values.view(np.int32)).save(tmp_path / "a.tif")
        set_tag(tmp_path / "a.tif", 339, 1)
        if fine:
            assert (read([tmp_path / "a.tif"]).array == top).all()
        else:
            with pytest.raises(UserError, match="DTYPE .*beyond 31 bits"):
                read([tmp_path / "a.tif"])
