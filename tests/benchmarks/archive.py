"""An archive of any size in the state of a real one, and what an index must say of its bad files.

Headers of slices have about 130 elements, private ones and sequences among them, as scanners write.
"""

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import MPEG2MPML, CTImageStorage, RTDoseStorage

from tests.faults import good

SLICES = 40
SHARES = {"nifti": 0.04, "png": 0.02, "mha": 0.015, "nrrd": 0.015}
BAD_SHARE = 0.01
TEXTS = """
AccessionNumber AcquisitionType BodyPartExamined ContrastBolusAgent ConvolutionKernel
DeviceSerialNumber ExposureModulationType FilterType InstitutionName InstitutionalDepartmentName
Manufacturer ManufacturerModelName OperatorsName PatientComments PatientPosition
PerformingPhysicianName ProtocolName ReferringPhysicianName RequestedProcedureDescription
RotationDirection ScanOptions SeriesDescription SoftwareVersions StationName StudyDescription
StudyID
"""
NUMBERS = """
CTDIvol DataCollectionDiameter DistanceSourceToDetector DistanceSourceToPatient Exposure
ExposureTime FocalSpots GantryDetectorTilt GeneratorPower KVP PatientWeight ReconstructionDiameter
RevolutionTime SingleCollimationWidth SliceThickness SpiralPitchFactor TableFeedPerRotation
TableHeight TableSpeed TotalCollimationWidth WindowCenter WindowWidth XRayTubeCurrent
"""
DATES = "AcquisitionDate ContentDate SeriesDate StudyDate PatientBirthDate"
TIMES = "AcquisitionTime ContentTime SeriesTime StudyTime"
PRIVATE = 40
# Where slices differ: the template holds the text on the left, a slice text of the same length.
TOKENS = {
    "PatientID": "P7000001", "StudyInstanceUID": "1.2.3.47000001",
    "SeriesInstanceUID": "1.2.3.57000002", "SOPInstanceUID": "1.2.3.67000003",
    "ImagePositionPatient": "0\\0\\74001.5", "InstanceNumber": "7500",
}  # fmt: skip


def make(folder: Path, files: int) -> dict[str, str]:
    """Write about that many files; returns path below `folder` -> code, for the bad ones."""
    folder.mkdir(parents=True)
    bad = round(files * BAD_SHARE)
    others = {name: round(files * share) for name, share in SHARES.items()}
    _series(folder / "pacs", files - bad - sum(others.values()))
    seeds = folder / "seeds"
    seeds.mkdir()
    sources = {
        "nifti": good.nifti(seeds), "png": good.picture(seeds), "mha": good.itk(seeds),
        "nrrd": good.itk(seeds, "a.nrrd", packed=True),
    }  # fmt: skip
    for name, source in sources.items():
        raw, here = source.read_bytes(), folder / name
        here.mkdir()
        for n in range(others[name]):
            (here / f"case_{n:05d}{source.suffix}").write_bytes(raw)
    shutil.rmtree(seeds)
    return _bad(folder, bad)


