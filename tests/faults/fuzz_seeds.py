"""Good files of every format that is read, and which of their bytes nothing else confirms.

A reader can know that a byte is wrong only if something else in the file says so: a checksum, a
length, a second field. `Seed.free` names the bytes of which that does not hold:

pixels   voxels stored as they are: any other value is as good (same length only)
stream   a stream without a checksum (JPEG, JPEG-LS, JPEG 2000, RLE, LZW, raw deflate, digits)
stated   header fields that alone say what voxels mean, where they lie or whose they are
"""

import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from tests.faults import good

FILM = "1.2.3.4.99"
Region = tuple[int, int, str]
NIFTI_STATED = [
    "datatype", "pixdim", "scl_slope", "scl_inter", "xyzt_units", "qform_code", "sform_code",
    "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "srow_x",
    "srow_y", "srow_z",
]  # fmt: skip
META_STATED = rb"(?mi)^(ElementType|ElementByteOrderMSB|BinaryDataByteOrderMSB|ElementSpacing|" \
              rb"TransformMatrix|Offset|AnatomicalOrientation|CenterOfRotation)\b.*\n"  # fmt: skip
NRRD_STATED = rb"(?m)^(type|endian|space|space directions|space origin|spacings):.*\n"
DICOM_STATED = [
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept",
    "PixelPaddingValue", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient",
    "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID",
    "Modality", "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
]  # fmt: skip
TIFF_STATED = {
    258: "BitsPerSample", 259: "Compression", 262: "Photometric", 266: "FillOrder",
    277: "SamplesPerPixel", 317: "Predictor", 320: "ColorMap", 338: "ExtraSamples",
    339: "SampleFormat",
}  # fmt: skip


@dataclass
class Seed:
    """The files of one good scan; `free` holds (from, to, kind) of bytes, by file name."""

    name: str
    files: dict[str, bytes]
    free: dict[str, list[Region]] = field(default_factory=dict)


def nifti(folder: Path, name="a.nii", array=None, two=False, big=False, slope=None, **_) -> None:
    array = good.voxels() if array is None else array
    kind = nib.Nifti2Image if two else nib.Nifti1Image
    if name.endswith((".hdr", ".hdr.gz")):
        kind = nib.Nifti2Pair if two else nib.Nifti1Pair
    header = kind.header_class(endianness=">" if big else "<")
    header.set_data_dtype(array.dtype)
    image = kind(array, good.AFFINE, header)
    image.header["descrip"] = b"a scan of nobody"
    if slope:
        image.header.set_slope_inter(slope, -10)
    nib.save(image, folder / name)


def extended(folder: Path) -> None:
    """A NIfTI file with a header extension between header and voxels."""
    extension = nib.nifti1.Nifti1Extension("comment", b"words " * 40)
    good.nifti(folder, edit=lambda image: image.header.extensions.append(extension))


def itk_big(folder: Path) -> None:
    path = good.itk(folder)
    raw = path.read_bytes()
    at = raw.index(b"LOCAL\n") + 6
    head = raw[:at].replace(b"ByteOrderMSB = False", b"ByteOrderMSB = True")
    path.write_bytes(head + np.frombuffer(raw[at:], "<i2").astype(">i2").tobytes())


def digits(folder: Path, name: str) -> None:
    """Voxels as decimal numbers."""
    words = b" ".join(b"%d" % v for v in good.voxels((5, 6, 7)).ravel())
    if name.endswith(".mha"):
        head = (b"ObjectType = Image\nNDims = 3\nBinaryData = False\n"
                b"TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n"
                b"ElementSpacing = 1 1.5 2\nDimSize = 7 6 5\nElementType = MET_SHORT\n"
                b"ElementDataFile = LOCAL\n")  # fmt: skip
    else:
        head = (b"NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\n"
                b"sizes: 7 6 5\nspace directions: (1,0,0) (0,1.5,0) (0,0,2)\n"
                b"kinds: domain domain domain\nencoding: ascii\nspace origin: (0,0,0)\n\n")  # fmt: skip
    (folder / name).write_bytes(head + words + b"\n")


