"""Volumes and films as DICOM files, explicit VR little endian."""

from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MRImageStorage,
)

from medssl.seeding import key

STORAGE = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "DX": DigitalXRayImageStorageForPresentation,
}
HU_OFFSET = -1024
WHITE = 4095  # of the 12 bits of a film


def uid(seed: int, *names: object) -> str:
    """A UID that is a function of seed and names."""
    text = ":".join(map(str, names))
    return (
        f"2.25.{(key(seed, f'phantom.uid.{text}', 0) << 63) | key(seed, f'phantom.uid.{text}', 1)}"
    )


def series(
    folder: Path, array: np.ndarray, affine: np.ndarray, modality: str, patient: str,
    scan: int = 0, seed: int = 0,
) -> None:  # fmt: skip
    """One CT or MR file a slice, of an int16 array (X, Y, Z) along RAS without rotation.

    CT values are HU from -1024; MR values are stored as they are, from 0.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spacing = np.diag(affine)[:3]
    nx, ny, nz = array.shape
    offset = HU_OFFSET if modality == "CT" else 0
    for z in range(nz):
        image = _instance(modality, patient, scan, z, seed)
        image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "M"]
        image.SeriesDescription = {"CT": "Torso, portal venous", "MR": "Head, T1"}[modality]
        # rows run to the patient's back and columns to the left, in LPS millimetres
        corner = affine @ [nx - 1, ny - 1, z, 1]
        image.ImagePositionPatient = [_number(v) for v in (-corner[0], -corner[1], corner[2])]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.PixelSpacing = [_number(spacing[1]), _number(spacing[0])]
        image.SliceThickness = image.SpacingBetweenSlices = _number(spacing[2])
        image.SliceLocation = _number(corner[2])
        image.FrameOfReferenceUID = uid(seed, patient, modality, scan, "frame")
        image.PositionReferenceIndicator = ""
        if modality == "CT":
            image.BodyPartExamined, image.KVP, image.ConvolutionKernel = "ABDOMEN", 120, "SOFT"
            image.RescaleIntercept, image.RescaleSlope, image.RescaleType = offset, 1, "HU"
            image.WindowCenter, image.WindowWidth = 40, 400
        else:
            image.BodyPartExamined, image.MRAcquisitionType = "HEAD", "3D"
            image.ScanningSequence, image.SequenceVariant, image.ScanOptions = "GR", "SP", ""
            image.RepetitionTime, image.EchoTime, image.FlipAngle = 9, 4, 9
            image.EchoTrainLength, image.MagneticFieldStrength = 1, 3
        stored = array[::-1, ::-1, z].T.astype(np.int32) - offset
        _pixels(image, stored, bits=16, shown="MONOCHROME2")
        image.save_as(folder / f"{z + 1:04d}.dcm", enforce_file_format=True)


def film(
    path: Path, film: np.ndarray, spacing: float, patient: str,
    scan: int = 0, seed: int = 0, inverted: bool = False,
) -> None:  # fmt: skip
    """A DX file of a 12-bit film (rows, columns), pixel edge in mm; `inverted` is MONOCHROME1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = _instance("DX", patient, scan, 0, seed)
    image.ImageType = ["ORIGINAL", "PRIMARY", ""]
    image.SeriesDescription, image.BodyPartExamined, image.ViewPosition = "Chest PA", "CHEST", "PA"
    image.PresentationIntentType, image.ImageLaterality = "FOR PRESENTATION", "U"
    image.PatientOrientation, image.BurnedInAnnotation = ["L", "F"], "NO"
    image.ImagerPixelSpacing = [_number(spacing)] * 2
    image.PixelIntensityRelationship = "LOG"
    image.PixelIntensityRelationshipSign = 1 if inverted else -1
    image.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = 0, 1, "US"
    image.WindowCenter, image.WindowWidth = (WHITE + 1) / 2, WHITE + 1
    image.LossyImageCompression = "00"
    stored = WHITE - film if inverted else film
    _pixels(image, stored, bits=12, shown="MONOCHROME1" if inverted else "MONOCHROME2")
    image.save_as(path, enforce_file_format=True)


def _instance(modality: str, patient: str, scan: int, number: int, seed: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = STORAGE[modality]
    meta.MediaStorageSOPInstanceUID = uid(seed, patient, modality, scan, "instance", number)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = STORAGE[modality], meta.MediaStorageSOPInstanceUID
    image.Modality, image.Manufacturer = modality, "phantom"
    image.PatientID, image.PatientName = patient, patient.replace("-", "^", 1)
    image.PatientBirthDate = image.PatientSex = ""
    image.StudyInstanceUID = uid(seed, patient, modality, scan, "study")
    image.SeriesInstanceUID = uid(seed, patient, modality, scan, "series")
    image.StudyID, image.AccessionNumber, image.ReferringPhysicianName = str(scan + 1), "", ""
    image.StudyDate = image.SeriesDate = image.ContentDate = f"2020{1 + scan % 12:02d}01"
    image.StudyTime = image.SeriesTime = image.ContentTime = "120000"
    image.SeriesNumber, image.AcquisitionNumber, image.InstanceNumber = 1, 1, number + 1
    return image


def _pixels(image: FileDataset, stored: np.ndarray, bits: int, shown: str) -> None:
    image.Rows, image.Columns = stored.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, shown
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, bits, bits - 1
    image.PixelRepresentation = 0
    image.PixelData = np.ascontiguousarray(stored.astype("<u2")).tobytes()


def _number(value: float) -> str:
    """A decimal string; the standard allows 16 characters."""
    return f"{value:.9g}"