def template() -> bytes:
    """A CT slice of 32 x 32 pixels with a full header."""
    d = good.dicom(
        good.voxels((32, 32)), SOPClassUID=CTImageStorage, Modality="CT", PixelSpacing=[0.7, 0.7],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0], RescaleSlope=1, RescaleIntercept=-1024,
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], AcquisitionNumber=1, **TOKENS,
    )  # fmt: skip
    d.file_meta.MediaStorageSOPInstanceUID = TOKENS["SOPInstanceUID"]
    for names, value in ((TEXTS, "word"), (DATES, "20200101"), (TIMES, "120000")):
        for name in names.split():
            setattr(
                d, name, value.upper() if dictionary_VR(tag_for_keyword(name)) == "CS" else value
            )
    for name in NUMBERS.split():
        setattr(d, name, 12)
    for group in (0x0019, 0x0029):
        block = d.private_block(group, "SCANNER HEADER", create=True)
        for n in range(PRIVATE // 2):
            block.add_new(n, *(("OB", bytes(1500)) if n == 3 else ("LO", "private words")))
    for name in ("RequestAttributesSequence", "ReferencedImageSequence", "ProcedureCodeSequence"):
        item = pydicom.Dataset()
        item.CodeValue, item.CodeMeaning = "1", "meaning"
        setattr(d, name, [item, item])
        d[name].is_undefined_length = item.is_undefined_length_sequence_item = True
    buffer = pydicom.filebase.DicomBytesIO()
    d.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _series(folder: Path, slices: int) -> None:
    for n in range(slices):
        series, at = divmod(n, SLICES)
        here = folder / f"st{series // 100:03d}" / f"se{series:05d}"
        here.mkdir(parents=True, exist_ok=True)
        (here / f"{at:04d}.dcm").write_bytes(_slice(series // 2, series, n, at))


def _slice(study: int, series: int, instance: int, at: int) -> bytes:
    values = (
        f"P{study:07d}", f"1.2.3.4{study + 1_000_000}", f"1.2.3.5{series + 1_000_000}",
        f"1.2.3.6{instance + 1_000_000}", f"0\\0\\{2.5 * at:07.1f}", f"{at + 1:04d}",
    )  # fmt: skip
    raw = TEMPLATE
    for token, value in zip(TOKENS.values(), values, strict=True):
        assert len(token) == len(value), (token, value)
        raw = raw.replace(token.encode(), value.encode())
    return raw


def _edited(folder: Path, **tags) -> Path:
    """A slice alone with other tags; None deletes."""
    d = pydicom.dcmread(pydicom.filebase.DicomBytesIO(TEMPLATE))
    for name, value in tags.items():
        if value is None:
            delattr(d, name)
        else:
            setattr(d, name, value)
    d.SeriesInstanceUID = pydicom.uid.generate_uid()
    d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    d.save_as(folder / "a.dcm", enforce_file_format=True)
    return folder / "a.dcm"


def _written(folder: Path, name: str, raw: bytes) -> Path:
    (folder / name).write_bytes(raw)
    return folder / name


def _video(folder: Path) -> Path:
    d = good.film(folder, save=False)
    d.file_meta.TransferSyntaxUID = MPEG2MPML
    d.PixelData = pydicom.encaps.encapsulate([bytes(64)])
    d["PixelData"].is_undefined_length = True
    d.save_as(folder / "a.dcm", enforce_file_format=True)
    return folder / "a.dcm"


def _link(folder: Path) -> Path:
    (folder / "a.nii").symlink_to("nowhere.nii")
    return folder / "a.nii"


KINDS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "empty": ("EMPTY", lambda d: _written(d, "a.dcm", b"")),
    "web page": ("UNREADABLE", lambda d: _written(d, "a.dcm", b"<html><p>404</p></html>")),
    "LFS pointer": ("UNREADABLE", lambda d: _written(d, "a.nii.gz", b"version https://git-lfs\n")),
    "HDF5": ("UNSUPPORTED", lambda d: _written(d, "a.h5", b"\x89HDF\r\n\x1a\n" + bytes(600))),
    "broken link": ("LINK", _link),
    "cut film": ("CUT", lambda d: good.cut(good.film(d), 0.6)),
    "no Rows": ("HEADER", lambda d: good.film(d, Rows=None)),
    "12 bits allocated": ("DTYPE", lambda d: good.film(d, BitsAllocated=12)),
    "slope 0": ("SCALE", lambda d: good.film(d, RescaleSlope=0)),
    "spacing 0": ("GEOMETRY", lambda d: good.film(d, PixelSpacing=[0, 0.2])),
    "65535 x 65535": ("TOO_LARGE", lambda d: good.film(d, Rows=65535, Columns=65535)),
    "no decoder": ("CODEC", _video),
    "dose": ("NOT_IMAGE", lambda d: _edited(d, SOPClassUID=RTDoseStorage, Modality="RTDOSE")),
    "slice alone": ("FEW_SLICES", _edited),
    "slice without place": ("GEOMETRY", partial(_edited, ImagePositionPatient=None)),
    "NIfTI magic": ("UNREADABLE", lambda d: good.patch(good.nifti(d), 344, b"xxxx")),
    "NIfTI cut": ("CUT", lambda d: good.cut(good.nifti(d), 0.6)),
    "NIfTI negative": ("HEADER", lambda d: good.patch(good.nifti(d), 42, b"\xf4\xff")),
    "MHA spacing 0": ("GEOMETRY", lambda d: good.replace(
        good.itk(d), b"ElementSpacing = 1 1.5 2", b"ElementSpacing = 1 0 2")),
    "NRRD cut": ("CUT", lambda d: good.replace(
        good.itk(d, "a.nrrd"), b"sizes: 8 10 12", b"sizes: 9 10 12")),
}  # fmt: skip


def _bad(folder: Path, count: int) -> dict[str, str]:
    """`count` bad files, each kind in turn, some in folders of their own, some among good ones."""
    codes, homes = {}, sorted((folder / "pacs").rglob("se*"))
    scratch = folder / "scratch"
    for n in range(count):
        name, (code, write) = list(KINDS.items())[n % len(KINDS)]
        scratch.mkdir()
        source = write(scratch)
        suffix = "".join(source.suffixes)
        among = suffix != ".dcm" or name in ("dose", "slice alone")
        home = homes[n * 7 % len(homes)] if among else folder / "pacs" / f"odd{n:05d}"
        home.mkdir(exist_ok=True)
        target = home / f"{name.replace(' ', '_')}{suffix}"
        os.replace(source, target)
        shutil.rmtree(scratch)
        codes[target.relative_to(folder).as_posix()] = code
    return codes


TEMPLATE = template()
