"""The few DICOM tags that are read, taken one by one so that a bad tag harms nobody else."""

import zlib
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from medssl.data.index import checks
from medssl.errors import UserError, one_line
from medssl.privacy import quoted

IDENTITY = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID",
    "Modality", "ImageType", "AcquisitionNumber", "EchoNumbers", "EchoTime",
    "TemporalPositionIdentifier", "ImagesInAcquisition", "BurnedInAnnotation",
)  # fmt: skip
GEOMETRY = (
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
)  # fmt: skip
PIXELS = (
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "PixelData", "FloatPixelData",
    "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
)  # fmt: skip
TAGS = [*IDENTITY, *GEOMETRY, *PIXELS]
PROGRAMS = {
    b"MZ": "a Windows program", b"\x7fELF": "a Linux program", b"#!": "a script",
    b"\xcf\xfa\xed\xfe": "a macOS program", b"\xca\xfe\xba\xbe": "a macOS or Java program",
}  # fmt: skip
DEFLATED = b"1.2.840.10008.1.2.1.99"
META_LENGTH_AT = 132
DEFER = 1024


def load(path: Path, pixels: bool) -> tuple[pydicom.Dataset, list[str]]:
    """The dataset with the tags needed here, and remarks. Raises UserError."""
    _refuse_bomb(path)
    options = {"specific_tags": TAGS, "defer_size": None if pixels else DEFER}
    try:
        dataset = pydicom.dcmread(path, **options)
        return dataset, _preamble_remarks(dataset.preamble or b"")
    except InvalidDicomError:
        dataset = pydicom.dcmread(path, force=True, **options)
        return dataset, ["no DICOM preamble or file meta; read all the same"]
    except OSError as error:
        cause = f"cannot be read ({error.strerror or one_line(error)})"
        raise UserError("UNREADABLE", path, cause, "mend the file or its permissions") from error


def _preamble_remarks(preamble: bytes) -> list[str]:
    """Some put a program before the image, which a system may start; it is never copied."""
    kind = next((what for magic, what in PROGRAMS.items() if preamble.startswith(magic)), "")
    return [f"WARN: its first 128 bytes start {kind}"] if kind else []


def _refuse_bomb(path: Path) -> None:
    """Inflate a deflated dataset block by block, because pydicom would inflate it whole."""
    with open(path, "rb") as stream:
        head = stream.read(DEFER)
        if DEFLATED not in head:
            return
        length = int.from_bytes(head[META_LENGTH_AT + 8 : META_LENGTH_AT + 12], "little")
        stream.seek(META_LENGTH_AT + 12 + length)
        inflate, size, stored = zlib.decompressobj(-15), 0, path.stat().st_size
        block = stream.read(DEFER)
        while block and not inflate.eof:
            size += len(inflate.decompress(block, checks.BOMB_BYTES >> 4))
            checks.size(size, stored, True, path)
            block = inflate.unconsumed_tail or stream.read(DEFER)


def text(dataset: pydicom.Dataset, name: str) -> str:
    """A tag as text, "" if absent or empty; a value that breaks its type comes out as stored."""
    try:
        value = dataset.get(name)
    except (ValueError, TypeError, OverflowError, UnicodeError, NotImplementedError):
        raw = dataset.get_item(name).value
        value = raw.decode("latin-1") if isinstance(raw, bytes) else raw
    return "" if value is None else str(value).strip(" \0")


def integer(dataset: pydicom.Dataset, name: str, path: Path, default: int | None = None) -> int:
    """A whole number. Raises UserError HEADER naming the tag and its value."""
    words = text(dataset, name)
    if not words and default is not None:
        return default
    try:
        return int(words)
    except ValueError as error:
        cause = f"{name} is {quoted(words) or 'missing'}, expected a whole number"
        raise UserError("HEADER", path, cause, "export the file again") from error


def floats(dataset: pydicom.Dataset, name: str, count: int, path: Path) -> list[float] | None:
    """`count` numbers, None if absent or empty. Raises UserError HEADER naming tag and value."""
    try:
        value = dataset.get(name)
        if value is None or value == "":
            return None
        numbers = [float(v) for v in ([value] if count == 1 else value)]
    except (ValueError, TypeError, OverflowError):
        numbers = []
    if len(numbers) != count:
        cause = f"{name} is {quoted(text(dataset, name))}, expected {count} numbers"
        raise UserError("HEADER", path, cause, "export the file again")
    return numbers
