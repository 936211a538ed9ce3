"""What one DICOM file says about itself, read without its pixels."""

import math
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from medssl.data.index.dicom_codestream import declared_size
from medssl.data.index.dicom_tags import TAGS, floats, integer, load, text
from medssl.data.index.row import BURNED_IN
from medssl.data.patients import pseudonym
from medssl.errors import UserError
from medssl.privacy import quoted

SLICED = {"CT", "MR", "PT", "NM"}
MODALITY_OF = {"CT Image Storage": "CT", "MR Image Storage": "MR"}
DERIVED = {"RT Dose Storage", "Segmentation Storage", "Media Storage Directory Storage"}
PIP_PACKAGE = {
    "JPEG 2000": "pylibjpeg-openjpeg", "High-Throughput": "pylibjpeg-openjpeg",
    "JPEG-LS": "pyjpegls", "JPEG": "pylibjpeg-libjpeg", "RLE": "pylibjpeg-rle",
}  # fmt: skip
# Words of the standard: a tag's text is never carried on as it stands.
_MODALITIES = """
AR BI BMD CR CT DG DR DX ECG EPS ES FID GM HC HD IO IOL IVOCT IVUS KER KO LEN LS MG MR NM OAM OCT
OP OPM OPT OPTBSV OPTENF OPV OSS OT PA PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTPLAN RTRECORD
RTSTRUCT SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XC
"""
MODALITIES = frozenset(_MODALITIES.split())
PHOTOMETRIC = {
    "", "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422",
    "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT",
}  # fmt: skip
_IMAGE_TYPES = """
ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER MPR REFORMATTED OTHER NONE M P R I MAGNITUDE
PHASE REAL IMAGINARY M_FFE P_FFE M_SE FFE SE W F WATER FAT IN_PHASE OUT_PHASE IP OP ND NORM DIS2D
DIS3D MFSPLIT ADC TRACEW DIFFUSION MOSAIC AVERAGE SUBTRACTION PROJECTION
"""
IMAGE_TYPES = frozenset(_IMAGE_TYPES.split())
PIXEL_DATA = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
MAX_PIXELS = 200_000_000
UNDEFINED_LENGTH = 0xFFFFFFFF
STANDARD = "1.2.840.10008."
NO_UID = "a UID of no standard"
LONG_VR = {
    b"OB",
    b"OW",
    b"OF",
    b"OD",
    b"OL",
    b"OV",
    b"SQ",
    b"UC",
    b"UN",
    b"UR",
    b"UT",
    b"SV",
    b"UV",
}
LAST_TAG = 0x7FE00010  # PixelData


@dataclass
class Header:
    """Identity, grid and place of one image. UIDs stay in memory; only their hashes are written.

    `position` (3) and `axes` (2, 3: along a row, down a column) are LPS mm; `spacing` is the
    distance of rows, then of columns, mm. `fault` says why the image cannot be used.
    """

    path: Path
    patient: str
    study: str
    series: str
    instance: str
    modality: str
    sop_class: str
    rows: int = 0
    columns: int = 0
    samples: int = 1
    photometric: str = ""
    spacing: tuple[float, float] | None = None
    position: np.ndarray | None = None
    axes: np.ndarray | None = None
    apart: dict[str, str] = field(default_factory=dict)
    in_acquisition: int = 0
    remarks: list[str] = field(default_factory=list)
    fault: UserError | None = None

    @property
    def sliced(self) -> bool:
        """Whether it is one slice of a volume, and not a film."""
        return self.modality in SLICED

    @property
    def nameless(self) -> bool:
        """Whether the file does not name its series."""
        return self.series == f"folder:{self.path.parent}"

    @property
    def normal(self) -> np.ndarray:
        return np.cross(*self.axes)


