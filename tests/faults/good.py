"""Good files of every format, to be spoilt by a test."""

import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
)

SHAPE = (12, 10, 8)
AFFINE = np.diag([-1.0, -1.5, 2.0, 1.0])


def voxels(shape=SHAPE, dtype=np.int16) -> np.ndarray:
    """Noise that no compression shortens much."""
    return np.random.default_rng(0).integers(1, 2000, shape).astype(dtype)


def nifti(folder: Path, name="a.nii", array=None, affine=AFFINE, edit=None) -> Path:
    """A NIfTI-1 file (or pair, by its suffix); `edit` changes the image before it is saved."""
    kind = nib.Nifti1Pair if name.endswith((".hdr", ".img")) else nib.Nifti1Image
    image = kind(voxels() if array is None else array, affine)
    if edit:
        edit(image)
    nib.save(image, folder / name)
    return folder / name


def itk(folder: Path, name="a.mha", packed=False, array=None) -> Path:
    """A MetaImage or NRRD file, by its suffix."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(voxels() if array is None else array)
    image.SetSpacing((1.0, 1.5, 2.0))
    sitk.WriteImage(image, folder / name, packed)
    return folder / name


def picture(folder: Path, name="a.png", array=None, mode=None, **options) -> Path:
    """A PNG, JPEG or TIFF."""
    image = Image.fromarray(voxels((40, 50), np.uint8) if array is None else array)
    (image.convert(mode) if mode else image).save(folder / name, **options)
    return folder / name


def dicom(pixels: np.ndarray, **tags) -> pydicom.Dataset:
    """One image; `tags` are set last, None deletes."""
    d = pydicom.Dataset()
    d.file_meta = pydicom.dataset.FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.PatientID, d.StudyInstanceUID, d.SeriesInstanceUID = "PAT 1", "1.2.3", "1.2.3.4"
    d.SOPInstanceUID = pydicom.uid.generate_uid()
    d.Rows, d.Columns, d.SamplesPerPixel = *pixels.shape[:2], 1
    d.PhotometricInterpretation = "MONOCHROME2"
    d.BitsAllocated = d.BitsStored = pixels.dtype.itemsize * 8
    d.HighBit, d.PixelRepresentation = d.BitsStored - 1, int(pixels.dtype.kind == "i")
    d.PixelData = pixels.tobytes()
    for name, value in tags.items():
        if value is not None:
            setattr(d, name, value)
        elif name in d:
            delattr(d, name)
    d.file_meta.MediaStorageSOPClassUID = d.get("SOPClassUID", CTImageStorage)
    d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID
    return d


def film(folder: Path, pixels=None, name="a.dcm", save=True, **tags) -> Path | pydicom.Dataset:
    """A DX film of 40 x 50 pixels of 16 bits, 0.2 mm."""
    pixels = voxels((40, 50), np.uint16) if pixels is None else pixels
    kind = {
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "Modality": "DX",
        "PixelSpacing": [0.2, 0.2],
    }
    d = dicom(pixels, **{**kind, **tags})
    if not save:
        return d
    d.save_as(folder / name, enforce_file_format=True)
    return folder / name


def ct_slice(k: float, pixels: np.ndarray | None = None, **tags) -> pydicom.Dataset:
    """Slice k of a CT of 16 x 20 pixels, 2 mm from the next."""
    place = {
        "SOPClassUID": CTImageStorage,
        "Modality": "CT",
        "ImagePositionPatient": [-10.0, -20.0, 30.0 + 2 * k],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.5, 0.7],
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "InstanceNumber": int(k) + 1,
    }
    array = voxels((16, 20)) + int(100 * k) if pixels is None else pixels
    return dicom(array.astype(np.int16), **{**place, **tags})


def save(datasets, folder: Path, name="slice") -> list[Path]:
    """Write datasets as <name>0.dcm, <name>1.dcm, ..."""
    paths = []
    for number, d in enumerate(datasets):
        paths.append(folder / f"{name}{number}.dcm")
        d.save_as(paths[-1], enforce_file_format=True)
    return paths


def ct(folder: Path, odd: int | None = None, count=5, pixels=None, spoil=None, **tags) -> Path:
    """A CT series; `tags` and `spoil` (of the dataset) go to slice `odd` only, or to all."""
    datasets = []
    for k in range(count):
        here = odd is None or k == odd
        d = ct_slice(k, None if pixels is None else pixels[k], **(tags if here else {}))
        if spoil and here:
            spoil(d)
        datasets.append(d)
    return save(datasets, folder)[odd or 0]


def items(**tags) -> list[pydicom.Dataset]:
    """A sequence of one item."""
    d = pydicom.Dataset()
    for name, value in tags.items():
        setattr(d, name, value)
    return [d]


def enhanced(frames: list[pydicom.Dataset], shared=(), groups=None, **tags) -> pydicom.Dataset:
    """An Enhanced CT or MR of the given slices, as in files of their own.

    Functional groups named in `shared` are taken from the first slice for all frames. `groups`
    gives further ones by frame: name -> items.
    """
    modality = frames[0].Modality
    kind = EnhancedMRImageStorage if modality == "MR" else EnhancedCTImageStorage
    pixels = np.stack([np.frombuffer(d.PixelData, np.int16) for d in frames])
    d = dicom(pixels.reshape(-1, frames[0].Columns), SOPClassUID=kind, Modality=modality)
    d.Rows, d.NumberOfFrames = frames[0].Rows, len(frames)
    names = {
        "PixelMeasuresSequence": ["PixelSpacing"],
        "PlanePositionSequence": ["ImagePositionPatient"],
        "PlaneOrientationSequence": ["ImageOrientationPatient"],
        "PixelValueTransformationSequence": ["RescaleSlope", "RescaleIntercept"],
    }

    def group(source, wanted, more):
        out = pydicom.Dataset()
        for name in wanted:
            setattr(out, name, items(**{tag: source[tag].value for tag in names[name]}))
        for name, content in more.items():
            setattr(out, name, content)
        return out

    d.SharedFunctionalGroupsSequence = [group(frames[0], shared, {})]
    own = [name for name in names if name not in shared]
    d.PerFrameFunctionalGroupsSequence = [
        group(source, own, groups(k) if groups else {}) for k, source in enumerate(frames)
    ]
    for name, value in tags.items():
        delattr(d, name) if value is None else setattr(d, name, value)
    return d


def cut(path: Path, share: float) -> Path:
    """Keep the first share of a file."""
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    return path


def patch(path: Path, offset: int, new: bytes) -> Path:
    """Overwrite bytes; a negative offset counts from the end."""
    raw = bytearray(path.read_bytes())
    offset %= len(raw)
    raw[offset : offset + len(new)] = new
    path.write_bytes(raw)
    return path


def replace(path: Path, old: bytes, new: bytes) -> Path:
    """Replace bytes, which must occur."""
    raw = path.read_bytes()
    assert old in raw, f"{old!r} is not in {path.name}"
    path.write_bytes(raw.replace(old, new))
    return path


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk with its checksum."""
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
