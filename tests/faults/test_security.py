"""Group H: hostile files."""

import gzip
import json
import os
import shutil
import struct
import zlib
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medssl.data.entries import key_of
from medssl.data.index import scan
from medssl.data.manifest import Manifest
from medssl.data.preprocess import prepare
from medssl.data.recipe import Recipe
from medssl.data.store import Store
from medssl.errors import UserError
from medssl.stages import index
from tests.faults import good

CANARY = b"CANARY-OF-A-SECRET-FILE" * 200
MIB = 1 << 20


class Executed:
    """Unpickling it leaves a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def detached(folder: Path, name: str, key: str, target: str) -> None:
    """A header whose data file is `target`; the secret lies beside the folder of the scans."""
    (folder.parent / "secret.raw").write_bytes(CANARY)
    path = good.itk(folder, name)
    lines = [line for line in path.read_text().splitlines() if not line.startswith(key)]
    path.write_text("\n".join([*lines, f"{key} {target.format(folder=folder.parent)}"]) + "\n")
    for data in folder.glob("*.raw"):
        data.unlink()


def lines(folder: Path, name: str, *more: str) -> None:
    """A header with an inner data file and further lines, which another parser may believe."""
    (folder.parent / "secret.raw").write_bytes(CANARY)
    path = good.itk(folder, name)
    raw = path.read_bytes()
    at = raw.index(b"ElementDataFile") if name.endswith("mha") else raw.index(b"\n\n") + 1
    added = "".join(f"{line.format(folder=folder.parent)}\n" for line in more).encode()
    path.write_bytes(raw[:at] + added + raw[at:])


def long_header(folder: Path) -> None:
    """Comments push the data file's name behind the part of the header that is looked at."""
    (folder.parent / "secret.raw").write_bytes(CANARY)
    path = good.itk(folder, "a.nrrd")
    head = path.read_bytes().split(b"\n\n")[0]
    comments = b"\n".join(b"#" + b"x" * 998 for _ in range(1200))
    path.write_bytes(head + b"\n" + comments + b"\ndata file: ../secret.raw\n")


def linked(folder: Path) -> None:
    (folder.parent / "secret.raw").write_bytes(CANARY)
    path = good.itk(folder, "a.mhd")
    (folder / "a.raw").unlink()
    (folder / "a.raw").symlink_to(folder.parent / "secret.raw")
    assert path.exists()


META = {
    f"H6-mhd-{what}": (codes, partial(detached, name="a.mhd", key="ElementDataFile =", target=t))
    for what, (codes, t) in {
        "up": ("OUTSIDE", "../secret.raw"),
        "absolute": ("OUTSIDE", "{folder}/secret.raw"),
        "down-up": ("OUTSIDE", "x/../../secret.raw"),
        "backslash": ("OUTSIDE", "..\\secret.raw"),
        "list": ("UNSUPPORTED", "LIST\n../secret.raw"),
        "pattern": ("UNSUPPORTED", "../secret%03d.raw 1 3 1"),
        "percent": ("UNSUPPORTED|OUTSIDE|MISSING", "%2e%2e/secret.raw"),
        "device": ("OUTSIDE", "/dev/zero"),
        "gone": ("MISSING", "secret.raw"),
    }.items()
}
NRRD = {
    f"H6-nhdr-{what}": (codes, partial(detached, name="a.nhdr", key="data file:", target=t))
    for what, (codes, t) in {
        "up": ("OUTSIDE", "../secret.raw"),
        "absolute": ("OUTSIDE", "{folder}/secret.raw"),
        "list": ("UNSUPPORTED", "LIST\n../secret.raw"),
        "pattern": ("UNSUPPORTED", "../secret%03d.raw 1 3 1"),
    }.items()
}