def read_header(path: Path) -> Header:
    """Identity, or a UserError; what is wrong with an image's pixels or place is its `fault`."""
    dataset, remarks = load(path, pixels=False)
    meta = UID(text(dataset.file_meta, "MediaStorageSOPClassUID"))
    sop = UID(text(dataset, "SOPClassUID") or meta)
    is_image = "Image Storage" in sop.name or any(name in dataset for name in PIXEL_DATA)
    kind = known_name(sop)
    if (is_image or kind == NO_UID) and not any(name in dataset for name in TAGS):
        # pydicom drops every element where the file ends within one of undefined length.
        cause = "none of the elements of an image can be read (cut off?)"
        raise UserError("CUT", path, cause, "fetch the file again")
    invented = kind == NO_UID and (not sop.is_valid or sop.startswith(STANDARD))
    if not is_image and (invented or "Image Storage" in meta.name):
        cause = "holds neither a SOP class of the standard nor pixels"
        raise UserError("HEADER", path, cause, "fetch or export the file again")
    if not is_image or kind in DERIVED:
        raise UserError("NOT_IMAGE", path, f"{kind}, no scan", "")
    patient, study = text(dataset, "PatientID"), text(dataset, "StudyInstanceUID")
    if not patient:
        remarks.append("PatientID is empty; the study stands for the patient")
    modality = text(dataset, "Modality")
    if modality and modality not in MODALITIES:
        modality = ""
        remarks.append("Modality is no word of the standard; taken as not given")
    header = Header(
        path, pseudonym(patient or f"study:{study or path.parent}", "p"),
        pseudonym(study or f"folder:{path.parent}", "st"),
        text(dataset, "SeriesInstanceUID") or f"folder:{path.parent}",
        text(dataset, "SOPInstanceUID"), modality or MODALITY_OF.get(kind, ""), kind,
        remarks=remarks,
    )  # fmt: skip
    try:
        _fill_pixels(header, dataset)
        _fill_place(header, dataset)
    except UserError as error:
        header.fault = error
    return header


def known_name(uid: UID) -> str:
    """What the standard calls a UID; one that it does not know is not repeated."""
    return uid.name if uid.name != str(uid) else NO_UID


def _mark(value: str) -> str:
    """A tag's value to tell series apart by: numbers and words of the standard, else a salted id."""
    words = re.findall(r"[^\[\]', ]+", value)
    known = all(word in IMAGE_TYPES for word in words) or quoted(value) == value
    return value if known else pseudonym(value, "v")


