"""Phantoms as the files that an archive holds: DICOM series and films, NIfTI, PNG."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from medssl.seeding import key

STORAGE = {"CT": CTImageStorage, "MR": MRImageStorage}
ROOT = "1.2.826.0.1.3680043.10.1561"


def uid(*names: object) -> str:
    """A unique identifier that is the same for the same names."""
    return f"{ROOT}.{key(0, 'uid:' + ':'.join(map(str, names)))}"


def nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """A .nii.gz whose bytes depend on the array and affine alone."""
    import gzip

    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 3, raw, mtime=0) as packed:
        packed.write(image.to_bytes())


def dicom_series(
    folder: Path, array: np.ndarray, affine: np.ndarray, modality: str, patient: str, scan: int
) -> None:
    """One file a slice of an (X, Y, Z) array along RAS without rotation; CT values are HU."""
    folder.mkdir(parents=True, exist_ok=True)
    spacing = np.diag(affine)[:3]
    offset = -1024 if modality == "CT" else 0
    nx, ny, nz = array.shape
    for z in range(nz):
        out = _dataset(STORAGE[modality], patient, modality, scan, z)
        out.SeriesNumber, out.InstanceNumber, out.ImageType = scan + 1, z + 1, ["ORIGINAL", "PRIMARY", "AXIAL"]
        # Rows run to the back and columns to the left of the patient, in LPS millimetres.
        corner = affine @ [nx - 1, ny - 1, z, 1]
        out.ImagePositionPatient = [_ds(-corner[0]), _ds(-corner[1]), _ds(corner[2])]
        out.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        out.PixelSpacing = [_ds(spacing[1]), _ds(spacing[0])]
        out.SliceThickness = _ds(spacing[2])
        if modality == "CT":
            out.RescaleIntercept, out.RescaleSlope, out.RescaleType, out.KVP = offset, 1, "HU", 120
        stored = array[::-1, ::-1, z].T.astype(np.int32) - offset
        _pixels(out, stored.astype(np.int16), signed=True, shown="MONOCHROME2")
        out.save_as(folder / f"{z:04d}.dcm", enforce_file_format=True)


def dicom_film(path: Path, film: np.ndarray, patient: str, scan: int, spacing: float, inverted: bool) -> None:
    """A DX film of uint16 (rows, columns); `inverted` stores it as MONOCHROME1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    out = _dataset(UID("1.2.840.10008.5.1.4.1.1.1.1"), patient, "DX", scan, 0)
    out.BodyPartExamined, out.ViewPosition, out.InstanceNumber = "CHEST", "PA", 1
    out.ImagerPixelSpacing = [_ds(spacing)] * 2
    stored = film.max() - film if inverted else film
    _pixels(out, stored.astype(np.uint16), signed=False, shown="MONOCHROME1" if inverted else "MONOCHROME2")
    out.save_as(path, enforce_file_format=True)


def _dataset(storage: UID, patient: str, modality: str, scan: int, instance: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = storage
    meta.MediaStorageSOPInstanceUID = uid(patient, modality, scan, instance)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    out.SOPClassUID, out.SOPInstanceUID = storage, meta.MediaStorageSOPInstanceUID
    out.PatientID, out.PatientName, out.Modality = patient, patient, modality
    out.PatientBirthDate = out.PatientSex = ""
    out.StudyInstanceUID = uid(patient, modality, scan, "study")
    out.SeriesInstanceUID = uid(patient, modality, scan, "series")
    out.FrameOfReferenceUID = uid(patient, modality, scan, "frame")
    out.StudyDate, out.StudyTime, out.AccessionNumber, out.StudyID = "20200101", "120000", "", "1"
    out.Manufacturer = "phantom"
    return out


def _pixels(out: pydicom.Dataset, stored: np.ndarray, signed: bool, shown: str) -> None:
    out.Rows, out.Columns = stored.shape
    out.SamplesPerPixel, out.PhotometricInterpretation = 1, shown
    out.BitsAllocated, out.BitsStored, out.HighBit = 16, 16, 15
    out.PixelRepresentation = int(signed)
    out.PixelData = np.ascontiguousarray(stored).tobytes()


def _ds(value: float) -> str:
    return f"{value:.6g}"