def deflated(folder: Path, payload: bytes, preamble=True, padding=0, group_length=True) -> None:
    """A DICOM file whose deflated dataset is `payload` zeros long."""
    d = good.film(folder, save=False)
    d.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    d.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    if padding:
        d.file_meta.PrivateInformationCreatorUID = "1.2"
        d.file_meta.PrivateInformation = b"x" * padding
    with open(folder / "a.dcm", "wb") as stream:
        if preamble:
            stream.write(bytes(128) + b"DICM")
        write_file_meta_info(stream, d.file_meta, enforce_standard=True)
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        for _ in range(payload // MIB):
            stream.write(deflate.compress(bytes(MIB)))
        stream.write(deflate.flush())


def zeros_gz(folder: Path, name: str, head: bytes, size: int) -> None:
    with gzip.open(folder / name, "wb", 9) as stream:
        stream.write(head)
        for _ in range(size // MIB):
            stream.write(bytes(MIB))


def nifti_bomb(folder: Path, shape, size: int) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.int16)
    header["magic"], header["vox_offset"] = b"n+1", 352
    header.set_sform(np.eye(4), 1)
    zeros_gz(folder, "a.nii.gz", header.binaryblock + bytes(4), size)


def text_bomb(folder: Path, name: str, sizes: str, size: int) -> None:
    """A packed MetaImage or NRRD file: `sizes` in the header, `size` bytes of zeros in it."""
    mha = [
        "ObjectType = Image", "NDims = 3", "BinaryData = True", "CompressedData = True",
        f"DimSize = {sizes}", "ElementSpacing = 1 1 1", "ElementType = MET_SHORT",
        "ElementDataFile = LOCAL",
    ]  # fmt: skip
    nrrd = ["NRRD0004", "type: short", "dimension: 3", f"sizes: {sizes}", "endian: little",
            "encoding: gzip", "spacings: 1 1 1", ""]  # fmt: skip
    zeros_gz(folder, "payload", b"", size)
    packed = (folder / "payload").read_bytes()
    (folder / "payload").unlink()
    head = "\n".join(mha if name.endswith("mha") else nrrd).encode() + b"\n"
    (folder / name).write_bytes(head + packed)


def png_bomb(folder: Path, side: int, colour=0) -> None:
    deflate = zlib.compressobj(9)
    row = bytes(1 + side * (3 if colour == 2 else 1))
    data = b"".join(deflate.compress(row) for _ in range(side)) + deflate.flush()
    size = struct.pack(">IIBBBBB", side, side, 8, colour, 0, 0, 0)
    (folder / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + good.png_chunk(b"IHDR", size) + good.png_chunk(b"IDAT", data)
        + good.png_chunk(b"IEND", b"")
    )  # fmt: skip


def tiff_bomb(folder: Path, side: int) -> None:
    from PIL import Image

    image = Image.fromarray(np.zeros((side, side), np.uint8))
    image.save(folder / "a.tif", compression="tiff_deflate")


def tiff_dims(folder: Path, side: int) -> None:
    path = good.picture(folder, "a.tif")
    raw = bytearray(path.read_bytes())
    start = int.from_bytes(raw[4:8], "little")
    for k in range(int.from_bytes(raw[start : start + 2], "little")):
        at = start + 2 + 12 * k
        if int.from_bytes(raw[at : at + 2], "little") in (256, 257):
            raw[at + 2 : at + 4] = (4).to_bytes(2, "little")
            raw[at + 8 : at + 12] = side.to_bytes(4, "little")
    path.write_bytes(raw)


def stream_size(folder: Path, syntax, rows: int) -> None:
    """A compressed film whose stream says another size than its header."""
    d = good.film(folder, save=False)
    d.compress(syntax)
    stream = bytearray(next(pydicom.encaps.generate_frames(d.PixelData, number_of_frames=1)))
    if stream[:2] == b"\xff\x4f":
        stream[8:16] = struct.pack(">II", rows, rows)
    else:
        at = stream.index(b"\xff\xf7") + 5
        stream[at : at + 4] = struct.pack(">HH", rows, rows)
    d.PixelData = pydicom.encaps.encapsulate([bytes(stream)])
    d.save_as(folder / "a.dcm", enforce_file_format=True)


def preamble(folder: Path, magic: bytes) -> None:
    good.patch(good.film(folder), 0, magic)


def nested(folder: Path, depth: int) -> None:
    """Sequences of undefined length inside one another, in front of the pixels."""
    path = good.film(folder)
    raw = path.read_bytes()
    at = raw.index(b"\x10\0\x20\0LO")  # PatientID
    tag = b"\x08\0\x40\x11"
    item = tag + b"SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    ends = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    path.write_bytes(raw[:at] + item * depth + ends * depth + raw[at:])


def many_items(folder: Path, count: int, defined: bool) -> None:
    path = good.film(folder)
    raw = path.read_bytes()
    at = raw.index(b"\x10\0\x20\0LO")
    items = (b"\xfe\xff\x00\xe0\0\0\0\0") * count
    length = len(items) if defined else 0xFFFFFFFF
    end = b"" if defined else b"\xfe\xff\xdd\xe0\0\0\0\0"
    head = b"\x08\0\x40\x11SQ\0\0" + length.to_bytes(4, "little")
    path.write_bytes(raw[:at] + head + items + end + raw[at:])


def numpy_file(folder: Path, name: str) -> None:
    array = np.array([Executed(folder / "executed")], dtype=object)
    with open(folder / name, "wb") as stream:
        (np.savez if "npz" in name else np.save)(stream, array)


CASES = {
    "H2-npy": ("skip", partial(numpy_file, name="a.npy")),
    "H2-npz": ("UNSUPPORTED", partial(numpy_file, name="a.npz")),
    "H2-npy-as-nii": ("UNREADABLE", partial(numpy_file, name="a.nii")),
    "H2-npz-as-dcm": ("UNSUPPORTED|UNREADABLE", partial(numpy_file, name="npz.dcm")),
    **META,
    **NRRD,
    "H6-link": ("OUTSIDE", linked),
    "H6-twice": ("HEADER", lambda d: lines(d, "a.mha", "elementdatafile = ../secret.raw")),
    "H6-colon": ("OUTSIDE|HEADER", lambda d: lines(
        d, "a.mha", "ElementDataFile : ../secret.raw")),
    "H6-lower": ("HEADER|OUTSIDE|CUT|UNREADABLE", lambda d: lines(
        d, "a.mha", "elementdatafile = LOCAL", "ElementDataFile = ../secret.raw")),
    "H6-nrrd-two": ("HEADER|OUTSIDE|UNREADABLE", lambda d: lines(
        d, "a.nrrd", "data file: a.nrrd", "datafile: ../secret.raw")),
    "H6-long": ("HEADER", long_header),
    "H8-dicomdir": ("skip", lambda d: dicomdir(d)),
    "H8-dicomdir-as-dcm": ("skip", lambda d: dicomdir(d).rename(d / "a.dcm")),
    "H8-dicomdir-absolute": ("skip", lambda d: dicomdir(d, absolute=True)),
    "H10-deflated": ("TOO_LARGE", partial(deflated, payload=300 * MIB)),
    "H10-no-preamble": ("TOO_LARGE", partial(deflated, payload=300 * MIB, preamble=False)),
    "H10-late-syntax": ("TOO_LARGE", partial(deflated, payload=300 * MIB, padding=60_000)),
    "H10-j2k": ("HEADER", partial(
        stream_size, syntax=pydicom.uid.JPEG2000Lossless, rows=60_000)),
    "H10-jls": ("HEADER", partial(stream_size, syntax=pydicom.uid.JPEGLSLossless, rows=60_000)),
    "H10-deflated-cut": ("UNREADABLE|CUT", lambda d: good.cut(
        (deflated(d, 8 * MIB), d / "a.dcm")[1], 0.9)),
    "H11-gz-honest": ("TOO_LARGE", partial(nifti_bomb, shape=(600, 600, 600), size=412 * MIB)),
    "H11-gz-lies": ("TOO_LARGE", partial(nifti_bomb, shape=(10, 10, 10), size=300 * MIB)),
    "H11-gz-dims": ("CUT|TOO_LARGE", partial(nifti_bomb, shape=(32767,) * 3, size=8 * MIB)),
    "H11-mha-honest": ("TOO_LARGE", partial(
        text_bomb, name="a.mha", sizes="600 600 600", size=412 * MIB)),
    "H11-mha-lies": ("TOO_LARGE", partial(
        text_bomb, name="a.mha", sizes="10 10 10", size=300 * MIB)),
    "H11-nrrd-honest": ("TOO_LARGE", partial(
        text_bomb, name="a.nrrd", sizes="600 600 600", size=412 * MIB)),
    "H11-nrrd-lies": ("TOO_LARGE", partial(
        text_bomb, name="a.nrrd", sizes="10 10 10", size=300 * MIB)),
    "H12-png": ("TOO_LARGE", partial(png_bomb, side=12_000)),
    "H12-png-rgb": ("TOO_LARGE", partial(png_bomb, side=8_000, colour=2)),
    "H12-png-huge": ("TOO_LARGE|UNREADABLE", partial(png_bomb, side=20_000)),
    "H12-tiff": ("TOO_LARGE", partial(tiff_bomb, side=12_000)),
    "H12-tiff-dims": ("TOO_LARGE|UNREADABLE|CUT", partial(tiff_dims, side=100_000)),
    "H12-dicom": ("TOO_LARGE", partial(good.film, Rows=65535, Columns=65535)),
    "H15-mz": ("remark: preamble looks like a Windows program", partial(
        preamble, magic=b"MZ\x90\0")),
    "H15-elf": ("remark: preamble looks like a Linux program", partial(
        preamble, magic=b"\x7fELF\2")),
    "H15-script": ("remark: preamble looks like a script", partial(
        preamble, magic=b"#!/bin/sh\n")),
    "H16-depth-60": ("ok", partial(nested, depth=60)),
    "H16-depth-10000": ("UNREADABLE|HEADER|TOO_DEEP", partial(nested, depth=10_000)),
    "H16-items": ("ok", partial(many_items, count=1_000_000, defined=True)),
    "H16-items-few": ("ok", partial(many_items, count=1000, defined=False)),
    "H16-items-undefined": ("TOO_LARGE", partial(many_items, count=1_000_000, defined=False)),
}  # fmt: skip


def dicomdir(folder: Path, absolute=False) -> Path:
    """pydicom's DICOMDIR, whose records lead out of the folder."""
    source = Path(pydicom.__file__).parent / "data/test_files/dicomdirtests/DICOMDIR"
    path = Path(shutil.copy(source, folder / "DICOMDIR"))
    good.film(folder.parent, name="secret.dcm")
    d = pydicom.dcmread(path)
    target = (
        ["", *str(folder.parent / "secret.dcm").split("/")] if absolute else ["..", "secret.dcm"]
    )
    for record in d.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            record.ReferencedFileID = target
    d.save_as(path)
    return path


@pytest.mark.parametrize("row", CASES)
def test_row(row, tmp_path, judge):
    expected, make = CASES[row]
    folder = tmp_path / "scans"
    folder.mkdir()
    make(folder)
    found = judge(folder, expected)
    assert not (folder / "executed").exists()
    for fate in found:
        assert fate.array is None or CANARY[:23] not in fate.array.tobytes()


NAMES = {
    "H7-absolute": "/tmp/pwn", "H7-up": "../../pwn", "H7-device": "CON", "H7-long": "9" * 60,
    "H7-control": "1.2\n\x1b[31m", "H7-wildcard": "*?<>|", "H7-dot": "..", "H7-empty": "",
}  # fmt: skip


@pytest.mark.parametrize("row", NAMES)
def test_no_file_is_named_by_a_tag(row, tmp_path):
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    name = NAMES[row]
    good.film(scans, SOPInstanceUID="1.2.3.4")
    d = pydicom.dcmread(scans / "a.dcm")
    for tag in ("SOPInstanceUID", "PatientID", "StudyInstanceUID", "SeriesInstanceUID"):
        d.add_new(tag, "LO" if tag == "PatientID" else "UI", name)
    d.save_as(scans / "a.dcm", enforce_file_format=False)
    before = sorted(p for p in tmp_path.rglob("*") if out not in p.parents)
    index.run(index.Config(scans=scans, out=out))
    manifest = Manifest.read(out)
    used = manifest.used.iloc[0]
    for column in ("id", "patient", "study"):
        assert used[column].replace("-", "").replace("_", "").isalnum() and len(used[column]) < 130
    assert sorted(p for p in tmp_path.rglob("*") if out not in p.parents) == sorted([*before, out])
    assert sorted(p.name for p in out.iterdir()) == [
        "manifest.csv",
        "manifest.parquet",
        "quarantine.csv",
    ]


@pytest.mark.parametrize("row", ["H2-points", "H2-points-text", "H2-points-cut"])
def test_an_object_array_in_a_store_is_refused(row, tmp_path):
    good.nifti(tmp_path)
    manifest = Manifest.from_rows(tmp_path, scan(tmp_path))
    volume = manifest.volume("a")
    mask = volume.with_array((volume.array > 1000).astype(np.uint8))
    store = Store(tmp_path / "store", Recipe(), tmp_path, manifest.used.set_index("id", drop=False))
    key, source = key_of(manifest, "a", store.recipe)
    store.entries.add(key, prepare(volume, store.recipe, mask), store.recipe, "0" * 32, "")
    store.items["key"] = key
    assert len(store.foreground("a"))
    path = next((tmp_path / "store/arrays").glob("*.points.npy"))
    if row == "H2-points":
        np.save(path, np.array([Executed(tmp_path / "executed")], dtype=object))
    else:
        path.write_bytes(b"cos\nsystem\n" if row == "H2-points-text" else path.read_bytes()[:40])
    with pytest.raises(UserError, match="^STORE a: .*Fix: "):
        store.foreground("a")
    assert not (tmp_path / "executed").exists()


LABELS = {
    "H16-json-deep": "[" * 100_000 + "]" * 100_000,
    "H16-json-objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "H16-json-number": json.dumps({"images": 1, "annotations": "x"}),
}


@pytest.mark.parametrize("row", LABELS)
def test_hostile_json_is_refused(row, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    good.picture(scans)
    (tmp_path / "labels.json").write_text(LABELS[row])
    with pytest.raises(UserError, match="Fix: "):
        index.run(
            index.Config(scans=scans, out=tmp_path / "out", labels=[tmp_path / "labels.json"])
        )
