"""What a DICOM file says about its images, read without its pixels."""

import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from sys import intern

import numpy as np
import pydicom
from pydicom.uid import UID

from medssl.data.index import checks
from medssl.data.index.dicom_frames import frames, has_frames
from medssl.data.index.dicom_image import NO_UID, PIXEL_DATA, fill_pixels, fill_scale, known_name
from medssl.data.index.dicom_slice import Header
from medssl.data.index.dicom_tags import APART, WANTED, floats, load, text
from medssl.data.index.row import NO_SPACING
from medssl.data.patients import pseudonym
from medssl.errors import UserError
from medssl.privacy import quoted

MODALITY_OF = {"CT Image Storage": "CT", "MR Image Storage": "MR"}
DERIVED = {"RT Dose Storage", "Segmentation Storage", "Media Storage Directory Storage"}
NO_SERIES = "folder:"
# Words of the standard: a tag's text is never carried on as it stands.
_MODALITIES = """
AR BI BMD CR CT DG DR DX ECG EPS ES FID GM HC HD IO IOL IVOCT IVUS KER KO LEN LS MG MR NM OAM OCT
OP OPM OPT OPTBSV OPTENF OPV OSS OT PA PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTPLAN RTRECORD
RTSTRUCT SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XC
"""
MODALITIES = frozenset(_MODALITIES.split())
_IMAGE_TYPES = """
ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER MPR REFORMATTED OTHER NONE M P R I MAGNITUDE
PHASE REAL IMAGINARY M_FFE P_FFE M_SE FFE SE W F WATER FAT IN_PHASE OUT_PHASE IP OP ND NORM DIS2D
DIS3D MFSPLIT ADC TRACEW DIFFUSION MOSAIC AVERAGE SUBTRACTION PROJECTION MIP MINIP
"""
IMAGE_TYPES = frozenset(_IMAGE_TYPES.split())
STANDARD = "1.2.840.10008."


def read_header(path: Path) -> Header:
    """The header of the first image of a file, of one slice or film usually. Raises UserError."""
    return read_headers(path)[0]


def read_headers(path: Path) -> list[Header]:
    """A header an image: one, or as many as there are frames with a place of their own.

    Identity, or a UserError; what is wrong with an image's pixels or place is its `fault`.
    """
    dataset, remarks = load(path, pixels=False)
    meta = UID(text(dataset.file_meta, "MediaStorageSOPClassUID"))
    sop = UID(text(dataset, "SOPClassUID") or meta)
    is_image = "Image Storage" in sop.name or any(name in dataset for name in PIXEL_DATA)
    kind = known_name(sop)
    if (is_image or kind == NO_UID) and WANTED.isdisjoint(dataset.keys()):
        # pydicom drops every element where the file ends within one of undefined length.
        cause = "none of an image's elements can be read (cut off, or in another transfer syntax)"
        raise UserError("CUT", path, cause, "fetch the file again")
    invented = sop and kind == NO_UID and (not sop.is_valid or sop.startswith(STANDARD))
    if not is_image and (invented or "Image Storage" in meta.name):
        cause = "holds neither a SOP class of the standard nor pixels"
        raise UserError("HEADER", path, cause, "fetch or export the file again")
    if not is_image or kind in DERIVED:
        name = kind if sop else "DICOM object without a SOP class"
        raise UserError("NOT_IMAGE", path, f"{name}, no scan", "")
    patient, study = text(dataset, "PatientID"), text(dataset, "StudyInstanceUID")
    if not patient:
        remarks.append("PatientID is empty; the study stands for the patient")
    modality = text(dataset, "Modality")
    if modality and modality not in MODALITIES:
        modality = ""
        remarks.append("Modality is no word of the standard; taken as not given")
    if modality and modality != MODALITY_OF.get(kind, modality):
        remarks.append(f"Modality is {modality}, the SOP class {kind}")
    header = Header(
        path, intern(pseudonym(patient or f"study:{study or path.parent}", "p")),
        intern(pseudonym(study or f"folder:{path.parent}", "st")),
        intern(text(dataset, "SeriesInstanceUID") or f"{NO_SERIES}{path.parent}"),
        text(dataset, "SOPInstanceUID"), modality or MODALITY_OF.get(kind, ""), kind,
        intern(text(dataset, "FrameOfReferenceUID")), remarks=remarks,
    )  # fmt: skip
    try:
        fill_pixels(header, dataset)
        if has_frames(header):
            return [_frame(header, *found) for found in frames(header)]
        _fill(header, dataset)
    except UserError as error:
        header.fault = error
    return [header]


def _frame(whole: Header, number: int, view: pydicom.Dataset, dimensions: dict[str, str]) -> Header:
    """One frame; what is odd about the whole file is told with the first."""
    remarks = whole.remarks if number == 1 else []
    header = replace(whole, frame=number, apart=dimensions, remarks=remarks)
    try:
        _fill(header, view)
    except UserError as error:
        header.fault = UserError(
            error.code, error.where, f"frame {number}: {error.cause}", error.fix
        )
    return header


def _fill(header: Header, dataset: pydicom.Dataset) -> None:
    fill_scale(header, dataset)
    _fill_place(header, dataset)
    given = dataset.keys()
    found = {n: _mark(text(dataset, n)) for n, tag in APART.items() if tag in given}
    header.apart = _shared(tuple((header.apart | found).items()))
    if header.sliced and "MOSAIC" in header.apart.get("ImageType", ""):
        cause = "a mosaic, many slices tiled in one image"
        raise UserError("MULTIFRAME", header.path, cause, "convert the series to NIfTI")
    for name, field in {"ImagesInAcquisition": "in_acquisition", "NumberOfSlices": "in_volume",
                        "InstanceNumber": "number"}.items():  # fmt: skip
        words = text(dataset, name)
        if words.isdecimal():
            setattr(header, field, int(words))


@lru_cache(1024)
def _shared(items: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return dict(items)


@lru_cache
def _mark(value: str) -> str:
    """A tag's value to tell series apart by: numbers and words of the standard, else a salted id."""
    words = re.findall(r"[^\[\]', ]+", value)
    known = all(word in IMAGE_TYPES for word in words) or quoted(value) == value
    return value if known else pseudonym(value, "v")


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
            header.remarks.append(NO_SPACING)
    if spacing is not None:
        if not np.isfinite(spacing).all() or min(spacing) <= 0:
            raise UserError(
                "GEOMETRY", path, f"PixelSpacing is {quoted(spacing)} mm", "export it again"
            )
        header.spacing = (spacing[0], spacing[1])
    if not header.sliced:
        if header.spacing:
            header.remarks += checks.voxel_size(header.spacing, path)
        return _fill_film_place(header, dataset)
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


def _fill_film_place(header: Header, dataset: pydicom.Dataset) -> None:
    """A film needs no place; where one is given, it may turn out to be a slice of a series."""
    try:
        position = floats(dataset, "ImagePositionPatient", 3, header.path)
    except UserError:
        return
    if position is not None and np.isfinite(position).all():
        header.position = np.array(position)
