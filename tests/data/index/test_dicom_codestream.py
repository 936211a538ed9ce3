import numpy as np
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from medssl.data.index.dicom_codestream import (
    declared_size,
    frame_streams,
    is_cut,
    rle_pixels,
    size_of,
)

PIXELS = np.random.default_rng(0).integers(0, 4000, (67, 71)).astype(np.uint16)


def compressed(film, syntax):
    d = film(PIXELS)
    d.compress(syntax)
    return d, next(generate_frames(d.PixelData, number_of_frames=1))


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_size_and_end_of_a_stream(film, tmp_path, syntax):
    d, stream = compressed(film, syntax)
    for has_table in (True, False):
        (tmp_path / "a").write_bytes(b"before" + encapsulate([stream], has_bot=has_table))
        assert declared_size(tmp_path / "a", 6) == (67, 71)
    assert not is_cut(stream) and not is_cut(stream + b"\0") and is_cut(stream[:-30])
    (tmp_path / "a").write_bytes(encapsulate([b"neither of them"]))
    assert declared_size(tmp_path / "a", 0) is None


def test_pixels_of_an_rle_stream(film):
    flat = film(np.zeros((67, 71), np.uint8))
    flat.compress(RLELossless)
    noisy = compressed(film, RLELossless)[1]
    assert rle_pixels(next(generate_frames(flat.PixelData, number_of_frames=1))) == 67 * 71
    assert rle_pixels(noisy) == 67 * 71
    assert rle_pixels(noisy[:300]) < 67 * 71


SHORT, LONG = b"ab" + b"\xff\xd9", b"0123456789" * 3 + b"\xff\xd9"


@pytest.mark.parametrize("has_table", [True, False])
@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_streams_of_frames_in_any_number_of_fragments(has_table, pieces):
    frames = [LONG, LONG[::-1][2:] + LONG[-2:], LONG]
    pixels = encapsulate(frames, fragments_per_frame=pieces, has_bot=has_table)
    assert frame_streams(pixels, 3) == frames
    assert frame_streams(pixels, 1) == [b"".join(frames)]


def test_an_offset_table_that_leads_astray_does_not_count():
    pixels = bytearray(encapsulate([LONG, SHORT, LONG], fragments_per_frame=1))
    pixels[12:16] = (9).to_bytes(4, "little")
    assert frame_streams(bytes(pixels), 3) == [LONG, SHORT, LONG]
    pieces = bytearray(encapsulate([LONG, LONG], fragments_per_frame=2))
    pieces[12:16] = (9).to_bytes(4, "little")
    assert frame_streams(bytes(pieces), 2) == [LONG, LONG]


def test_frames_that_nothing_tells_apart():
    assert frame_streams(encapsulate([bytes(40)], fragments_per_frame=3), 2) is None
    assert frame_streams(encapsulate([LONG, LONG]), 3) is None


def test_size_of_bytes(film):
    _, stream = compressed(film, JPEG2000Lossless)
    assert size_of(stream) == (67, 71) and size_of(b"abc") is None
