"""The few DICOM tags that are read, taken one by one so that a bad tag harms nobody else."""

import io
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pydicom

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
    "RescaleSlope", "RescaleIntercept", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "ModalityLUTSequence", "PixelData", "FloatPixelData",
    "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
)  # fmt: skip
TAGS = [*IDENTITY, *GEOMETRY, *PIXELS]
MOST_PIECES = 300_000
LARGE, UNDEFINED = 1 << 20, 0xFFFFFFFF
PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
ITEM = b"\xfe\xff\x00\xe0"
DEFER = 1024
PROGRAMS = {
    b"MZ": "a Windows program", b"\x7fELF": "a Linux program", b"#!": "a script",
    b"PK\x03\x04": "a zip archive", b"%PDF": "a PDF", b"\xca\xfe\xba\xbe": "a Mac program",
    b"\xcf\xfa\xed\xfe": "a Mac program", b"<": "a web page",
}  # fmt: skip


class Bounded(io.BufferedReader):
    """A file that pydicom can neither inflate without limit nor walk through for ever."""

    pieces = 0

    def read(self, size: int | None = -1) -> bytes:
        """As of any file. Raises UserError TOO_LARGE for bombs."""
        self.pieces += 1
        if self.pieces > MOST_PIECES:
            raise _too_many(Path(self.name))
        if size is None or size < 0:  # pydicom reads the whole rest only to inflate it
            start = self.tell()
            _refuse_bomb(super().read, Path(self.name))
            self.seek(start)
        elif size > LARGE:  # Python would allocate whatever length a broken element states
            size = min(size, os.fstat(self.fileno()).st_size - self.tell())
        return super().read(size)


def load(path: Path, pixels: bool) -> tuple[pydicom.Dataset, list[str]]:
    """The dataset with the tags needed here, and remarks. Raises UserError."""
    options = {"specific_tags": TAGS, "defer_size": None if pixels else DEFER}
    try:
        with Bounded(io.FileIO(str(path))) as stream:
            dataset = pydicom.dcmread(stream, force=True, **options)
    except OSError as error:
        cause = f"cannot be read ({error.strerror or one_line(error)})"
        raise UserError("UNREADABLE", path, cause, "mend the file or its permissions") from error
    _refuse_lengths(dataset, path)
    if dataset.preamble is None:
        return dataset, ["no DICOM preamble or file meta; read all the same"]
    what = [what for magic, what in PROGRAMS.items() if dataset.preamble.startswith(magic)]
    return dataset, [f"the preamble looks like {what[0]}"] if what else []


def _refuse_lengths(dataset: pydicom.Dataset, path: Path) -> None:
    """pydicom reads a deferred value by itself, and would allocate whatever length is stated."""
    for raw in dataset.values():
        if raw.value is None and LARGE < raw.length < UNDEFINED and raw.tag not in PIXEL_TAGS:
            cause = f"the element {raw.tag} states {raw.length} bytes, at most {LARGE} are read"
            raise UserError("HEADER", path, cause, "fetch or export the file again")


def _too_many(path: Path) -> UserError:
    cause = f"the header holds more than {MOST_PIECES} elements or sequence items"
    return UserError("TOO_LARGE", path, cause, "export it again without private sequences")


def _refuse_bomb(read: Callable[[int], bytes], path: Path) -> None:
    inflate, stored = zlib.decompressobj(-15), path.stat().st_size
    size = items = 0
    block = read(DEFER)
    while block and not inflate.eof:
        part = inflate.decompress(block, checks.BOMB_BYTES >> 4)
        size, items = size + len(part), items + part.count(ITEM)
        checks.bomb(size, stored, path)
        if items > MOST_PIECES:
            raise _too_many(path)
        block = inflate.unconsumed_tail or read(DEFER)


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
