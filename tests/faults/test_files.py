"""Group A: files and headers."""

import errno
import gzip
import os
import shutil
import socket
import struct
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import (
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medssl.data.index import dicom_image, read, scan
from medssl.data.manifest import Manifest
from medssl.errors import UserError
from medssl.stages import index, prepare
from tests.faults import good

TEST_FILES = Path(pydicom.__file__).parent / "data/test_files"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
SUFFIXES = ("dcm", "nii.gz", "nii", "png", "jpg", "tif", "mha", "nrrd")


def content(name: str, raw: bytes, folder: Path) -> None:
    (folder / name).write_bytes(raw)


def real(name: str, folder: Path) -> Path:
    """A copy of one of pydicom's test files."""
    return Path(shutil.copy(TEST_FILES / name, folder))


def cut_real(name: str, share: float, folder: Path) -> None:
    good.cut(real(name, folder), share)


def cut_header(at: int, folder: Path) -> None:
    path = real("CT_small.dcm", folder)
    path.write_bytes(path.read_bytes()[:at])


def bare(folder: Path, implicit: bool = False, little: bool = True) -> None:
    d = good.film(folder, save=False)
    del d.file_meta
    path = folder / "a.dcm"
    pydicom.dcmwrite(path, d, implicit_vr=implicit, little_endian=little, enforce_file_format=False)


def charset(value, folder: Path) -> None:
    good.replace(good.film(folder, SpecificCharacterSet="ISO_IR 100"), b"ISO_IR 100", value)


def compressed(syntax, folder: Path, spoil=None) -> Path:
    """A film, compressed with the codec at hand; `spoil` changes its stream."""
    d = good.film(folder, save=False)
    d.compress(syntax)
    if spoil:
        stream = next(pydicom.encaps.generate_frames(d.PixelData, number_of_frames=1))
        d.PixelData = pydicom.encaps.encapsulate([spoil(stream)])
    d.save_as(folder / "a.dcm", enforce_file_format=True)
    return folder / "a.dcm"


def jpeg2000(folder: Path, start: float, end: float) -> None:
    """A real JPEG 2000 film whose stream is zeroed between two shares of it."""
    d = pydicom.dcmread(TEST_FILES / "examples_jpeg2k.dcm")
    stream = bytearray(next(pydicom.encaps.generate_frames(d.PixelData, number_of_frames=1)))
    a, b = int(len(stream) * start), int(len(stream) * end)
    stream[a:b] = bytes(b - a)
    d.PixelData = pydicom.encaps.encapsulate([bytes(stream)])
    d.save_as(folder / "a.dcm")


def gz(folder: Path, change) -> None:
    path = good.nifti(folder, "a.nii.gz")
    path.write_bytes(change(path.read_bytes(), gzip.decompress(path.read_bytes())))


def flip(at: float, folder: Path, name: str = "a.nii.gz") -> None:
    path = good.nifti(folder, name)
    size = path.stat().st_size
    at = int(size * at) if at >= 0 else size + int(at)
    good.patch(path, at, bytes([path.read_bytes()[at] ^ 0x10]))


def packed_flip(name: str, share: float, folder: Path) -> None:
    path = good.itk(folder, name, packed=True)
    at = int(path.stat().st_size * share)
    good.patch(path, at, bytes([path.read_bytes()[at] ^ 0x10]))


def renamed(old: str, new: str, folder: Path) -> None:
    good.nifti(folder, old).rename(folder / new)


def dim(values: list[int], folder: Path, name="a.nii") -> None:
    path = good.nifti(folder, "a.nii")
    good.patch(path, 40, struct.pack(f"<{len(values)}h", *values))
    if name.endswith(".gz"):
        (folder / name).write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


def scale(slope: float, shift: float, folder: Path) -> None:
    good.patch(good.nifti(folder), 112, struct.pack("<2f", slope, shift))


def png_flip(folder: Path, at: float) -> None:
    path = good.picture(folder)
    at = int(path.stat().st_size * at)
    good.patch(path, at, bytes([path.read_bytes()[at] ^ 1]))


def png_crc(folder: Path) -> None:
    path = good.picture(folder)
    good.patch(path, path.read_bytes().index(b"IEND") - 8, b"\0\0\0\0")


def png16(folder: Path) -> None:
    good.picture(folder, array=good.voxels((40, 50), np.uint16))


def exif(folder: Path, name: str, turn: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = turn
    good.picture(folder, name, exif=tags)


def pages(folder: Path, count: int, **options) -> None:
    image = Image.fromarray(good.voxels((40, 50), np.uint8))
    more = [image] * (count - 1)
    image.save(folder / "a.tif", save_all=True, append_images=more, **options)


def named(name: str, folder: Path) -> None:
    good.nifti(folder).rename(folder / name)


def deep(folder: Path) -> None:
    here = folder
    for _ in range(12):
        here = here / ("d" * 30)
        here.mkdir()
    good.nifti(here)


def unnamed(raw: bytes, folder: Path) -> None:
    """An unneeded tag with a value that breaks its type."""
    good.replace(good.film(folder, PatientWeight="71.25"), b"71.25", raw)


def datatype(dtype, folder: Path) -> None:
    good.nifti(folder, array=np.zeros(good.SHAPE, dtype))


CASES = {
    **{f"A1-{s}": ("EMPTY", partial(content, f"x.{s}", b"")) for s in SUFFIXES},
    **{
        f"A2-html-{s}": ("UNREADABLE", partial(content, f"x.{s}", b"<html><p>404</p>"))
        for s in SUFFIXES
    },
    **{f"A2-lfs-{s}": ("UNREADABLE", partial(content, f"x.{s}", LFS)) for s in SUFFIXES},
    "A3-real": ("CUT", partial(real, "MR_truncated.dcm")),
    **{
        f"A3-cut{p}": ("CUT|UNREADABLE|HEADER", partial(cut_real, "CT_small.dcm", p / 100))
        for p in (10, 25, 40, 60, 80, 90, 99)
    },
    **{
        f"A3-{n[9:-4]}-cut{p}": ("CUT", partial(cut_real, n, p / 100))
        for n in ("MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm")
        for p in (60, 95)
    },
    "A4-real": ("skip", partial(real, "rtplan_truncated.dcm")),
    **{
        f"A4-cut{at}": ("CUT|UNREADABLE|HEADER|NOT_IMAGE", partial(cut_header, at))
        for at in range(64, 6000, 64)
    },
    "A5-explicit": ("remark: no DICOM preamble", bare),
    "A5-implicit": ("remark: no DICOM preamble", partial(bare, implicit=True)),
    "A5-big-endian": ("remark: no DICOM preamble", partial(bare, little=False)),
    "A6-frames": (
        "HEADER",
        lambda d: good.replace(good.film(d, NumberOfFrames="7654"), b"7654", b"7A54"),
    ),
    "A6-rows": ("HEADER", lambda d: good.film(d, Rows=None)),
    "A6-bits": ("DTYPE", lambda d: good.film(d, BitsAllocated=12)),
    "A6-unneeded-number": ("ok", partial(unnamed, b"7x.25"))  ,
    "A6-unneeded-bytes": ("ok", partial(unnamed, b"\xff\xfe\x00\x01\x02"))  ,
    "A6-unneeded-date": (
        "ok",
        lambda d: good.replace(good.film(d, StudyDate="20200131"), b"20200131", b"2020ABCD"),
    ),
    "A7-comma": (
        "HEADER",
        lambda d: good.replace(good.film(d, PixelSpacing=[0.25, 0.25]), b"0.25\\0.25", b"0,25\\0,25"),
    ),
    "A7-slope": (
        "HEADER",
        lambda d: good.replace(
            good.film(d, RescaleSlope="1.2345"), b"1.2345", b"1,2345"
        ),
    ),
    "A7-words": (
        "HEADER",
        lambda d: good.replace(
            good.film(d, PixelSpacing=[0.25, 0.25]), b"0.25\\0.25", b"wide\\high"
        ),
    ),
    "A7-three": ("HEADER", lambda d: good.film(d, PixelSpacing=[0.1, 0.2, 0.3])),
    "A7-whole-as-decimal": ("HEADER",
        lambda d: good.replace(good.film(d, NumberOfFrames="1234"), b"1234", b"1.0 "),
    ),
    "A8-empty": ("ok", partial(charset, b"          ")),
    "A8-unknown": ("ok", partial(charset, b"ISO_IR 999")),
    "A8-bytes": ("ok", partial(charset, b"\xff\xfe\xfd\xfc      ")),
    **{
        f"A9-{n.split('.')[0]}": ("skip", partial(real, n))
        for n in ("rtplan.dcm", "rtstruct.dcm", "reportsi.dcm", "test-SR.dcm",
                  "waveform_ecg.dcm", "dicomdirtests/DICOMDIR", "rtdose.dcm")
    },
    "A11-real": (
        "HEADER|UNREADABLE", partial(real, "JPEG2000-embedded-sequence-delimiter.dcm")),
    "A11-j2k-start": ("UNREADABLE|HEADER", partial(jpeg2000, start=0, end=0.05)),
    "A11-j2k-size": ("UNREADABLE|HEADER", partial(jpeg2000, start=0, end=0.001)),
    "A11-rle-start": (
        "CUT|UNREADABLE", partial(compressed, RLELossless, spoil=lambda s: b"\xff" * 64 + s[64:])),
    "A11-rle-short": (
        "CUT|UNREADABLE", partial(compressed, RLELossless, spoil=lambda s: s[: len(s) // 2])),
    "A11-jls-start": (
        "UNREADABLE|HEADER",
        partial(compressed, JPEGLSLossless, spoil=lambda s: bytes(16) + s[16:])),
    "A11-jls-short": (
        "CUT|UNREADABLE", partial(compressed, JPEGLSLossless, spoil=lambda s: s[: len(s) // 2])),
    "A11-j2k-short": (
        "CUT|UNREADABLE", partial(compressed, JPEG2000Lossless, spoil=lambda s: s[: len(s) // 2])),
    "A11-empty": ("CUT|UNREADABLE", partial(compressed, RLELossless, spoil=lambda s: b"\0\0")),
    **{
        f"A12-cut{p}": ("CUT|UNREADABLE", lambda d, p=p: good.cut(good.nifti(d), p / 100))
        for p in (2, 20, 60, 99)
    },
    "A12-pair": ("CUT|UNREADABLE", lambda d: good.cut(good.nifti(d, "a.hdr").with_suffix(".img"), 0.5)),
    **{
        f"A13-cut{p}": (
            "CUT|UNREADABLE", lambda d, p=p: good.cut(good.nifti(d, "a.nii.gz"), p / 100))
        for p in (2, 20, 60, 90, 99)
    },
    **{
        f"A14-flip{round(100 * s)}": ("UNREADABLE|CUT|HEADER|GEOMETRY|SCALE|DTYPE", partial(flip, s))
        for s in np.linspace(0.1, 0.99, 20)
    },
    "A14-crc": ("UNREADABLE", partial(flip, -7)),
    "A14-size": ("UNREADABLE", partial(flip, -2)),
    "A14-mha": ("UNREADABLE|CUT", partial(packed_flip, "a.mha", 0.7)),
    "A14-nrrd": ("UNREADABLE|CUT", partial(packed_flip, "a.nrrd", 0.7)),
    "A14-mhd": ("UNREADABLE|CUT", lambda d: good.patch(
        good.itk(d, "a.mhd", packed=True).with_suffix(".zraw"), -3, b"\0\0\0")),
    "A15-garbage": ("remark: bytes after the packed stream", partial(
        gz, change=lambda packed, raw: packed + b"garbage")),
    "A15-two-members": ("remark: 2 gzip members", partial(
        gz, change=lambda packed, raw: gzip.compress(raw[:400]) + gzip.compress(raw[400:]))),
    "A15-twice": ("remark: 2 gzip members", partial(gz, change=lambda packed, raw: 2 * packed)),
    "A15-more-voxels": ("remark: bytes after the voxels", partial(
        gz, change=lambda packed, raw: gzip.compress(raw + bytes(1000)))),
    "A15-empty-members": ("remark: gzip members", partial(
        gz, change=lambda packed, raw: packed + 50_000 * gzip.compress(b""))),
    "A16-plain-as-gz": ("remark: not gzipped", partial(renamed, "a.nii", "b.nii.gz")),
    "A16-gz-as-plain": ("remark: gzipped", partial(renamed, "a.nii.gz", "b.nii")),
    "A16-gz-as-dcm": ("remark: gzipped", partial(renamed, "a.nii.gz", "b.dcm")),
    "A17-magic": ("UNREADABLE", lambda d: good.patch(good.nifti(d), 344, b"xxxx")),
    "A17-magic-half": ("UNREADABLE", lambda d: good.patch(good.nifti(d), 345, b"\0")),
    "A17-size": ("HEADER", lambda d: good.patch(good.nifti(d), 0, b"\x5d\1\0\0")),
    "A17-size-zero": ("HEADER", lambda d: good.patch(good.nifti(d), 0, bytes(4))),
    "A17-offset": ("HEADER", lambda d: good.patch(good.nifti(d), 108, struct.pack("<f", 0))),
    "A17-offset-nan": (
        "HEADER", lambda d: good.patch(good.nifti(d), 108, struct.pack("<f", np.nan))),
    "A17-offset-far": ("CUT", lambda d: good.patch(good.nifti(d), 108, struct.pack("<f", 1e9))),
    "A18-negative": ("HEADER", partial(dim, [3, -12, 10, 8])),
    "A18-overflow": ("CUT|TOO_LARGE", partial(dim, [3, 32767, 32767, 32767])),
    "A18-overflow-gz": (
        "CUT|TOO_LARGE", partial(dim, [3, 32767, 32767, 32767], name="b.nii.gz")),
    "A18-axes": ("HEADER", partial(dim, [99, 12, 10, 8])),
    "A18-none": ("HEADER", partial(dim, [0, 12, 10, 8])),
    "A19-inf": ("SCALE", partial(scale, np.inf, 0)),
    "A19-minus-inf": ("SCALE", partial(scale, -np.inf, 0)),
    "A19-shift": ("SCALE", partial(scale, 1, np.nan)),
    "A19-nan": ("ok", partial(scale, np.nan, 0)),
    "A19-zero": ("ok", partial(scale, 0, 0)),
    "A19-huge": ("NONFINITE", partial(scale, 3e38, 0)),
    "A20-rgb": ("DTYPE", partial(datatype, [("R", "u1"), ("G", "u1"), ("B", "u1")])),
    "A20-complex": ("DTYPE", partial(datatype, np.complex64)),
    "A20-long-double": ("DTYPE", lambda d: good.patch(good.nifti(d), 70, b"\0\6\x80\0")),
    "A20-unknown": ("DTYPE", lambda d: good.patch(good.nifti(d), 70, b"\x0f\x27")),
    **{
        f"A21-{n}-{w}": (
            "CUT|UNREADABLE|HEADER",
            lambda d, n=n, w=w: good.cut(good.itk(d, f"a.{n}", packed=w == "packed"), 0.7))
        for n in ("mha", "nrrd") for w in ("raw", "packed")
    },
    "A21-mha-dims": ("CUT", lambda d: good.replace(
        good.itk(d), b"DimSize = 8 10 12", b"DimSize = 9 10 12")),
    "A21-mha-fewer": ("remark: bytes after the voxels", lambda d: good.replace(
        good.itk(d), b"DimSize = 8 10 12", b"DimSize = 8 10 11")),
    "A21-mha-packed-dims": ("CUT", lambda d: good.replace(
        good.itk(d, packed=True), b"DimSize = 8 10 12", b"DimSize = 9 10 12")),
    "A21-nrrd-dims": ("CUT", lambda d: good.replace(
        good.itk(d, "a.nrrd"), b"sizes: 8 10 12", b"sizes: 9 10 12")),
    "A21-mha-spacing": ("GEOMETRY", lambda d: good.replace(
        good.itk(d), b"ElementSpacing = 1 1.5 2", b"ElementSpacing = 1 0 2")),
    "A21-mha-no-spacing": ("GEOMETRY", lambda d: good.replace(
        good.itk(d), b"ElementSpacing = 1 1.5 2\n", b"")),
    "A21-nrrd-spacing": ("GEOMETRY|UNREADABLE", lambda d: good.replace(
        good.itk(d, "a.nrrd"), b"(0,1.5,0)", b"(0,0,0)")),
    "A21-mha-type": ("DTYPE", lambda d: good.replace(good.itk(d), b"MET_SHORT", b"MET_OTHER")),
    **{
        f"A22-{n}-cut{p}": (
            "CUT|UNREADABLE|CRC", lambda d, n=n, p=p: good.cut(good.picture(d, f"a.{n}"), p / 100))
        for n in ("png", "jpg", "tif") for p in (10, 60, 95)
    },
    "A22-tif-deflate": ("UNREADABLE", lambda d: good.cut(
        good.picture(d, "a.tif", compression="tiff_deflate"), 0.6)),
    "A22-tif-lzw": ("UNREADABLE", lambda d: good.cut(
        good.picture(d, "a.tif", compression="tiff_lzw"), 0.6)),
    "A22-png-flip": ("CRC|UNREADABLE", partial(png_flip, at=0.5)),
    "A22-png-flip-late": ("CRC|UNREADABLE", partial(png_flip, at=0.9)),
    "A22-png-crc": ("CRC", png_crc),
    "A23-16-bit": ("ok", png16),
    "A23-palette": ("remark: P read as one grey", lambda d: good.picture(d, mode="P")),
    "A23-alpha": ("remark: RGBA read as one grey", lambda d: good.picture(d, mode="RGBA")),
    "A23-grey-alpha": ("remark: LA read as one grey", lambda d: good.picture(d, mode="LA")),
    "A23-cmyk": ("remark: CMYK read as one grey", lambda d: good.picture(
        d, "a.jpg", mode="CMYK")),
    "A23-cmyk-tif": ("remark: CMYK read as one grey", lambda d: good.picture(
        d, "a.tif", mode="CMYK")),
    "A23-exif-jpg": ("remark: turned as EXIF says", partial(exif, name="a.jpg", turn=6)),
    "A23-exif-png": ("remark: turned as EXIF says", partial(exif, name="a.png", turn=3)),
    "A23-exif-tif": ("remark: turned as EXIF says", partial(exif, name="a.tif", turn=8)),
    "A23-pages": ("MULTIPAGE", partial(pages, count=2)),
    "A23-pages-many": ("MULTIPAGE", partial(pages, count=30)),
    "A23-pages-packed": ("MULTIPAGE", partial(pages, count=3, compression="tiff_lzw")),
    **{
        f"A24-name-{what}": ("ok", partial(named, name))
        for what, name in {
            "case": "A.NII", "none": "scan", "space": "a b .nii", "newline": "a\nb.nii",
            "emoji": "\N{BRAIN}.nii", "escape": "\x1b[31mred.nii", "long": "n" * 250 + ".nii",
            "quote": "a'\";$(x).nii", "dash": "-rf.nii", "dots": "...nii",
        }.items()
    },
    "A24-deep": ("ok", deep),
    "A24-broken-link": ("LINK", lambda d: (d / "a.nii").symlink_to(d / "gone.nii")),
    "A24-link-loop": ("LINK", lambda d: (d / "loop").symlink_to(d)),
    "A24-link-itself": ("LINK", lambda d: (d / "a.nii").symlink_to(d / "a.nii")),
    "A24-pipe": ("SPECIAL", lambda d: os.mkfifo(d / "a.dcm")),
    "A24-device": ("SPECIAL", lambda d: (d / "a.nii").symlink_to("/dev/zero")),
    "A24-socket": ("SPECIAL", lambda d: bound(d)),
}  # fmt: skip


def bound(folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)  # a socket's path may have 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.bind("a.dcm")
    finally:
        os.chdir(here)


@pytest.mark.parametrize("row", CASES)
def test_row(row, tmp_path, judge):
    expected, make = CASES[row]
    make(tmp_path)
    found = judge(tmp_path, expected)
    if row in ("A19-nan", "A19-zero", "A16-plain-as-gz", "A16-gz-as-plain", "A15-two-members"):
        assert np.array_equal(found[0].array[0], good.voxels())
    if row == "A23-16-bit":
        assert np.array_equal(found[0].array[0], good.voxels((40, 50), np.uint16))
    if row in ("A2-lfs-nii.gz", "A2-html-dcm"):
        assert "LFS" in found[0].message or "HTML" in found[0].message
    if row in ("A7-comma", "A7-slope", "A7-words", "A7-three"):
        assert "PixelSpacing" in found[0].message or "RescaleSlope" in found[0].message


@pytest.mark.parametrize("row", ["A5-no-meta-group-length", "A5-missing-syntax", "A5-bare-pixels"])
def test_incomplete_meta_is_read_with_a_remark(row, tmp_path, judge):
    d = good.film(tmp_path, save=False)
    if row == "A5-missing-syntax":
        del d.file_meta.TransferSyntaxUID
        pydicom.dcmwrite(
            tmp_path / "a.dcm", d, implicit_vr=True, little_endian=True,
            enforce_file_format=False,
        )  # fmt: skip
        judge(tmp_path, "remark: no DICOM preamble or file meta")
        return
    path = good.film(tmp_path)
    raw = path.read_bytes()
    keep = 144 if row == "A5-no-meta-group-length" else 144 + int.from_bytes(raw[140:144], "little")
    path.write_bytes(raw[:132] + raw[keep:] if keep == 144 else raw[keep:])
    found = judge(tmp_path, "ok" if keep == 144 else "remark: no DICOM preamble")
    assert np.array_equal(found[0].array[0], good.voxels((40, 50), np.uint16))


@pytest.mark.parametrize("syntax", [HTJ2KLossless, JPEG2000Lossless, JPEGLSLossless],
                         ids=["A10-htj2k", "A10-j2k", "A10-jls"])  # fmt: skip
def test_an_uninstalled_codec_is_named(syntax, tmp_path, judge, monkeypatch):
    class Missing:
        is_available = False

    monkeypatch.setattr(dicom_image, "get_decoder", lambda syntax: Missing)
    d = good.film(tmp_path, save=False)
    d.PixelData = pydicom.encaps.encapsulate([b"\0" * 100])
    d.file_meta.TransferSyntaxUID = syntax
    d["PixelData"].is_undefined_length = True
    d.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert "pip install" in judge(tmp_path, "CODEC")[0].message


@pytest.mark.parametrize("at", range(0, 200))
def test_any_flipped_byte_of_a_gzip_is_refused_or_changes_nothing(at, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "A14-offsets"
    folder.mkdir(exist_ok=True)
    path = folder / "a.nii.gz"
    if not path.exists():
        good.nifti(folder, "a.nii.gz")
    whole = path.read_bytes()
    offset = at * len(whole) // 200
    spoilt = folder / "b.nii.gz"
    spoilt.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
    try:
        array = read([spoilt]).array
    except UserError:
        return
    assert np.array_equal(array[0], good.voxels())


CHANGES = {
    "A25-gone": lambda path: path.unlink(),
    "A25-other-size": lambda path: good.nifti(path.parent, path.name, np.ones((9, 9, 9), np.int16)),
    "A25-cut": lambda path: good.cut(path, 0.5),
    "A25-later": lambda path: (path.write_bytes(path.read_bytes()), os.utime(path, (9, 9))),
    "A25-pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("row", CHANGES)
def test_what_changes_after_indexing_is_refused(row, tmp_path):
    path = good.nifti(tmp_path)
    manifest = Manifest.from_rows(tmp_path, scan(tmp_path))
    CHANGES[row](path)
    with pytest.raises(UserError, match="STALE a: a.nii .*Fix: run `medssl index` again"):
        manifest.volume("a")


@pytest.mark.parametrize("row", ["A25-prepare-gone", "A25-prepare-cut", "A25-prepare-later"])
def test_prepare_lists_what_changed_and_goes_on(row, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("a.nii", "b.nii"):
        good.nifti(scans, name)
    index.run(index.Config(scans=scans, out=tmp_path / "manifest"))
    CHANGES[row.replace("-prepare", "")](scans / "a.nii")
    prepare.run(prepare.Config(manifest=tmp_path / "manifest", out=tmp_path / "store"))
    refused = (tmp_path / "store/refused.csv").read_text()
    assert "\na," in refused and "\nb," not in refused


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EIO, errno.ESTALE], ids=["A26-access", "A26-io", "A26-stale"]
)
@pytest.mark.parametrize("name", ["a.nii", "a.mha", "a.png", "a.dcm"])
def test_errors_of_the_disk_are_told_in_its_words(number, name, tmp_path, monkeypatch):
    make = {"a.nii": good.nifti, "a.mha": good.itk, "a.png": good.picture, "a.dcm": good.film}
    path = make[name](tmp_path)
    files = scan(tmp_path)[0].files

    def broken(*args, **kwargs):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("builtins.open", broken)
    for refused in (
        lambda: scan(tmp_path)[0].reason,
        lambda: pytest.raises(UserError, read, files),
    ):
        assert os.strerror(number) in str(refused())


def test_reading_a_nibabel_control(tmp_path):
    """A control: the judge does not refuse what is good."""
    path = Path(nib.__file__).parent / "tests/data/anatomical.nii"
    assert scan(path)[0].used and read([path]).array.size
