"""The few DICOM tags that are read, taken one by one so that a bad tag harms nobody else."""

import io
import os
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.tag import BaseTag

from medssl.data.index import checks
from medssl.data.index.dicom_elements import PIXELS as PIXEL_TAGS
from medssl.data.index.dicom_elements import ordinary
from medssl.errors import UserError, one_line
from medssl.privacy import quoted

IDENTITY = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID",
    "FrameOfReferenceUID", "Modality", "InstanceNumber", "ImagesInAcquisition", "NumberOfSlices",
    "BurnedInAnnotation",
)  # fmt: skip
# What may differ between the scans that one series holds: echoes, phases, b-values, kernels.
DIFFERS = (
    "EchoNumbers", "EchoTime", "DiffusionBValue", "DiffusionGradientOrientation",
    "TemporalPositionIdentifier", "TemporalPositionIndex", "NominalPercentageOfCardiacPhase",
    "NominalCardiacTriggerDelayTime", "TriggerTime", "ConvolutionKernel", "InversionTime",
    "FlipAngle", "KVP", "AcquisitionNumber", "ImageType", "StackID",
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
APART = {name: BaseTag(tag_for_keyword(name)) for name in DIFFERS}
TAGS = {name: BaseTag(tag_for_keyword(name)) for name in (*IDENTITY, *GEOMETRY, *PIXELS)} | APART
WANTED = frozenset(TAGS.values())
MOST_PIECES, BYTES_A_PIECE = 300_000, 64
LARGE, UNDEFINED = 1 << 20, 0xFFFFFFFF
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

    def __init__(self, raw: io.FileIO):
        super().__init__(raw)
        # Each of many frames has some sixty elements of its own, and pixels that weigh far more.
        size = os.fstat(raw.fileno()).st_size
        self.most = min(max(MOST_PIECES, size // BYTES_A_PIECE), 10 * MOST_PIECES)

    def read(self, size: int | None = -1) -> bytes:
        """As of any file. Raises UserError TOO_LARGE for bombs."""
        self.pieces += 1
        if self.pieces > self.most:
            raise _too_many(Path(self.name), self.most)
        if size is None or size < 0:  # pydicom reads the whole rest only to inflate it
            start = self.tell()
            _refuse_bomb(super().read, Path(self.name))
            self.seek(start)
        elif size > LARGE:  # Python would allocate whatever length a broken element states
            size = min(size, os.fstat(self.fileno()).st_size - self.tell())
        return super().read(size)


def load(path: Path, pixels: bool) -> tuple[pydicom.Dataset, list[str]]:
    """The dataset with the tags needed here, and remarks. Raises UserError."""
    try:
        with io.FileIO(str(path)) as stream:
            dataset = None if pixels else ordinary(stream, WANTED, DEFER)
            if dataset is None:
                stream.seek(0)
                defer = None if pixels else DEFER
                dataset = pydicom.dcmread(
                    Bounded(stream), force=True, specific_tags=[*WANTED], defer_size=defer
                )
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
    for tag in dataset.keys() - PIXEL_TAGS:
        raw = dataset.get_item(tag, keep_deferred=True)
        if raw.value is None and LARGE < raw.length < UNDEFINED:
            cause = f"the element {raw.tag} states {raw.length} bytes, at most {LARGE} are read"
            raise UserError("HEADER", path, cause, "fetch or export the file again")


def _too_many(path: Path, most: int) -> UserError:
    cause = f"the header holds more than {most} elements or sequence items"
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
            raise _too_many(path, MOST_PIECES)
        block = inflate.unconsumed_tail or read(DEFER)


def text(dataset: pydicom.Dataset, name: str) -> str:
    """A tag as text, "" if absent or empty; a value that breaks its type comes out as stored."""
    try:
        value = _value(dataset, name)
    except (ValueError, TypeError, OverflowError, UnicodeError, NotImplementedError):
        raw = dataset.get_item(name).value
        value = raw.decode("latin-1") if isinstance(raw, bytes) else raw
    return "" if value is None else str(value).strip(" \0")


def _value(dataset: pydicom.Dataset, name: str) -> object:
    """As dataset.get(name), but what was converted for one slice is known for the next."""
    if name not in TAGS:
        return dataset.get(name)
    raw = dataset.get_item(TAGS[name])
    if raw is None:
        return None
    if not isinstance(raw, RawDataElement) or not raw.value or raw.VR in ("SQ", "UN"):
        return dataset.get(name)
    charset = dataset.original_character_set
    charset = charset if isinstance(charset, str) else tuple(charset)
    return _converted(raw[:4] + (0,) + raw[5:], charset)


@lru_cache(4096)
def _converted(raw: tuple, charset: str | tuple[str, ...]) -> object:
    charset = charset if isinstance(charset, str) else [*charset]
    return convert_raw_data_element(RawDataElement(*raw), encoding=charset).value


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
        value = _value(dataset, name)
        if value is None or value == "":
            return None
        numbers = [float(v) for v in ([value] if count == 1 else value)]
    except (ValueError, TypeError, OverflowError):
        numbers = []
    if len(numbers) != count:
        cause = f"{name} is {quoted(text(dataset, name))}, expected {count} numbers"
        raise UserError("HEADER", path, cause, "export the file again")
    return numbers
