"""Mutations of good files of every format, and what the readers make of them.

A mutation is a function of its number: `tests.faults.fuzz.folder_of(seed, number, folder)` writes the
files again. What may come of a mutated file:

    refused     with a message of four parts
    equal       the voxels of the file it was made from
    remarked    other voxels, and a remark that the good file does not have
    as stored   other voxels, and the format's own reader finds just these: the file says so itself,
                and nothing in it could tell that it said something else before
    silent      other voxels that no other reader confirms: a defect
    broken      an exception other than UserError, or a message without its parts: a defect

A worker that dies or takes longer than `SLOWEST` seconds is a defect too, and so is a peak of memory
over `MOST_BYTES`.
"""

import contextlib
import multiprocessing
import os
import re
import resource
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import tifffile
from PIL import Image
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medssl.data.index import read, scan
from medssl.data.volume import Volume
from medssl.errors import UserError
from tests.faults import good
from tests.faults.conftest import MESSAGE

SLOWEST = 10.0
MOST_BYTES = 2 << 30
CEILING = 12 << 30  # address space; beyond it an allocation fails and the machine lives
STARTED = 120.0
TEST_FILES = Path(pydicom.data.get_testdata_file("CT_small.dcm")).parent
Maker = Callable[[Path], object]


def _dicom(folder: Path, syntax, **tags) -> None:
    d = good.film(folder, save=False, **tags)
    if syntax.is_compressed and not syntax.is_deflated:
        d.compress(syntax)
    d.file_meta.TransferSyntaxUID = syntax
    big = syntax == ExplicitVRBigEndian
    if big:
        d.PixelData = np.frombuffer(d.PixelData, "<u2").astype(">u2").tobytes()
    pydicom.dcmwrite(
        folder / "a.dcm", d, enforce_file_format=True,
        implicit_vr=syntax.is_implicit_VR, little_endian=not big,
    )  # fmt: skip


def _copy(folder: Path, name: str) -> None:
    (folder / "a.dcm").write_bytes((TEST_FILES / name).read_bytes())


def _nifti(folder: Path, name: str = "a.nii", dtype=np.int16, edit=None, kind=None) -> None:
    if kind:
        nib.save(kind(good.voxels(dtype=dtype), good.AFFINE), folder / name)
    else:
        good.nifti(folder, name, array=good.voxels(dtype=dtype), edit=edit)


def _scaled(image) -> None:
    image.header.set_slope_inter(0.5, 3)


def _described(image) -> None:
    image.header["descrip"] = b"words"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"more words"))


def _picture(folder: Path, name: str, dtype=np.uint8, mode: str | None = None, **options) -> None:
    good.picture(folder, name, good.voxels((40, 50), dtype), mode, **options)