def rich(d: pydicom.Dataset) -> pydicom.Dataset:
    """Adds what a real header has besides: names, a sequence, private elements."""
    d.SeriesDescription, d.PatientName, d.StudyDate = "words of no weight", "NOBODY", "20200131"
    item = pydicom.Dataset()
    item.ReferencedSOPInstanceUID, item.CodeMeaning = "1.2.3.4.5", "nothing"
    d.ReferencedImageSequence = [item, item]
    d.private_block(0x0029, "SOMEONE", create=True).add_new(1, "OB", b"\1\2\3\4" * 20)
    return d


def film(folder: Path, syntax=None, pixels=None, **tags) -> None:
    d = rich(good.film(folder, pixels, save=False, SOPInstanceUID=FILM, **tags))
    if syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        d.compress(syntax, generate_instance_uid=False)
    elif syntax == JPEGBaseline8Bit:
        d.PixelData = encapsulate([jpeg_bytes(pixels)])
        d["PixelData"].is_undefined_length = True
        d.file_meta.TransferSyntaxUID = syntax
    elif syntax:
        d.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            d.PixelData = np.frombuffer(d.PixelData, "<u2").astype(">u2").tobytes()
    pydicom.dcmwrite(folder / "a.dcm", d, enforce_file_format=True)


def fragments(folder: Path) -> None:
    """A JPEG 2000 film in three fragments, with an offset table."""
    d = good.film(folder, save=False, SOPInstanceUID=FILM)
    d.compress(JPEG2000Lossless, generate_instance_uid=False)
    stream = next(pydicom.encaps.generate_frames(d.PixelData, number_of_frames=1))
    d.PixelData = encapsulate([stream], 3, has_bot=True)
    d.save_as(folder / "a.dcm", enforce_file_format=True)


def bare(folder: Path) -> None:
    d = good.film(folder, save=False, SOPInstanceUID=FILM)
    del d.file_meta
    pydicom.dcmwrite(
        folder / "a.dcm", d, implicit_vr=True, little_endian=True, enforce_file_format=False
    )


def palette(folder: Path) -> None:
    ramp = np.arange(256, dtype=np.uint16) * 256
    tables = {}
    for colour in ("Red", "Green", "Blue"):
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tables[f"{colour}PaletteColorLookupTableData"] = ramp.tobytes()
    pixels = good.voxels((40, 50), np.uint8)
    film(folder, None, pixels, PhotometricInterpretation="PALETTE COLOR", **tables)


def rgb(folder: Path) -> None:
    pixels = np.dstack([good.voxels((40, 50), np.uint8)] * 3).copy()
    film(folder, None, pixels, SamplesPerPixel=3, PlanarConfiguration=0,
         PhotometricInterpretation="RGB")  # fmt: skip


def series(folder: Path, syntax=None, **tags) -> None:
    """Five slices."""
    tags = {"SeriesDescription": "words", **tags}

    def spoil(d):
        d.SOPInstanceUID = f"1.2.3.4.{d.InstanceNumber}"
        d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID
        if syntax == ImplicitVRLittleEndian:
            d.file_meta.TransferSyntaxUID = syntax
        elif syntax:
            d.compress(syntax, generate_instance_uid=False)

    good.ct(folder, spoil=spoil, **tags)


def jpeg_bytes(array: np.ndarray, **options) -> bytes:
    stream = io.BytesIO()
    good.Image.fromarray(array).save(stream, "JPEG", **options)
    return stream.getvalue()


def gradient(shape=(40, 50)) -> np.ndarray:
    """A smooth picture, so that JPEG has something to keep."""
    rows, columns = np.indices(shape)
    return (2 * rows + 3 * columns).astype(np.uint8)


