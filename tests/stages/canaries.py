"""Scans full of words that must never come out: in every tag, header field and name."""

import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.datadict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.uid import CTImageStorage, DigitalXRayImageStorageForPresentation, MRImageStorage

from medssl.data.index.dicom_tags import GEOMETRY, PIXELS

TEXT = {"AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"}
KEPT = {
    *GEOMETRY,
    *PIXELS,
    "SOPClassUID",
    "Modality",
    "SpecificCharacterSet",
    "FrameIncrementPointer",
}
PRIVATE = 0xF0


class Canaries:
    """Makes words that occur nowhere else, and remembers them."""

    def __init__(self):
        self.words: list[str] = []

    def text(self) -> str:
        return self._kept(f"CANARY{len(self.words):05d}Q")

    def number(self) -> str:
        return self._kept(f"731{len(self.words):06d}")

    def uid(self) -> str:
        return self._kept(f"1.2.826.0.99.77{len(self.words):06d}.1950")

    def folder(self) -> str:
        return f"{self.text()}^JOHN_19500101"

    def _kept(self, word: str) -> str:
        self.words.append(word)
        return word

    def of(self, vr: str) -> str:
        return self.uid() if vr == "UI" else self.number() if vr in ("IS", "DS") else self.text()


def fill(datasets: list[pydicom.Dataset], canaries: Canaries) -> None:
    """A canary for every text tag of the dictionary, and one in every sequence, spread over files."""
    known = [(tag, vr, keyword) for tag, (vr, *_, keyword) in DicomDictionary.items()]
    for number, (tag, vrs, keyword) in enumerate(known):
        vr, dataset = vrs.split(" or ")[0], datasets[number % len(datasets)]
        if tag >> 16 < 8 or tag & 0xFFFF == 0 or keyword in KEPT or keyword in dataset:
            continue
        if vr == "SQ":
            inner = pydicom.Dataset()
            inner.ContentDescription, inner.PersonName = canaries.text(), canaries.text() + "^J"
            deeper = pydicom.Dataset()
            deeper.TextValue = canaries.text()
            inner.ContentSequence = [deeper]
            dataset.add_new(tag, vr, [inner])
        elif vr in TEXT | {"UI", "IS", "DS"}:
            dataset.add(DataElement(tag, vr, canaries.of(vr), validation_mode=0))
    block = datasets[0].private_block(0x0099, canaries.text(), create=True)
    for element in range(PRIVATE):
        block.add_new(element, "LO", canaries.text())


def dicom(folder: Path, canaries: Canaries, array: np.ndarray, **tags) -> list[Path]:
    """An MR series of an int16 array (rows, columns, slices) under its canaries."""
    patient, study, series = canaries.text(), canaries.uid(), canaries.uid()
    echo, slices = canaries.number(), []
    for k in range(array.shape[2]):
        d = image(array[:, :, k], MRImageStorage, "MR", canaries)
        d.PatientID, d.StudyInstanceUID, d.SeriesInstanceUID = patient, study, series
        d.ImagePositionPatient, d.ImageOrientationPatient = [0, 0, 2.0 * k], [1, 0, 0, 0, 1, 0]
        d.EchoNumbers = echo
        d.PixelSpacing, d.RescaleSlope, d.RescaleIntercept = [1, 1], 1, 0
        for name, value in tags.items():
            setattr(d, name, value(k) if callable(value) else value)
        slices.append(d)
    fill(slices, canaries)
    return [_saved(d, folder / f"{canaries.text()}.dcm") for d in slices]


def film(folder: Path, canaries: Canaries, array: np.ndarray, **tags) -> Path:
    """A DX film of a uint16 array under its canaries."""
    d = image(array, DigitalXRayImageStorageForPresentation, "DX", canaries)
    d.PatientID, d.StudyInstanceUID, d.SeriesInstanceUID = (
        canaries.text(), canaries.uid(), canaries.uid(),
    )  # fmt: skip
    for name, value in tags.items():
        setattr(d, name, value)
    fill([d], canaries)
    return _saved(d, folder / f"{canaries.text()}.dcm")