SEEDS: dict[str, Maker] = {
    "dicom explicit": good.film,
    "dicom implicit": partial(_dicom, syntax=ImplicitVRLittleEndian),
    "dicom big-endian": partial(_dicom, syntax=ExplicitVRBigEndian),
    "dicom deflated": partial(_dicom, syntax=DeflatedExplicitVRLittleEndian),
    "dicom RLE": partial(_dicom, syntax=RLELossless),
    "dicom JPEG 2000": partial(_dicom, syntax=JPEG2000Lossless),
    "dicom JPEG-LS": partial(_dicom, syntax=JPEGLSLossless),
    "dicom rescaled": partial(good.film, RescaleSlope="0.5", RescaleIntercept="-7"),
    "dicom MONOCHROME1": partial(good.film, PhotometricInterpretation="MONOCHROME1"),
    "dicom 12 bits": partial(good.film, BitsStored=12, HighBit=11),
    "dicom 8 bits": lambda d: good.film(d, good.voxels((40, 50), np.uint8)),
    "dicom series": good.ct,
    "dicom JPEG": partial(_copy, name="SC_rgb_jpeg_gdcm.dcm"),
    "dicom palette": partial(_copy, name="examples_palette.dcm"),
    "dicom RLE colour": partial(_copy, name="SC_rgb_rle.dcm"),
    "nifti int16": _nifti,
    "nifti uint8": partial(_nifti, dtype=np.uint8),
    "nifti float32": partial(_nifti, dtype=np.float32),
    "nifti gz": partial(_nifti, name="a.nii.gz"),
    "nifti gz float32": partial(_nifti, name="a.nii.gz", dtype=np.float32),
    "nifti scaled": partial(_nifti, edit=_scaled),
    "nifti extended": partial(_nifti, edit=_described),
    "nifti pair": partial(_nifti, name="a.hdr"),
    "nifti-2": partial(_nifti, kind=nib.Nifti2Image),
    "nifti-2 gz": partial(_nifti, name="a.nii.gz", kind=nib.Nifti2Image),
    "mha": good.itk,
    "mha zlib": partial(good.itk, packed=True),
    "mhd raw": partial(good.itk, name="a.mhd"),
    "mhd zlib": partial(good.itk, name="a.mhd", packed=True),
    "nrrd": partial(good.itk, name="a.nrrd"),
    "nrrd gzip": partial(good.itk, name="a.nrrd", packed=True),
    "nhdr": partial(good.itk, name="a.nhdr"),
    "png 8": partial(_picture, name="a.png"),
    "png 16": partial(_picture, name="a.png", dtype=np.uint16),
    "png palette": partial(_picture, name="a.png", mode="P"),
    "png colour": partial(_picture, name="a.png", mode="RGB"),
    "jpeg": partial(_picture, name="a.jpg"),
    "jpeg colour": partial(_picture, name="a.jpg", mode="RGB"),
    "tiff": partial(_picture, name="a.tif"),
    "tiff 16": partial(_picture, name="a.tif", dtype=np.uint16),
    "tiff deflate": partial(_picture, name="a.tif", compression="tiff_deflate"),
    "tiff LZW": partial(_picture, name="a.tif", compression="tiff_lzw"),
}


def flip(raw: bytearray, draw: np.random.Generator) -> None:
    for _ in range(draw.integers(1, 4)):
        raw[draw.integers(len(raw))] ^= 1 << draw.integers(8)


def spoil_header(raw: bytearray, draw: np.random.Generator) -> None:
    """One byte among the first thousand."""
    raw[draw.integers(min(len(raw), 1000))] = draw.integers(256)