EIGHT, SIXTEEN = good.voxels((40, 50), np.uint8), good.voxels((40, 50), np.uint16)
FLOAT = good.voxels().astype(np.float32) / 7
MAKERS: dict[str, Callable[[Path], object]] = {
    "dicom-explicit": film,
    "dicom-implicit": partial(film, syntax=ImplicitVRLittleEndian),
    "dicom-big-endian": partial(film, syntax=ExplicitVRBigEndian),
    "dicom-deflated": partial(film, syntax=DeflatedExplicitVRLittleEndian),
    "dicom-rle": partial(film, syntax=RLELossless),
    "dicom-jpeg2000": partial(film, syntax=JPEG2000Lossless),
    "dicom-jpeg-ls": partial(film, syntax=JPEGLSLossless),
    "dicom-jpeg": partial(film, syntax=JPEGBaseline8Bit, pixels=gradient()),
    "dicom-fragments": fragments,
    "dicom-monochrome1": partial(film, pixels=EIGHT, PhotometricInterpretation="MONOCHROME1"),
    "dicom-padding": partial(film, PixelPaddingValue=int(SIXTEEN[0, 0])),
    "dicom-12-bit": partial(film, BitsStored=12, HighBit=11),
    "dicom-rgb": rgb,
    "dicom-palette": palette,
    "dicom-bare": bare,
    "dicom-ct": series,
    "dicom-ct-implicit": partial(series, syntax=ImplicitVRLittleEndian),
    "dicom-ct-rle": partial(series, syntax=RLELossless),
    "dicom-ct-jpeg2000": partial(series, syntax=JPEG2000Lossless, pixels=[good.voxels((40, 50))] * 5),
    "dicom-ct-jpeg-ls": partial(series, syntax=JPEGLSLossless),
    "dicom-mr": partial(series, Modality="MR", RescaleSlope=1.25, RescaleIntercept=0,
                        SOPClassUID="1.2.840.10008.5.1.4.1.1.4"),
    "nifti": nifti,
    "nifti-gz": partial(nifti, name="a.nii.gz"),
    "nifti-float": partial(nifti, array=FLOAT),
    "nifti-scaled": partial(nifti, array=good.voxels(dtype=np.uint8), slope=2.5),
    "nifti-big-endian": partial(nifti, big=True),
    "nifti-extended": extended,
    "nifti-pair": partial(nifti, name="a.hdr"),
    "nifti-pair-gz": partial(nifti, name="a.hdr.gz"),
    "nifti2": partial(nifti, two=True),
    "nifti2-gz": partial(nifti, two=True, name="a.nii.gz", array=FLOAT),
    "mha": good.itk,
    "mha-zlib": partial(good.itk, packed=True),
    "mha-float": partial(good.itk, array=FLOAT),
    "mha-big-endian": itk_big,
    "mha-digits": partial(digits, name="a.mha"),
    "mha-2d": partial(good.itk, array=SIXTEEN),
    "mhd": partial(good.itk, name="a.mhd"),
    "mhd-zlib": partial(good.itk, name="a.mhd", packed=True),
    "nrrd": partial(good.itk, name="a.nrrd"),
    "nrrd-gzip": partial(good.itk, name="a.nrrd", packed=True),
    "nrrd-digits": partial(digits, name="a.nrrd"),
    "nhdr": partial(good.itk, name="a.nhdr"),
    "nhdr-gzip": partial(good.itk, name="a.nhdr", packed=True),
    "png-8": partial(good.picture, array=EIGHT),
    "png-16": partial(good.picture, array=SIXTEEN),
    "png-1": partial(good.picture, array=EIGHT, mode="1"),
    "png-palette": partial(good.picture, mode="P"),
    "png-rgba": partial(good.picture, mode="RGBA"),
    "png-large": partial(good.picture, array=good.voxels((300, 400), np.uint8)),
    "jpeg": partial(good.picture, name="a.jpg", array=gradient()),
    "jpeg-progressive": partial(good.picture, name="a.jpg", array=gradient(), mode="RGB",
                                progressive=True),
    "tiff": partial(good.picture, name="a.tif"),
    "tiff-16": partial(good.picture, name="a.tif", array=SIXTEEN),
    "tiff-float": partial(good.picture, name="a.tif", array=FLOAT[0]),
    "tiff-deflate": partial(good.picture, name="a.tif", array=SIXTEEN,
                            compression="tiff_adobe_deflate"),
    "tiff-lzw": partial(good.picture, name="a.tif", compression="tiff_lzw"),
    "tiff-packbits": partial(good.picture, name="a.tif", compression="packbits"),
}  # fmt: skip


def make(name: str, folder: Path) -> Seed:
    """Write the files of a seed into an empty folder."""
    MAKERS[name](folder)
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    family = name.partition("-")[0]
    find = FREE[family]
    return Seed(name, files, {file: find(name, file, raw) for file, raw in files.items()})


