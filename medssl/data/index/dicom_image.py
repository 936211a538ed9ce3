"""Whether the pixels of a DICOM file can be read, told from its header."""

import math
import struct

import numpy as np
import pydicom
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from medssl.data.index import checks
from medssl.data.index.dicom_codestream import declared_size
from medssl.data.index.dicom_elements import LONG
from medssl.data.index.dicom_slice import Header
from medssl.data.index.dicom_tags import ITEM, floats, integer, text
from medssl.data.index.row import BURNED_IN
from medssl.errors import UserError

PIP_PACKAGE = {
    "JPEG 2000": "pylibjpeg-openjpeg", "High-Throughput": "pylibjpeg-openjpeg",
    "JPEG-LS": "pyjpegls", "JPEG": "pylibjpeg-libjpeg", "RLE": "pylibjpeg-rle",
}  # fmt: skip
PHOTOMETRIC = {
    "", "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422",
    "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT",
}  # fmt: skip
PIXEL_DATA = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
MAX_PIXELS = 200_000_000
UNDEFINED_LENGTH = 0xFFFFFFFF
NO_UID = "a UID of no standard"
LAST_TAG = 0x7FE00010  # PixelData


def known_name(uid: UID) -> str:
    """What the standard calls a UID; one that it does not know is not repeated."""
    return uid.name if uid.name != str(uid) else NO_UID


def fill_pixels(header: Header, dataset: pydicom.Dataset) -> None:
    """Size, colour and number of frames. Raises UserError for pixels that cannot be read."""
    path = header.path
    if not any(name in dataset for name in PIXEL_DATA):
        cause = f"{header.sop_class or 'an image'} without pixel data (cut off or stripped)"
        raise UserError("CUT", path, cause, "fetch the file again")
    header.rows, header.columns = integer(dataset, "Rows", path), integer(dataset, "Columns", path)
    header.samples = integer(dataset, "SamplesPerPixel", path, 1)
    header.frames = integer(dataset, "NumberOfFrames", path, 1)
    photometric = text(dataset, "PhotometricInterpretation")
    header.photometric = photometric if photometric in PHOTOMETRIC else "colour of no known kind"
    if min(header.rows, header.columns, header.frames) < 1:
        cause = f"Rows {header.rows}, Columns {header.columns} and NumberOfFrames {header.frames} "
        cause += "must be positive"
        raise UserError("HEADER", path, cause, "export it again")
    if header.rows * header.columns > MAX_PIXELS:
        cause = f"{header.rows}x{header.columns} pixels, at most {MAX_PIXELS} are read"
        raise UserError("TOO_LARGE", path, cause, "check Rows and Columns")
    bits = integer(dataset, "BitsAllocated", path, 0)
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset or bits not in (8, 16, 32):
        cause = f"pixels of {bits} bits allocated, expected integers of 8, 16 or 32"
        raise UserError("DTYPE", path, cause, "export it as 16-bit integers")
    stored = integer(dataset, "BitsStored", path)
    if not 1 <= stored <= bits or integer(dataset, "PixelRepresentation", path) not in (0, 1):
        cause = f"BitsStored is {stored} of {bits}, PixelRepresentation "
        cause += f"{integer(dataset, 'PixelRepresentation', path)}, expected 0 or 1"
        raise UserError("HEADER", path, cause, "export it again")
    if "PixelPaddingValue" in dataset:
        header.remarks.append("pixels of PixelPaddingValue take the lowest of the other values")
    if header.samples > 1 or header.photometric == "PALETTE COLOR":
        if header.sliced:
            cause = f"a colour image ({header.photometric}) among {header.modality} slices"
            raise UserError("COLOUR", path, cause, "keep screenshots out of the scans")
        header.remarks.append(f"{header.photometric} read as one grey channel")
    if text(dataset, "BurnedInAnnotation").upper() == "YES":
        header.remarks.append(BURNED_IN)
    _check_syntax(header, dataset)
    _check_length(header, dataset, bits)