def image(array: np.ndarray, kind: str, modality: str, canaries: Canaries) -> pydicom.Dataset:
    d = pydicom.Dataset()
    d.file_meta = pydicom.dataset.FileMetaDataset()
    d.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID = kind
    d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID = canaries.uid()
    d.Modality, d.PhotometricInterpretation, d.SamplesPerPixel = modality, "MONOCHROME2", 1
    d.Rows, d.Columns = array.shape
    d.BitsAllocated = d.BitsStored = 16
    d.HighBit, d.PixelRepresentation = 15, int(array.dtype.kind == "i")
    d.PixelData = np.ascontiguousarray(array).tobytes()
    d.preamble = b"MZ" + canaries.text().encode().ljust(126, b"\0")
    return d


def _saved(dataset: pydicom.Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def nifti(path: Path, canaries: Canaries, array: np.ndarray) -> Path:
    made = nib.Nifti1Image(array, np.diag([1.0, 1, 1, 1]))
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        made.header[field] = canaries.text()
    for code in (4, 6):
        made.header.extensions.append(nib.nifti1.Nifti1Extension(code, canaries.text().encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(made, path)
    return path


def itk(path: Path, canaries: Canaries, array: np.ndarray) -> Path:
    """NRRD or MetaImage with a dozen fields of their own."""
    made = sitk.GetImageFromArray(array)
    for name in ["Comment", "Name", "PatientName", *(f"key{i}" for i in range(10))]:
        made.SetMetaData(name, canaries.text())
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(made, str(path))
    return path


def picture(path: Path, canaries: Canaries, array: np.ndarray) -> Path:
    """PNG text of three kinds, JPEG comment and EXIF, or TIFF tags, by the suffix."""
    made = Image.fromarray(array)
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    for tag in (0x010E, 0x010F, 0x0131, 0x013B, 0x8298):  # description, maker, artist, ...
        exif[tag] = canaries.text()
    if path.suffix == ".png":
        text = PngInfo()
        text.add_text("Comment", canaries.text())
        text.add_text("Patient", canaries.text(), zip=True)
        text.add_itxt("Title", canaries.text(), zip=True)
        made.save(path, pnginfo=text, exif=exif)
    elif path.suffix == ".jpg":
        made.save(path, exif=exif, comment=canaries.text().encode())
    else:
        made.save(path, tiffinfo={tag: exif[tag] for tag in exif})
    return path


def broken(folder: Path, canaries: Canaries) -> None:
    """Files that are refused, each for another reason that could repeat what it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    word = canaries.text

    def write(suffix: str, content: str | bytes) -> None:
        data = content.encode() if isinstance(content, str) else content
        (folder / f"{word()}{suffix}").write_bytes(data)

    write(".nii.gz", word())
    write(".nrrd", f"NRRD0004\ntype: {word()}\ndimension: 3\nsizes: 2 2 2\n\n")
    write(".nrrd", f"NRRD0004\ntype: short\nsizes: {word()}\nspacings: 1 1 1\n\n")
    write(".nhdr", f"NRRD0004\ntype: short\nsizes: 2 2 2\ndata file: {word()}.raw\n\n")
    write(".nhdr", f"NRRD0004\ntype: short\nsizes: 2 2 2\ndata file: ../../{word()}\n\n")
    head = "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementSpacing = 1 1 1\n"
    write(".mha", f"{head}ElementType = {word()}\nElementDataFile = LOCAL\n")
    write(".mhd", f"{head}ElementType = MET_SHORT\nElementDataFile = {word()}\n")
    write(f".{word()}", word())
    write(".hdr", struct.pack("<i", 348) + bytes(300) + word().encode())
    small = np.zeros((8, 8), np.int16)
    for tags in (
        {"PhotometricInterpretation": word()}, {"Modality": word()[:16]},
        {"SOPClassUID": canaries.uid()}, {"SamplesPerPixel": 3},
    ):  # fmt: skip
        d = image(small, CTImageStorage, "CT", canaries)
        d.PatientID = word()
        for name, value in tags.items():
            setattr(d, name, value)
        _saved(d, folder / f"{word()}.dcm")
    for name in ("RescaleSlope", "NumberOfFrames", "PixelSpacing"):
        d = image(small, CTImageStorage, "CT", canaries)
        d.add(DataElement(name, "LO", word()))
        d.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        _saved(d, folder / f"{word()}.dcm")
