import numpy as np
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from medssl.data.index.dicom_codestream import declared_size, is_cut, rle_pixels

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