def extremes(raw: bytearray, draw: np.random.Generator) -> None:
    """Numbers that headers do not expect."""
    value = [b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0",
             b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff"][draw.integers(8)]  # fmt: skip
    at = draw.integers(min(len(raw), 1000) if draw.integers(2) else len(raw))
    raw[at : at + len(value)] = value


def digits(raw: bytearray, draw: np.random.Generator) -> None:
    """Another number in a header of text, or in a tag."""
    found = [m.span() for m in re.finditer(rb"\d+(\.\d+)?", raw[:4000])]
    if found:
        start, end = found[draw.integers(len(found))]
        raw[start:end] = [b"0", b"-1", b"99999999999", b"nan", b"1e300", b"1 1", b"", b"2"][
            draw.integers(8)
        ]


def cut(raw: bytearray, draw: np.random.Generator) -> None:
    del raw[draw.integers(len(raw)) :]


def drop(raw: bytearray, draw: np.random.Generator) -> None:
    at = draw.integers(len(raw))
    del raw[at : at + draw.integers(1, 200)]


def insert(raw: bytearray, draw: np.random.Generator) -> None:
    at = draw.integers(len(raw) + 1)
    raw[at:at] = draw.bytes(int(draw.integers(1, 200)))


def double(raw: bytearray, draw: np.random.Generator) -> None:
    at, count = draw.integers(len(raw)), draw.integers(1, 400)
    raw[at:at] = raw[at : at + count]


def blank(raw: bytearray, draw: np.random.Generator) -> None:
    at, count = draw.integers(len(raw)), draw.integers(1, 400)
    raw[at : at + count] = bytes(len(raw[at : at + count]))


def splice(raw: bytearray, draw: np.random.Generator) -> None:
    """A piece of the file in another place of it."""
    a, b, count = draw.integers(len(raw)), draw.integers(len(raw)), draw.integers(1, 400)
    raw[a : a + count] = raw[b : b + count]


MUTATORS = (flip, spoil_header, extremes, digits, cut, drop, insert, double, blank, splice)


@cache
def _good(seed: str) -> tuple[dict[str, bytes], Volume, frozenset[str]]:
    """Files, voxels and remarks of a seed."""
    with tempfile.TemporaryDirectory() as name:
        SEEDS[seed](Path(name))
        files = {path.name: path.read_bytes() for path in sorted(Path(name).iterdir())}
        row = next(row for row in scan(Path(name)) if row.used)
        volume = read(row)
    return files, volume, frozenset([*row.remarks, *volume.remarks])


def folder_of(seed: str, number: int, folder: Path) -> None:
    """Write a seed's files with mutation `number` in one of them."""
    files, draw = _good(seed)[0], np.random.default_rng([number, len(seed), *seed.encode()])
    spoilt = sorted(files)[draw.integers(len(files))]
    for name, content in files.items():
        raw = bytearray(content)
        if name == spoilt:
            for _ in range(1 + (draw.integers(4) == 0)):
                MUTATORS[draw.integers(len(MUTATORS))](raw, draw)
                raw = raw or bytearray(b"\0")
        (folder / name).write_bytes(raw)


def fate(seed: str, number: int, folder: Path) -> tuple[str, str]:
    """What came of a mutation, and the words of a defect."""
    _, before, told = _good(seed)
    folder_of(seed, number, folder)
    try:
        rows = scan(folder)
        used = [row for row in rows if row.used]
        for row in rows:
            if not row.used:
                cause, _, fix = row.reason.partition(". Fix: ")
                message = str(UserError(row.code, row.files[0], cause, fix))
                if row.code != "NOT_IMAGE" and not MESSAGE.fullmatch(message):
                    return "broken", f"message {message!r}"
        if not used:
            return "refused", ""
        volume = read(used[0])
    except UserError as error:
        whole = MESSAGE.fullmatch(str(error))
        return ("refused", "") if whole else ("broken", f"message {error!s}")
    except Exception as error:
        return "broken", f"{type(error).__name__}: {error}"
    if _same(volume.array, before.array):
        return "equal", ""
    if {*used[0].remarks, *volume.remarks} - told or len(rows) > 1:
        return "remarked", ""
    found = _native(used[0].format, used[0].files)
    if any(_same(volume.array[0], other) for other in found):
        return "as stored", ""
    return "silent", f"{volume.array.shape} {volume.array.dtype}, other readers {len(found)}"


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=1e-5)


def _native(format: str, files: list[Path]) -> list[np.ndarray]:
    """The voxels by other readers, as many as read the file, in our order of axes."""
    found = []
    for reader in {"dicom": (_pydicom,), "nifti": (_nibabel, _itk), "itk": (_itk,),
                   "image2d": (_picture_of,)}[format]:  # fmt: skip
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found += reader(files)
    return found


def _nibabel(files: list[Path]) -> list[np.ndarray]:
    array = nib.load(files[0]).get_fdata()
    return [array, np.squeeze(array)]


def _pydicom(files: list[Path]) -> list[np.ndarray]:
    """With what the standard says of overlay bits and MONOCHROME1, and without."""
    ways: dict[tuple, list] = {}
    for file in files:
        d = pydicom.dcmread(file, force=True)
        stored = d.pixel_array
        if d.get("PhotometricInterpretation") == "PALETTE COLOR":
            stored = pydicom.pixels.apply_color_lut(stored, d)
        bits, unused = int(d.BitsStored), stored.dtype.itemsize * 8 - int(d.BitsStored)
        for masked in (stored, np.right_shift(np.left_shift(stored, unused), unused)):
            top = (1 << bits) - 1 if stored.dtype.kind == "u" else -1
            for inverted in (masked, top - masked.astype(np.int64)):
                array = inverted * float(d.get("RescaleSlope") or 1)
                key = (masked is stored, inverted is masked)
                ways.setdefault(key, []).append(array + float(d.get("RescaleIntercept") or 0))
    arrays = [np.stack([a.T for a in w], -1) if len(w) > 1 else w[0] for w in ways.values()]
    return [found for array in arrays for found in (array, *_grey(array))]