def _fill_pixels(header: Header, dataset: pydicom.Dataset) -> None:
    path = header.path
    if not any(name in dataset for name in PIXEL_DATA):
        cause = f"{header.sop_class or 'an image'} without pixel data (cut off or stripped)"
        raise UserError("CUT", path, cause, "fetch the file again")
    header.rows, header.columns = integer(dataset, "Rows", path), integer(dataset, "Columns", path)
    header.samples = integer(dataset, "SamplesPerPixel", path, 1)
    photometric = text(dataset, "PhotometricInterpretation")
    header.photometric = photometric if photometric in PHOTOMETRIC else "colour of no known kind"
    if min(header.rows, header.columns) < 1:
        cause = f"Rows {header.rows}, Columns {header.columns} must be positive"
        raise UserError("HEADER", path, cause, "export it again")
    if header.rows * header.columns > MAX_PIXELS:
        cause = f"{header.rows}x{header.columns} pixels, at most {MAX_PIXELS} are read"
        raise UserError("TOO_LARGE", path, cause, "check Rows and Columns")
    if integer(dataset, "NumberOfFrames", path, 1) > 1 or "Enhanced" in header.sop_class:
        frames = integer(dataset, "NumberOfFrames", path, 1)
        cause = f"enhanced multi-frame is not supported yet ({frames} frames, {header.sop_class})"
        raise UserError("MULTIFRAME", path, cause, "export it as one file a slice")
    bits = integer(dataset, "BitsAllocated", path, 0)
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset or bits not in (8, 16, 32):
        cause = f"pixels of {bits} bits allocated, expected integers of 8, 16 or 32"
        raise UserError("DTYPE", path, cause, "export it as 16-bit integers")
    slopes = floats(dataset, "RescaleSlope", 1, path)
    if slopes is None and header.modality == "CT" and "ModalityLUTSequence" not in dataset:
        header.remarks.append("RescaleSlope is missing; stored values taken as HU")
    if slopes is not None and not (np.isfinite(slopes[0]) and slopes[0] != 0):
        raise UserError("SCALE", path, f"RescaleSlope is {slopes[0]}", "export it again")
    shift = floats(dataset, "RescaleIntercept", 1, path)
    if slopes is not None and shift is None:
        header.remarks.append("RescaleIntercept is missing; taken as 0")
    if shift is not None and not np.isfinite(shift[0]):
        raise UserError("SCALE", path, f"RescaleIntercept is {shift[0]}", "export it again")
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
    if pixels.length == UNDEFINED_LENGTH:
        given = dataset.file_meta.get("TransferSyntaxUID")
        if given is None or given.is_transfer_syntax and not given.is_encapsulated:
            cause = "the pixels are a compressed stream, the transfer syntax does not say which"
            raise UserError("HEADER", path, cause, "export it again")
        return _check_codestream(header, pixels.value_tell)
    share = 2 / 3 if header.photometric == "YBR_FULL_422" else 1
    expected = math.floor(header.rows * header.columns * header.samples * bits // 8 * share)
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    found = pixels.length
    if syntax is None or not syntax.is_deflated:
        found = min(found, path.stat().st_size - pixels.value_tell)
    if found < expected:
        cause = f"found {found} bytes of pixels, expected {expected}"
        raise UserError("CUT", path, cause, "fetch the file again")
    if found > expected + expected % 2 and share == 1:
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
            if not implicit and head[4:6] in LONG_VR and len(head) == 12:
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


def _fill_place(header: Header, dataset: pydicom.Dataset) -> None:
    path = header.path
    spacing = floats(dataset, "PixelSpacing", 2, path)
    if not header.sliced:
        for name in ("ImagerPixelSpacing", "NominalScannedPixelSpacing"):
            if spacing is None:
                spacing = floats(dataset, name, 2, path)
                if spacing is not None:
                    header.remarks.append(f"pixel spacing from {name}")
        if spacing is None:
            header.remarks.append("pixel spacing unknown")
    if spacing is not None:
        if not np.isfinite(spacing).all() or min(spacing) <= 0:
            raise UserError(
                "GEOMETRY", path, f"PixelSpacing is {quoted(spacing)} mm", "export it again"
            )
        header.spacing = (spacing[0], spacing[1])
    if not header.sliced:
        return
    position = floats(dataset, "ImagePositionPatient", 3, path)
    axes = floats(dataset, "ImageOrientationPatient", 6, path)
    found = {"PixelSpacing": spacing, "ImagePositionPatient": position,
             "ImageOrientationPatient": axes}  # fmt: skip
    missing = [name for name, value in found.items() if value is None]
    if missing:
        raise UserError(
            "GEOMETRY", path, f"{', '.join(missing)} missing", "export it with geometry"
        )
    header.position, header.axes = np.array(position), np.array(axes).reshape(2, 3)
    off = np.abs(header.axes @ header.axes.T - np.eye(2)).max()
    if not off < 1e-3 or not np.isfinite(position).all():
        cause = f"position {position} and orientation {axes} are no right-angled frame"
        raise UserError("GEOMETRY", path, cause, "export it again")
    names = ("TemporalPositionIdentifier", "AcquisitionNumber", "EchoTime", "ImageType")
    header.apart = {name: _mark(text(dataset, name)) for name in ("EchoNumbers", *names)}
    in_acquisition = text(dataset, "ImagesInAcquisition")
    header.in_acquisition = int(in_acquisition) if in_acquisition.isdigit() else 0
