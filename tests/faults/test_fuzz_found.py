"""What the fuzzer found in the readers, each as a small case: refused, or used with a remark."""

import resource
import struct
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless

from medssl.data.index import read, scan
from tests.faults import good
from tests.faults.conftest import limited


def inserted(path: Path, at: int, raw: bytes) -> None:
    whole = path.read_bytes()
    at %= len(whole)
    path.write_bytes(whole[:at] + raw + whole[at:])


def duplicated_in_pixels(folder: Path, count: int) -> None:
    path = good.film(folder)
    inserted(path, -2000, path.read_bytes()[-2000 : -2000 + count])


def lost_in_pixels(folder: Path) -> None:
    """Bytes are missing, and an element behind the pixels makes up for them."""
    d = good.film(folder, save=False)
    d.DataSetTrailingPadding = bytes(100)
    d.save_as(folder / "a.dcm", enforce_file_format=True)
    raw = (folder / "a.dcm").read_bytes()
    (folder / "a.dcm").write_bytes(raw[:2000] + raw[2060:])


def ndims(folder: Path, name: str, value: bytes) -> None:
    good.replace(good.itk(folder, name), b"NDims = 3", b"NDims = " + value)


def vector(folder: Path, key: bytes, value: bytes) -> None:
    path = good.itk(folder)
    lines = path.read_bytes().split(b"\n")
    lines[:12] = [key + b" = " + value if line.startswith(key) else line for line in lines[:12]]
    path.write_bytes(b"\n".join(lines))


def tiff_entry(path: Path, tag: int, value: int) -> None:
    """Give an entry of the only directory another value."""
    raw = bytearray(path.read_bytes())
    at = struct.unpack("<I", raw[4:8])[0]
    for k in range(struct.unpack("<H", raw[at : at + 2])[0]):
        entry = at + 2 + 12 * k
        if struct.unpack("<H", raw[entry : entry + 2])[0] == tag:
            raw[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, value)
    path.write_bytes(raw)


def tiff(folder: Path, **options) -> Path:
    return good.picture(folder, "a.tif", good.voxels((40, 50), np.uint16), **options)


def tiff_insert(folder: Path, at: int) -> None:
    inserted(tiff(folder), at, b"\x07" * 20)


def tiff_deflate(folder: Path, at: int) -> None:
    """A bit of a deflated strip, where libtiff does not come to the checksum."""
    path = tiff(folder, compression="tiff_adobe_deflate")
    good.patch(path, at, bytes([path.read_bytes()[at] ^ 4]))


def other_syntax(folder: Path, code: bytes) -> None:
    """A compressed film whose transfer syntax says uncompressed."""
    d = good.film(folder, save=False)
    d.compress(JPEG2000Lossless)
    d.save_as(folder / "a.dcm", enforce_file_format=True)
    good.replace(folder / "a.dcm", b"1.2.840.10008.1.2.4.90", code.ljust(22, b"\0"))


CASES = {
    "syntax-explicit": ("HEADER", partial(other_syntax, code=b"1.2.840.10008.1.2.1")),
    "syntax-big": ("HEADER|UNREADABLE|NOT_IMAGE|CUT",
                   partial(other_syntax, code=b"1.2.840.10008.1.2.2")),
    "pixels-more-1": ("remark: no DICOM element", partial(duplicated_in_pixels, count=1)),
    "pixels-more-2": ("remark: no DICOM element", partial(duplicated_in_pixels, count=2)),
    "pixels-more-500": ("remark: no DICOM element", partial(duplicated_in_pixels, count=500)),
    "pixels-lost": ("remark: no DICOM element", lost_in_pixels),
    **{
        f"ndims-{value.decode()}-{name}": ("HEADER", partial(ndims, name=name, value=value))
        for value in (b"99999999999", b"53", b"4294967296", b"0", b"-1", b"2")
        for name in ("a.mha", "a.mhd")
    },
    "offset-many": ("HEADER", partial(vector, key=b"Offset", value=b"0 " * 5000)),
    "matrix-few": ("HEADER", partial(vector, key=b"TransformMatrix", value=b"1 0 0 1")),
    "matrix-nan": ("HEADER", partial(vector, key=b"TransformMatrix", value=b"nan " * 9)),
    "centre-many": ("HEADER", partial(vector, key=b"CenterOfRotation", value=b"0 " * 99)),
    "byte-order-missing": ("remark: no byte order", lambda d: good.replace(
        good.itk(d), b"BinaryDataByteOrderMSB = False\n", b"")),
    "byte-order-garbled": ("HEADER", lambda d: good.replace(
        good.itk(d), b"ByteOrderMSB = False", b"ByteOrderMSB = Fblse")),
    "endian-missing": ("UNREADABLE", lambda d: good.replace(
        good.itk(d, "a.nrrd"), b"endian: little\n", b"")),
    "endian-garbled": ("HEADER", lambda d: good.replace(
        good.itk(d, "a.nrrd"), b"endian: little", b"endian: lottle")),
    "matrix-missing": ("remark: no TransformMatrix", lambda d: good.replace(
        good.itk(d), b"TransformMatrix", b"TransformMatrax")),
    **{f"tiff-insert-{at}": ("remark: nothing refers to", partial(tiff_insert, at=at))
       for at in (1000, 2000, -1)},
    "tiff-rows-per-strip": ("HEADER", lambda d: tiff_entry(tiff(d), 278, 7)),
    "tiff-strip-over-header": ("HEADER", lambda d: tiff_entry(tiff(d), 273, 4)),
    **{f"tiff-{packing}-width": ("CUT|UNREADABLE|HEADER", lambda d, p=packing: tiff_entry(
        tiff(d, compression=p), 256, 48)) for packing in ("packbits", "tiff_adobe_deflate")},
    "png-chunk": ("CUT", lambda d: good.patch(good.picture(d), 33, b"\x7f\xff\xff\xff")),
    "tiff-strip-beyond": ("CUT", lambda d: tiff_entry(tiff(d), 273, 4000)),
    "tiff-strip-short": ("HEADER", lambda d: tiff_entry(tiff(d), 279, 3990)),
}  # fmt: skip


