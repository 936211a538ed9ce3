import numpy as np
import pytest
from PIL import Image

from medssl.data.index.film_structure import check_whole
from medssl.data.index.image2d import inspect, read
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


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_what_lies_behind_the_end_hides_no_end_and_makes_none(tmp_path, name):
    path = tmp_path / name
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(1 << 17))
    assert inspect([path])[0].used and read([path]).shape == (64, 64)
    path.write_bytes(whole[: len(whole) // 2])
    assert inspect([path])[0].code == "CUT"


def test_the_end_of_a_thumbnail_is_not_the_end_of_a_jpeg(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    exif = b"\xff\xe1" + (2 + 8).to_bytes(2, "big") + b"Exif\0\0\xff\xd9"
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    raw = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(raw[:2] + exif + raw[2:-200])
    with pytest.raises(UserError, match="CUT .*end marker is missing"):
        check_whole(tmp_path / "a.jpg", "JPEG")


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n"),
        ("a.jpg", b"\xff\xd8\xff"),
        ("b.jpg", b"\xff\xd8\xff\xe0\0\4ab"),
    ],
)
def test_zeros_behind_a_good_beginning_are_refused_at_once(tmp_path, name, start):
    with open(tmp_path / name, "wb") as stream:
        stream.write(start)
        stream.truncate(1 << 33)
    assert inspect([tmp_path / name])[0].code == "HEADER"