def fill_scale(header: Header, dataset: pydicom.Dataset) -> None:
    """Slope and intercept. Raises UserError for those that no value survives."""
    path = header.path
    slope, shift = (
        (floats(dataset, name, 1, path) or [None])[0]
        for name in ("RescaleSlope", "RescaleIntercept")
    )
    if slope is None and header.modality == "CT" and "ModalityLUTSequence" not in dataset:
        header.remarks.append("RescaleSlope is missing; stored values taken as HU")
    if slope is not None and not (np.isfinite(slope) and slope != 0):
        raise UserError("SCALE", path, f"RescaleSlope is {slope}", "export it again")
    if slope is not None and shift is None:
        header.remarks.append("RescaleIntercept is missing; taken as 0")
    if shift is not None and not np.isfinite(shift):
        raise UserError("SCALE", path, f"RescaleIntercept is {shift}", "export it again")
    header.scale = slope, shift


def _check_syntax(header: Header, dataset: pydicom.Dataset) -> None:
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        if not header.remarks or "preamble" not in header.remarks[0]:
            header.remarks.append("no transfer syntax given; told from the bytes")
        return
    if not syntax.is_transfer_syntax or not syntax.is_compressed or syntax.is_deflated:
        return
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        package = next((p for word, p in PIP_PACKAGE.items() if word in syntax.name), "")
        fix = f"pip install {package}" if package else "export it uncompressed"
        raise UserError("CODEC", header.path, f"no decoder for {known_name(syntax)}", fix)


def _check_length(header: Header, dataset: pydicom.Dataset, bits: int) -> None:
    """Bytes found against bytes expected, or the size that a compressed stream declares."""
    path = header.path
    pixels = dataset.get_item("PixelData", keep_deferred=True)
    size = header.rows * header.columns * header.samples * max(header.frames, 1) * bits // 8
    if pixels.length == UNDEFINED_LENGTH:
        if header.frames > 1:
            checks.bomb(size, path.stat().st_size, path)
        given = dataset.file_meta.get("TransferSyntaxUID")
        if given is None or given.is_transfer_syntax and not given.is_encapsulated:
            cause = "the pixels are a compressed stream, the transfer syntax does not say which"
            raise UserError("HEADER", path, cause, "export it again")
        return _check_codestream(header, pixels.value_tell)
    share = 2 / 3 if header.photometric == "YBR_FULL_422" else 1
    expected = math.floor(size * share)
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    found = pixels.length
    if syntax is None or not syntax.is_deflated:
        found = min(found, path.stat().st_size - pixels.value_tell)
    if found < expected:
        cause = f"found {found} bytes of pixels, expected {expected}"
        raise UserError("CUT", path, cause, "fetch the file again")
    if found >= 2 * expected and share == 1:
        cause = (
            f"found {found} bytes of pixels, {found / expected:.3g} times those of Rows x Columns"
        )
        cause += f" x {header.frames} frame(s)"
        raise UserError("HEADER", path, cause, "export it again")
    if found > expected + expected % 2 and share == 1:
        with open(path, "rb") as stream:
            stream.seek(pixels.value_tell)
            if stream.read(len(ITEM)) == ITEM and not (syntax and syntax.is_deflated):
                cause = "the pixels are packed in items, the transfer syntax says raw"
                raise UserError("HEADER", path, cause, "export it again")
        header.remarks.append(f"{found - expected} bytes after the pixels ignored")
    elif syntax is None or not syntax.is_deflated:
        _check_rest(header, dataset, pixels.value_tell + pixels.length)


def _check_rest(header: Header, dataset: pydicom.Dataset, at: int) -> None:
    """Where bytes were lost or came into the pixels, no DICOM elements follow them."""
    size, last = header.path.stat().st_size, LAST_TAG
    if at == size:
        return
    implicit, little = dataset.original_encoding
    order = "<" if little else ">"
    with open(header.path, "rb") as stream:
        while at < size:
            stream.seek(at)
            head = stream.read(12)
            if len(head) < 8:
                break
            group, element, length = struct.unpack_from(f"{order}HHI", head)
            step = 8
            if not implicit and head[4:6] in LONG and len(head) == 12:
                length, step = struct.unpack_from(f"{order}I", head, 8)[0], 12
            elif not implicit:
                length = struct.unpack_from(f"{order}H", head, 6)[0]
            if group << 16 | element <= last:
                break
            last, at = group << 16 | element, at + step + length
    if at != size:
        header.remarks.append("what follows the pixels is no DICOM element")


def _check_codestream(header: Header, at: int) -> None:
    declared = declared_size(header.path, at)
    if declared not in (None, (header.rows, header.columns)):
        cause = f"the compressed image is {declared[0]}x{declared[1]}, "
        cause += f"Rows and Columns say {header.rows}x{header.columns}"
        raise UserError("HEADER", header.path, cause, "export it again")
