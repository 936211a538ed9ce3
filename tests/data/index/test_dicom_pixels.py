import numpy as np
import pytest

from medssl.data.index.dicom_header import read_header
from medssl.data.index.dicom_pixels import decode
from medssl.errors import UserError


def test_hounsfield_units_stay_int16_unless_they_cannot(slice_of, save):
    pixels = np.full((4, 5), 50, np.int16)
    plain, wide, fraction = (
        decode(read_header(path))
        for path in save(
            [
                slice_of(0, pixels),
                slice_of(1, pixels, RescaleIntercept=40000),
                slice_of(2, pixels, RescaleSlope=1.5),
            ]
        )
    )
    assert plain.dtype == np.int16 and (plain == -950).all()
    assert wide.dtype == np.int32 and (wide == 40050).all()
    assert fraction.dtype == np.float32 and (fraction == -925).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_monochrome1_films_are_inverted_so_that_dense_is_bright(film, save, dtype):
    pixels = np.array([[0, 1, 2], [100, 101, 120]], dtype)
    tags = {"PhotometricInterpretation": "MONOCHROME1"}
    inverted, plain = (decode(read_header(p)) for p in save([film(pixels, **tags), film(pixels)]))
    assert (plain == pixels).all()
    assert np.array_equal(np.diff(inverted.astype(int)), -np.diff(plain.astype(int)))
    assert inverted.astype(int).max() == (np.iinfo(dtype).max if dtype != np.int16 else -1)


def test_overlay_bits_are_masked_and_the_sign_is_extended(slice_of, save):
    values = np.array([[-2048, -1, 0, 2047]], np.int16)
    stored = ((values.view(np.uint16) & 0x0FFF) | 0x7000).view(np.int16)
    tags = {"BitsStored": 12, "HighBit": 11, "RescaleIntercept": 0}
    assert decode(read_header(*save([slice_of(0, stored, **tags)]))).tolist() == values.tolist()


def test_colour_becomes_luminance_and_grey_colour_stays_exact(film, save):
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 200
    grey = np.full((2, 2, 3), 77, np.uint8)
    a, b = (decode(read_header(p)) for p in save([film(red, **colour), film(grey, **colour)]))
    assert (a == 60).all() and (b == 77).all()


def test_a_broken_stream_is_a_user_error(slice_of, save):
    header = read_header(*save([slice_of(0)]))
    header.path.write_bytes(header.path.read_bytes()[:-20])
    with pytest.raises(UserError, match="UNREADABLE"):
        decode(header)
