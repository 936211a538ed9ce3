import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from medssl.data.index.dicom_header import read_header
from medssl.data.index.dicom_pixels import LUMINANCE, decode, decode_all
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


RGB = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}


def test_planes_of_colour_are_the_same_as_pixels_of_colour(film, save):
    pixels = np.random.default_rng(0).integers(0, 255, (6, 4, 3)).astype(np.uint8)
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)).tobytes()
    a, b = (
        decode(read_header(path))
        for path in save(
            [
                film(pixels, PlanarConfiguration=0, **RGB),
                film(pixels, PlanarConfiguration=1, PixelData=planes, **RGB),
            ]
        )
    )
    assert np.array_equal(a, b) and np.array_equal(a, np.rint(pixels @ LUMINANCE))


@pytest.mark.parametrize("bits", [8, 16])
def test_palette_colours_are_looked_up(film, save, bits):
    index = np.array([[0, 1, 2], [3, 2, 0]], np.uint8)
    colours = np.array([[0, 0, 0], [10, 10, 10], [200, 0, 0], [0, 100, 50]])
    dtype, shift = (np.uint16, 8) if bits == 16 else (np.uint8, 0)
    tags = {"PhotometricInterpretation": "PALETTE COLOR"}
    for k, name in enumerate(("Red", "Green", "Blue")):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, bits]
        table = (colours[:, k] << shift).astype(dtype).tobytes()
        tags[f"{name}PaletteColorLookupTableData"] = table
    found = decode(read_header(*save([film(index, **tags)])))
    assert np.array_equal(found, np.rint((colours << shift)[index] @ LUMINANCE))


def test_monochrome1_slices_keep_their_scale(slice_of, save):
    pixels = np.full((4, 5), 50, np.int16)
    found = decode(
        read_header(*save([slice_of(0, pixels, PhotometricInterpretation="MONOCHROME1")]))
    )
    assert (found == -950).all()


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize(("bits", "high"), [(12, 11), (12, 15), (10, 12), (16, 15)])
def test_big_endian_words_with_other_bits_set(film, save, bits, high, signed):
    low = -(1 << (bits - 1)) if signed else 0
    values = np.random.default_rng(2).integers(low, low + (1 << bits), (8, 6))
    mask, shift = (1 << bits) - 1, high - bits + 1
    words = ((values & mask) << shift) | (0xFFFF & ~(mask << shift))
    tags = {"BitsStored": bits, "HighBit": high, "PixelRepresentation": signed}
    d = film(words.astype(np.uint16), PixelData=words.astype(">u2").tobytes(), **tags)
    d.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    assert np.array_equal(decode(read_header(*save([d]))), values)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless], ids=["rle", "jls"])
@pytest.mark.parametrize("has_table", [True, False])
@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_fragments_of_one_frame_are_joined(slice_of, save, syntax, has_table, pieces):
    d = slice_of(0, np.random.default_rng(3).integers(0, 4000, (40, 50)).astype(np.int16))
    values = d.pixel_array
    d.compress(syntax)
    (stream,) = pydicom.encaps.generate_frames(d.PixelData, number_of_frames=1)
    d.PixelData = pydicom.encaps.encapsulate(
        [stream], fragments_per_frame=pieces, has_bot=has_table
    )
    assert np.array_equal(decode(read_header(*save([d]))), values - 1000)


def test_padding_is_the_lowest_value_of_each_slice(slice_of, save):
    pixels = np.array([[-2000, 5, 9], [7, -2000, 30]], np.int16)
    found = decode(read_header(*save([slice_of(0, pixels, PixelPaddingValue=-2000)])))
    assert found.tolist() == [[-995, -995, -991], [-993, -995, -970]]


@pytest.mark.parametrize("syntax", [None, JPEG2000Lossless])
def test_bits_that_are_dropped_are_remarked(slice_of, save, syntax):
    whole = slice_of(0, np.full((40, 50), 0x07FF, np.int16), BitsStored=12, HighBit=11)
    short = slice_of(1, np.full((40, 50), 0x07FF, np.int16), BitsStored=12, HighBit=11)
    if syntax:
        short.compress(syntax)
    short.BitsStored, short.HighBit = 10, 9
    headers = [read_header(path) for path in save([whole, short])]
    assert decode_all(headers[:1])[1] == ()
    assert decode_all(headers)[1] == (
        "i001.dcm: bits beyond BitsStored are set; they were dropped (1 of 2 images)",
    )
    extended = slice_of(0, np.full((40, 50), -1, np.int16), BitsStored=12, HighBit=11)
    assert decode_all([read_header(*save([extended]))])[1] == ()


@pytest.mark.parametrize("bits", [10, 12])
def test_rle_leaves_bits_where_the_header_says_they_are(film, save, bits):
    values = np.random.default_rng(5).integers(0, 1 << bits, (40, 50)).astype(np.uint16)
    raw = film(values << (16 - bits), BitsStored=bits, HighBit=15)
    packed = film(values << (16 - bits), BitsStored=16, HighBit=15)
    packed.compress(RLELossless)
    packed.BitsStored = bits
    plain, rle = (decode(read_header(path)) for path in save([raw, packed]))
    assert np.array_equal(plain, values) and np.array_equal(rle, values)


def test_a_padding_value_that_no_pixel_can_have_pads_nothing(film, save):
    pixels = np.array([[255, 5, 9]], np.uint8)
    assert decode(read_header(*save([film(pixels, PixelPaddingValue=65535)]))).tolist() == [
        [255, 5, 9]
    ]