def _itk(files: list[Path]) -> list[np.ndarray]:
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(files[0]))).astype(np.float64)
    return [array.T, array, *_grey(array)]


def _picture_of(files: list[Path]) -> list[np.ndarray]:
    """TIFF by tifffile; PNG, JPEG and what tifffile has no codec for by Pillow, as the readers do."""
    found = []
    with contextlib.suppress(Exception):
        array = tifffile.imread(files[0])
        found = [array, *_grey(array.astype(np.float64))]
    image = Image.open(files[0])
    return [*found, np.asarray(image), *_grey(np.asarray(image.convert("RGB")).astype(np.float64))]


def _grey(array: np.ndarray) -> list[np.ndarray]:
    if array.ndim != 3 or array.shape[-1] not in (3, 4):
        return []
    return [array[..., 0], np.rint(array[..., :3] @ [0.299, 0.587, 0.114])]


@dataclass
class Outcome:
    """How often what came of a mutation; defects as (seed, number, words)."""

    counts: Counter = field(default_factory=Counter)
    by_seed: dict[str, Counter] = field(default_factory=dict)
    defects: list[tuple[str, int, str]] = field(default_factory=list)
    slowest: tuple[float, str, int] = (0.0, "", 0)
    largest: tuple[int, str, int] = (0, "", 0)

    def add(
        self, seed: str, number: int, what: str, words: str, seconds: float = 0, peak: int = 0
    ) -> None:
        self.counts[what] += 1
        self.slowest = max(self.slowest, (seconds, seed, number))
        self.largest = max(self.largest, (peak, seed, number))
        self.by_seed.setdefault(seed, Counter())[what] += 1
        if what in ("silent", "broken", "died", "hung"):
            self.defects.append((seed, number, f"{what}: {words}"))

    @property
    def tried(self) -> int:
        return self.counts.total()

    def __str__(self) -> str:
        parts = ", ".join(f"{n} {what}" for what, n in self.counts.most_common())
        return (
            f"{self.tried} mutations of {len(self.by_seed)} seeds: {parts}; slowest "
            f"{self.slowest[0]:.2f} s, at most {self.largest[0] / 2**20:.0f} MB"
        )


def run(seconds: float, workers: int = 2, first: int = 0) -> Outcome:
    """Mutate for so long, every seed in turn, each worker other numbers from `first` on."""
    outcome, context = Outcome(), multiprocessing.get_context("spawn")
    ends = time.monotonic() + seconds
    crews = [_start(context, n, workers, first + n) for n in range(workers)]
    while time.monotonic() < ends:
        for n, (process, pipe, state) in enumerate(crews):
            while pipe.poll(0.02):
                try:
                    message = pipe.recv()
                except EOFError:
                    break
                if message[0] == "begin":
                    state.update(seed=message[1], number=message[2], since=time.monotonic())
                else:
                    outcome.add(*message[1:])
                    state["since"] = time.monotonic()
            waited = time.monotonic() - state["since"]
            limit = SLOWEST if state["seed"] else STARTED
            if not process.is_alive() or waited > limit:
                what = "hung" if process.is_alive() else "died"
                process.kill()
                process.join()
                outcome.add(state["seed"], state["number"], what, f"exit {process.exitcode}")
                crews[n] = _start(context, n, workers, state["number"] + workers)
    for process, _, _ in crews:
        process.kill()
        process.join()
    return outcome


def _start(context, worker: int, workers: int, number: int):
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, number, workers), daemon=True)
    process.start()
    theirs.close()
    return process, ours, {"seed": "", "number": number, "since": time.monotonic()}


def _work(pipe, number: int, step: int) -> None:
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (CEILING, CEILING))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    names = list(SEEDS)
    for name in names:
        _good(name)
    while True:
        seed = names[number % len(names)]
        pipe.send(("begin", seed, number))
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            what, words = fate(seed, number, Path(folder))
        took = time.monotonic() - began
        status = Path("/proc/self/status").read_text()
        peak = 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])
        pipe.send(("end", seed, number, what, words, took, peak))
        number += step