def _nifti(name: str, file: str, raw: bytes) -> list[Region]:
    if file.endswith(".gz"):
        return []
    if file.endswith(".img"):
        return [(0, len(raw), "pixels")]
    kind = nib.Nifti2Header if name.startswith("nifti2") else nib.Nifti1Header
    start = int(kind(raw[: kind.template_dtype.itemsize], check=False)["vox_offset"])
    fields = kind.template_dtype.fields
    free = [(fields[n][1], fields[n][1] + fields[n][0].itemsize, "stated") for n in NIFTI_STATED]
    return free + ([] if file.endswith(".hdr") else [(start, len(raw), "pixels")])


def _text(pattern: bytes, end: re.Pattern, name: str, file: str, raw: bytes) -> list[Region]:
    if file.endswith(".raw"):
        return [(0, len(raw), "pixels")]
    if file.endswith((".zraw", ".gz")):
        return []
    found = end.search(raw)
    stop = found.end() if found else len(raw)
    free = [(*m.span(), "stated") for m in re.finditer(pattern, raw[:stop])]
    packed = name.endswith(("zlib", "gzip"))
    kind = "stream" if name.endswith("digits") else "pixels"
    return free + ([] if packed else [(stop, len(raw), kind)])


def _dicom(name: str, file: str, raw: bytes) -> list[Region]:
    d = pydicom.dcmread(io.BytesIO(raw), force=True)
    if name == "dicom-deflated":
        return [(132 + 12 + d.file_meta.FileMetaInformationGroupLength, len(raw), "stream")]
    free = []
    for tag in DICOM_STATED:
        if tag in d:
            item = d.get_item(tag)
            free.append((item.value_tell - 8, item.value_tell + item.length, "stated"))
    pixels = d.get_item("PixelData")
    kind = "stream" if pixels.length == 0xFFFFFFFF else "pixels"
    stop = len(raw) if kind == "stream" else pixels.value_tell + len(pixels.value)
    return [*free, (pixels.value_tell, stop, kind)]


def _tiff(name: str, file: str, raw: bytes) -> list[Region]:
    """Entries of the one directory, the values they point to, and strips that have no checksum."""
    at = struct.unpack("<I", raw[4:8])[0]
    free, strips = [], {}
    for k in range(struct.unpack("<H", raw[at : at + 2])[0]):
        entry = at + 2 + 12 * k
        tag, kind, count, value = struct.unpack("<HHII", raw[entry : entry + 12])
        size = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8}.get(kind, 1) * count
        place = entry + 8 if size <= 4 else value
        # Where an LZW strip ends, only a decoder could tell.
        if tag in TIFF_STATED or name == "tiff-lzw" and tag in (256, 257, 278):
            free += [(entry, entry + 12, "stated"), (place, place + size, "stated")]
        elif tag in (273, 279):
            strips[tag] = np.frombuffer(raw, {3: "<u2", 4: "<u4"}[kind], count, place)
    kind = "stream" if name.endswith(("lzw", "packbits")) else "pixels"
    if name != "tiff-deflate":
        free += [(int(a), int(a + n), kind) for a, n in zip(strips[273], strips[279], strict=True)]
    return free


def _none(name: str, file: str, raw: bytes) -> list[Region]:
    return []


def _jpeg(name: str, file: str, raw: bytes) -> list[Region]:
    """All of it: no segment of a JPEG confirms another. The frame header alone says the size."""
    at = re.search(rb"\xff[\xc0\xc2]", raw).start()
    return [(0, at, "stream"), (at, at + 19, "stated"), (at + 19, len(raw), "stream")]


_meta = partial(_text, META_STATED, re.compile(rb"ElementDataFile = .*\n"))
_nrrd = partial(_text, NRRD_STATED, re.compile(rb"\n\n"))
FREE = {
    "dicom": _dicom, "nifti": _nifti, "nifti2": _nifti, "mha": _meta, "mhd": _meta,
    "nrrd": _nrrd, "nhdr": _nrrd, "png": _none, "jpeg": _jpeg, "tiff": _tiff,
}  # fmt: skip
