"""The values of one DICOM image: decoded, masked to the stored bits, rescaled, made grey."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from medssl.data.index.dicom_codestream import frame_streams, is_cut, rle_pixels, size_of
from medssl.data.index.dicom_slice import Header
from medssl.data.index.dicom_tags import floats, load
from medssl.data.index.row import unreadable
from medssl.errors import UserError

LUMINANCE = np.array([0.299, 0.587, 0.114])
FEW_BITS = 2**15


def decode(header: Header) -> np.ndarray:
    """Values of one image (rows, columns): HU for CT, as scaled by the header elsewhere.

    Pixels that hold PixelPaddingValue get the lowest of the other values.
    int16 or int32 where the rescale keeps integers, else float32. A film in MONOCHROME1 is
    inverted, so that after reading high means bright means dense. Raises UserError.
    """
    return decode_all([header])[0][0]


def decode_all(headers: list[Header]) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """As `decode` for each of several images, and remarks; a file of many frames is loaded once."""
    of_file, found, spilt = defaultdict(list), {}, []
    for header in headers:
        of_file[header.path].append(header)
    for path, wanted in of_file.items():
        image = _Image(path, wanted[0].frames)
        found |= {(path, header.frame): image.values(header) for header in wanted}
        spilt += image.spilt
    remarks = ()
    if spilt:
        words = f"{spilt[0].name}: bits beyond BitsStored are set; they were dropped"
        remarks = (words + f" ({len(spilt)} of {len(headers)} images)" * (len(headers) > 1),)
    return [found[header.path, header.frame] for header in headers], remarks


class _Image:
    """A file with its pixels, still packed; `streams` has one a frame if they are compressed.

    `spilt` are the images decoded so far whose pixels take more bits than BitsStored says.
    """

    def __init__(self, path: Path, frames: int):
        self.dataset, _ = load(path, pixels=True)
        self.streams, self.spilt = None, []
        _complete_meta(self.dataset)
        syntax = self.dataset.file_meta.TransferSyntaxUID
        if syntax.is_compressed and not syntax.is_deflated:
            try:
                self.streams = frame_streams(self.dataset.PixelData, frames)
            except ValueError as error:
                raise unreadable(path, error) from error
            if self.streams is None:
                cause = f"the compressed pixels cannot be told apart into {frames} frame(s)"
                raise UserError("UNREADABLE", path, cause, "export it again")
            self.dataset.NumberOfFrames = 1

    def values(self, header: Header) -> np.ndarray:
        dataset, index = self.dataset, max(header.frame - 1, 0)
        if self.streams is not None:
            stream, index = self.streams[index], 0
            _refuse_stream(stream, dataset, header)
            dataset.PixelData = encapsulate([stream], has_bot=False)
        try:
            # Unused bits are dropped below: pydicom drops the highest ones, wherever HighBit is.
            stored = pixel_array(dataset, index=index, correct_unused_bits=False)
        except Exception as error:  # codecs raise anything on a broken stream
            raise unreadable(header.path, error) from error
        if stored.ndim == 2 and _spills(stored, dataset):
            self.spilt.append(header)
        return _values(stored, dataset, header)


def _values(stored: np.ndarray, dataset: pydicom.Dataset, header: Header) -> np.ndarray:
    if stored.shape[:2] != (header.rows, header.columns):
        cause = f"decoded to {stored.shape}, expected {header.rows}x{header.columns}"
        raise UserError("UNREADABLE", header.path, cause, "export it again")
    if header.photometric == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
    if stored.ndim == 3:
        return _grey(stored)
    stored = _stored_bits(stored, dataset)
    padded = _padded(stored, dataset, header.path)
    if header.photometric == "MONOCHROME1" and not header.sliced:
        stored = _inverted(stored, dataset)
    values = _rescaled(stored, dataset, header)
    if padded.any() and not padded.all():
        values = values.copy()
        values[padded] = values[~padded].min()
    return values


def _complete_meta(dataset: pydicom.Dataset) -> None:
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


def _refuse_stream(stream: bytes, dataset: pydicom.Dataset, header: Header) -> None:
    """Raises UserError for a stream of another size or without its end, before it is decoded."""
    path, expected = header.path, header.rows * header.columns
    if dataset.file_meta.TransferSyntaxUID == RLELossless:
        found = rle_pixels(stream)
        if not expected <= found <= expected + expected % 2:
            cause = f"{_which(header)} has {found} pixels, Rows x Columns are {expected}"
            raise UserError(
                "CUT" if found < expected else "HEADER", path, cause, "fetch or export it again"
            )
    declared = size_of(stream)
    if declared not in (None, (header.rows, header.columns)):
        cause = f"{_which(header)} is {declared[0]}x{declared[1]}, "
        cause += f"Rows and Columns say {header.rows}x{header.columns}"
        raise UserError("HEADER", path, cause, "export it again")
    if is_cut(stream):
        cause = f"{_which(header)} of {len(stream)} bytes has no end marker"
        raise UserError("CUT", path, cause, "fetch the file again")


def _which(header: Header) -> str:
    return "the compressed image" + (f" of frame {header.frame}" if header.frame else "")


def _grey(colours: np.ndarray) -> np.ndarray:
    if (colours == colours[..., :1]).all():
        return _smallest(colours[..., 0])
    return _smallest(np.rint(colours[..., :3] @ LUMINANCE).astype(np.int64))


def _stored_bits(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Drop overlay planes in unused high bits and extend the sign from the highest stored bit."""
    allocated, bits = stored.dtype.itemsize * 8, int(dataset.BitsStored)
    if bits >= allocated:
        return stored
    high = _high_bit(stored, dataset)
    return np.right_shift(np.left_shift(stored, allocated - 1 - high), allocated - bits)


