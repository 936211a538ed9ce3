"""Group C: pixel data of DICOM images."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from medssl.data.index import read, scan
from medssl.data.index.dicom_header import read_header
from medssl.data.index.dicom_pixels import decode
from tests.faults import good

TEST_FILES = Path(pydicom.__file__).parent / "data/test_files"
SYNTAXES = {"rle": RLELossless, "jls": JPEGLSLossless, "j2k": JPEG2000Lossless}


def compressed(syntax, folder: Path, **tags) -> None:
    """A compressed film whose header is changed afterwards."""
    d = good.film(folder, save=False)
    d.compress(syntax)
    for name, value in tags.items():
        setattr(d, name, value)
    d.save_as(folder / "a.dcm", enforce_file_format=True)


def real(name: str, folder: Path) -> None:
    shutil.copy(TEST_FILES / name, folder)


def colour(photometric: str, planar: int, folder: Path) -> None:
    pixels = np.dstack([good.voxels((40, 50), np.uint8)] * 3)
    stored = pixels.transpose(2, 0, 1) if planar else pixels
    good.film(
        folder, np.ascontiguousarray(pixels), SamplesPerPixel=3, PlanarConfiguration=planar,
        PhotometricInterpretation=photometric, PixelData=np.ascontiguousarray(stored).tobytes(),
    )  # fmt: skip


CASES = {
    "C1-rows": ("CUT", partial(good.film, Rows=80)),
    "C1-columns": ("CUT", partial(good.film, Columns=51)),
    "C1-huge": ("CUT|TOO_LARGE", partial(good.film, Rows=65535, Columns=65535)),
    "C1-ct": ("CUT", partial(good.ct, odd=2, Rows=32)),
    "C1-fewer": ("remark: bytes after the pixels", partial(good.film, Rows=30)),
    "C1-half": ("HEADER", partial(good.film, Rows=20)),
    "C1-zero": ("HEADER", partial(good.film, Rows=0)),
    **{
        f"C1-{name}-rows": ("CUT|HEADER|UNREADABLE", partial(compressed, syntax, Rows=80))
        for name, syntax in SYNTAXES.items()
    },
    **{
        f"C1-{name}-fewer": ("HEADER|UNREADABLE", partial(compressed, syntax, Rows=20))
        for name, syntax in SYNTAXES.items()
    },
    "C2-zero": ("SCALE", partial(good.ct, RescaleSlope=0)),
    "C2-zero-in-one": ("SCALE", partial(good.ct, odd=3, RescaleSlope=0)),
    "C2-nan": ("SCALE|HEADER", lambda d: good.replace(
        good.film(d, RescaleSlope="1.2345"), b"1.2345", b"nan   ")),
    "C2-shift-nan": ("SCALE|HEADER", lambda d: good.replace(
        good.film(d, RescaleSlope=1, RescaleIntercept="1.2345"), b"1.2345", b"nan   ")),
    "C2-missing": ("remark: RescaleSlope is missing", partial(
        good.ct, RescaleSlope=None, RescaleIntercept=None)),
    "C2-shift-missing": ("remark: RescaleIntercept is missing", partial(
        good.ct, RescaleIntercept=None)),
    "C4-palette": ("remark: PALETTE COLOR read as one grey", partial(real, "examples_palette.dcm")),
    "C4-rgb": ("remark: RGB read as one grey", partial(colour, "RGB", 0)),
    "C4-planar": ("remark: RGB read as one grey", partial(colour, "RGB", 1)),
    "C4-ybr": ("remark: YBR_FULL_422 read as one grey", partial(
        real, "SC_ybr_full_422_uncompressed.dcm")),
    "C4-ct": ("COLOUR|CUT|GAP", partial(good.ct, odd=1, SamplesPerPixel=3)),
    "C5-frames": ("MULTIFRAME", lambda d: good.film(
        d, good.voxels((80, 50), np.uint16), Rows=40, NumberOfFrames=2)),
    "C5-rle": ("MULTIFRAME", partial(real, "SC_rgb_rle_2frame.dcm")),
    "C5-enhanced": ("MULTIFRAME", partial(
        good.film, SOPClassUID=pydicom.uid.EnhancedCTImageStorage, Modality="CT")),
    "C8-burned": ("remark: text is burned", partial(good.film, BurnedInAnnotation="YES")),
    "C8-burned-ct": ("remark: text is burned", partial(good.ct, BurnedInAnnotation="YES")),
    "C8-burned-one": ("remark: text is burned", partial(
        good.ct, odd=1, BurnedInAnnotation="YES")),
}  # fmt: skip


@pytest.mark.parametrize("row", CASES)
def test_row(row, tmp_path, judge):
    expected, make = CASES[row]
    make(tmp_path)
    found = judge(tmp_path, expected)
    if row in ("C4-rgb", "C4-planar"):
        assert np.array_equal(found[0].array[0], good.voxels((40, 50), np.uint8))


@pytest.mark.parametrize(
    "slopes", [[1, 2, 3, 4, 5], [0.5, 1, 1.5, 2, 2.5], [1, 1, 1, 1, 2]],
    ids=["C2-per-slice", "C2-fractions", "C2-one-slice"],
)  # fmt: skip
def test_each_slice_is_scaled_by_its_own_slope(slopes, tmp_path):
    stored = [good.voxels((16, 20)) for _ in slopes]
    for k, slope in enumerate(slopes):
        place = [-10.0, -20.0, 2.0 * k]
        good.ct(
            tmp_path, count=1, pixels=stored, ImagePositionPatient=place, RescaleSlope=slope,
            RescaleIntercept=-10 * k,
        )  # fmt: skip
        (tmp_path / "slice0.dcm").rename(tmp_path / f"s{k}.dcm")
    array = read(scan(tmp_path)[0]).array[0]
    for k, slope in enumerate(slopes):
        assert np.array_equal(array[..., k].T, stored[k] * slope - 10 * k)


BITS = {
    "C3-12-signed": (12, 11, 1),
    "C3-12-unsigned": (12, 11, 0),
    "C3-10-signed": (10, 9, 1),
    "C3-12-high": (12, 15, 1),
    "C3-16-signed": (16, 15, 1),
}


@pytest.mark.parametrize("row", BITS)
@pytest.mark.parametrize("overlay", [False, True], ids=["plain", "C8-overlay"])
def test_only_the_stored_bits_count(row, overlay, tmp_path):
    bits, high, signed = BITS[row]
    low = -(1 << (bits - 1)) if signed else 0
    values = np.random.default_rng(1).integers(low, low + (1 << bits), (40, 50))
    shift = high - bits + 1
    words = (values & ((1 << bits) - 1)) << shift
    if overlay:  # everything that is no stored bit is set in half of the pixels
        others = 0xFFFF & ~(((1 << bits) - 1) << shift)
        words[::2] |= others
    good.film(
        tmp_path, words.astype(np.uint16), BitsStored=bits, HighBit=high, PixelRepresentation=signed
    )
    assert np.array_equal(read(scan(tmp_path)[0]).array[0], values)


@pytest.mark.parametrize("name", ["J2K_pixelrep_mismatch.dcm", "693_J2KI.dcm"],
                         ids=["C3-j2k-sign", "C3-693"])  # fmt: skip
def test_the_sign_of_real_jpeg_2000_files(name):
    header = read_header(TEST_FILES / name)
    dataset = pydicom.dcmread(TEST_FILES / name)
    expected = dataset.pixel_array * float(dataset.get("RescaleSlope", 1))
    expected = expected + float(dataset.get("RescaleIntercept", 0))
    padding = dataset.get("PixelPaddingValue")
    same = np.ones(expected.shape, bool) if padding is None else dataset.pixel_array != padding
    assert np.array_equal(decode(header)[same], expected[same])


@pytest.mark.parametrize("bits", [8, 12, 16], ids=["C4-mono8", "C4-mono12", "C4-mono16"])
def test_monochrome1_is_inverted(bits, tmp_path):
    values = good.voxels((40, 50), np.uint16) & ((1 << bits) - 1)
    values = values.astype(np.uint8 if bits == 8 else np.uint16)
    good.film(
        tmp_path, values, PhotometricInterpretation="MONOCHROME1", BitsStored=bits, HighBit=bits - 1
    )
    top = (1 << bits) - 1
    assert np.array_equal(read(scan(tmp_path)[0]).array[0], top - values.astype(int))


@pytest.mark.parametrize("syntax", list(SYNTAXES))
@pytest.mark.parametrize("table", ["none", "right"])
@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_fragments_and_offset_tables_change_nothing(syntax, table, pieces, tmp_path):
    """C6; an RLE frame may have one fragment only."""
    d = good.film(tmp_path, save=False)
    d.compress(SYNTAXES[syntax])
    stream = next(pydicom.encaps.generate_frames(d.PixelData, number_of_frames=1))
    pieces = 1 if syntax == "rle" else pieces
    d.PixelData = pydicom.encaps.encapsulate([stream], pieces, has_bot=table == "right")
    d.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert np.array_equal(read(scan(tmp_path)[0]).array[0], good.voxels((40, 50), np.uint16))


@pytest.mark.parametrize("offset", [7, 4000, 2**31], ids=["C6-odd", "C6-far", "C6-beyond"])
def test_a_wrong_offset_table_is_refused_or_changes_nothing(offset, tmp_path, judge):
    d = good.film(tmp_path, save=False)
    d.compress(JPEG2000Lossless)
    raw = bytearray(d.PixelData)
    if int.from_bytes(raw[4:8], "little") == 0:
        raw[4:8] = (4).to_bytes(4, "little")
        raw[8:8] = bytes(4)
    raw[8:12] = offset.to_bytes(4, "little")
    d.PixelData = bytes(raw)
    d.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    judge(tmp_path, "ok")


FAMILIES = {
    "C7-MR": ["MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless",
              "MR_small_bigendian", "MR_small_implicit", "MR_small_expb", "MR_small_padded"],
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES["C7-MR"], ids=[f"C7-{n}" for n in FAMILIES["C7-MR"]])
def test_one_image_in_all_lossless_syntaxes(name):
    first = decode(read_header(TEST_FILES / "MR_small.dcm"))
    assert np.array_equal(decode(read_header(TEST_FILES / f"{name}.dcm")), first)


@pytest.mark.parametrize("syntax", list(SYNTAXES), ids=[f"C7-{s}" for s in SYNTAXES])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_lossless_compression_changes_nothing(syntax, dtype, tmp_path):
    values = good.voxels((40, 50), np.int32).astype(dtype)
    d = good.film(tmp_path, values, save=False)
    d.compress(SYNTAXES[syntax])
    d.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert np.array_equal(read(scan(tmp_path)[0]).array[0], values)


@pytest.mark.parametrize(
    ("dtype", "tags", "padding"),
    [
        (np.int16, {"PixelPaddingValue": -2000}, [-2000]),
        (np.uint16, {"PixelPaddingValue": 63536}, [63536]),
        (np.int16, {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990}, [-2000, -1995]),
    ],
    ids=["C9-below", "C9-above", "C9-range"],
)
def test_padding_stays_out_of_the_statistics(dtype, tags, padding, tmp_path, judge):
    values = good.voxels((40, 50), np.int32)
    values[:10] = padding[0]
    values[:5] = padding[-1]
    kind = "SS" if dtype == np.int16 else "US"
    d = good.film(tmp_path, values.astype(dtype), save=False)
    for name, value in tags.items():
        d.add_new(name, kind, value)
    d.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    array = judge(tmp_path, "remark: PixelPaddingValue")[0].array[0]
    assert (array[:10] == values[10:].min()).all()
    assert np.array_equal(array[10:], values[10:])