@pytest.mark.parametrize("row", CASES)
def test_row(row, tmp_path, judge):
    expected, make = CASES[row]
    make(tmp_path)
    judge(tmp_path, expected)


def test_every_flipped_bit_of_a_deflated_strip_is_refused(tmp_path):
    path = tiff(tmp_path, compression="tiff_adobe_deflate")
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(10, len(whole) - 300, 200):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.integers(8)]) + whole[at + 1 :])
        row = scan(tmp_path)[0]
        if row.used:
            with pytest.raises(Exception, match="^(CRC|CUT|UNREADABLE)"):
                read(row)


def limit_space() -> None:
    """As the fuzzer does: 1 GB more than the process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + (1 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


@pytest.mark.parametrize("length", [1 << 21, 1 << 30, (1 << 32) - 2])
@pytest.mark.parametrize("tag", ["PatientID", "SeriesInstanceUID", "PixelData"])
def test_a_broken_length_allocates_nothing(length, tag, tmp_path):
    d = good.film(tmp_path, save=False, SOPInstanceUID="1.2.3")
    pydicom.dcmwrite(
        tmp_path / "a.dcm", d, implicit_vr=True, little_endian=True, force_encoding=True
    )
    at = pydicom.dcmread(tmp_path / "a.dcm", force=True).get_item(tag).value_tell
    good.patch(tmp_path / "a.dcm", at - 4, struct.pack("<I", length))

    def grown() -> int:
        limit_space()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        row = scan(tmp_path)[0]
        assert "Memory" not in row.reason and (row.code or "follows the pixels" in str(row.remarks))
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    assert limited(grown) < 100_000  # kB


def spoil_magic(path: Path) -> None:
    good.patch(path, 128, b"XXXX")


def lose_identity(path: Path) -> None:
    """Cut where pydicom then drops all elements: within an encapsulated value."""
    good.cut(path, 0.7)


def only_meta(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:330])


def garble_class(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"1.2.840.10008.5.1.4.1.1.2", b"1.2.840.10008.5.1.4.1.1.x")[:700])


def garble_series(path: Path) -> None:
    """Another SeriesInstanceUID, and no pixels."""
    good.cut(good.replace(path, b"1.2.3.4\0", b"1.2.3.9\0"), 0.25)


def lose_place(path: Path) -> None:
    d = pydicom.dcmread(path)
    del d.SeriesInstanceUID, d.ImagePositionPatient
    d.save_as(path)


def lose_series(path: Path) -> None:
    d = pydicom.dcmread(path)
    del d.SeriesInstanceUID
    d.save_as(path)


def move_patient(path: Path) -> None:
    good.replace(path, b"PAT 1", b"PAT 2")


@pytest.mark.parametrize("slice_", [0, 4])
@pytest.mark.parametrize(
    "spoil",
    [
        spoil_magic,
        lose_identity,
        only_meta,
        garble_class,
        garble_series,
        lose_place,
        lose_series,
        move_patient,
    ],
)
def test_an_end_slice_is_never_lost_without_a_remark(spoil, slice_, tmp_path):
    good.ct(
        tmp_path, pixels=[good.voxels((40, 50))] * 5,
        spoil=lambda d: d.compress(JPEG2000Lossless, generate_instance_uid=False),
    )  # fmt: skip
    spoil(tmp_path / f"slice{slice_}.dcm")
    for row in scan(tmp_path):
        if row.used:
            assert any("beside it" in r or "another patient" in r for r in row.remarks), row