def _high_bit(stored: np.ndarray, dataset: pydicom.Dataset) -> int:
    lowest = int(dataset.BitsStored) - 1
    high = int(dataset.get("HighBit", lowest))
    syntax = dataset.file_meta.TransferSyntaxUID
    aligned = syntax.is_compressed and syntax != RLELossless  # by the decoder, to the lowest bit
    return high if lowest <= high < stored.dtype.itemsize * 8 and not aligned else lowest


def _spills(stored: np.ndarray, dataset: pydicom.Dataset) -> bool:
    """Whether bits above the highest stored one are set that do not just repeat the sign."""
    allocated, high = stored.dtype.itemsize * 8, _high_bit(stored, dataset)
    if high >= allocated - 1:
        return False
    above = stored.view(f"u{stored.dtype.itemsize}") >> (high + 1)
    if stored.dtype.kind == "i":
        return bool((above * ((stored >> high) != -1)).any())
    return bool(above.any())


def _padded(stored: np.ndarray, dataset: pydicom.Dataset, path: Path) -> np.ndarray:
    """Where pixels lie outside the field of view, as PixelPaddingValue and its range limit say."""
    ends, bound = [], 1 << (stored.dtype.itemsize * 8 - 1)
    for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = floats(dataset, name, 1, path)
        # Unsigned words may mean signed pixels of the same bytes; wider ones mean no pixel.
        if value is not None and -bound <= value[0] < 2 * bound:
            ends.append(int(np.array(int(value[0])).astype(stored.dtype)))
    if not ends:
        return np.zeros(stored.shape, bool)
    return (stored >= min(ends)) & (stored <= max(ends))


def _inverted(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    top = (1 << int(dataset.BitsStored)) - 1 if stored.dtype.kind == "u" else -1
    return (top - stored.astype(np.int64)).astype(np.int64)


def _rescaled(stored: np.ndarray, dataset: pydicom.Dataset, header: Header) -> np.ndarray:
    if "ModalityLUTSequence" in dataset:
        return _smallest(apply_modality_lut(stored, dataset))
    slope, intercept = header.scale
    slope = 1.0 if slope is None else slope
    intercept = 0.0 if intercept is None else intercept
    if slope.is_integer() and intercept.is_integer() and max(abs(slope), abs(intercept)) < 2**31:
        return _smallest(stored.astype(np.int64) * int(slope) + int(intercept))
    return (stored * slope + intercept).astype(np.float32)


def _smallest(values: np.ndarray) -> np.ndarray:
    """int16 if all values fit, else int32, else float32; floats become float32."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    low, high = int(values.min()), int(values.max())
    if low >= -FEW_BITS and high < FEW_BITS:
        return values.astype(np.int16)
    return values.astype(np.int32 if max(-low, high) < 2**31 else np.float32)
