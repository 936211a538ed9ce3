"""Time and memory until a bomb is refused: under 5 s and under 1 GB over a process that reads none."""

import subprocess
import sys

import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from tests.faults import good
from tests.faults import test_security as bombs

GIB = 1 << 30
MAKE = {
    "deflated DICOM, 1 GiB": lambda d: bombs.deflated(d, GIB),
    "deflated DICOM without preamble": lambda d: bombs.deflated(d, GIB, preamble=False),
    "DICOM, Rows = Columns = 65535": lambda d: good.film(d, Rows=65535, Columns=65535),
    "JPEG 2000 of 60000 x 60000": lambda d: bombs.stream_size(d, JPEG2000Lossless, 60_000),
    "JPEG-LS of 60000 x 60000": lambda d: bombs.stream_size(d, JPEGLSLossless, 60_000),
    "DICOM of 10^6 sequence items": lambda d: bombs.many_items(d, 1_000_000, defined=False),
    "nii.gz, 1 GiB": lambda d: bombs.nifti_bomb(d, (1024, 1024, 512), GIB),
    "nii.gz, 1 GiB behind 2 KB": lambda d: bombs.nifti_bomb(d, (10, 10, 10), GIB),
    "mha zlib, 1 GiB": lambda d: bombs.text_bomb(d, "a.mha", "1024 1024 512", GIB),
    "mha zlib, 1 GiB behind 2 KB": lambda d: bombs.text_bomb(d, "a.mha", "10 10 10", GIB),
    "nrrd gzip, 1 GiB": lambda d: bombs.text_bomb(d, "a.nrrd", "1024 1024 512", GIB),
    "nrrd gzip, 1 GiB behind 2 KB": lambda d: bombs.text_bomb(d, "a.nrrd", "10 10 10", GIB),
    "PNG of 12000 x 12000": lambda d: bombs.png_bomb(d, 12_000),
    "PNG of 30000 x 30000": lambda d: bombs.png_bomb(d, 30_000),
    "TIFF of 12000 x 12000": lambda d: bombs.tiff_bomb(d, 12_000),
    "TIFF of 100000 x 100000": lambda d: bombs.tiff_dims(d, 100_000),
}  # fmt: skip
CHILD = """
import resource, sys, time
from pathlib import Path
import SimpleITK
from medssl.data.index import read, scan
from medssl.errors import UserError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
codes = []
for row in scan(Path(sys.argv[1])):
    if row.used:
        try:
            read(row)
        except UserError as error:
            codes.append(error.code)
            continue
    codes.append(row.code)
seconds = time.perf_counter() - start
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
print(seconds, grown, *codes)
"""


@pytest.mark.parametrize("name", MAKE)
def test_bombs(name, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    MAKE[name](folder)
    stored = sum(p.stat().st_size for p in folder.iterdir())
    command = [sys.executable, "-c", CHILD, str(folder)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    seconds, grown, *codes = out.stdout.splitlines()[-1].split()
    print(f"{name} ({stored / 1024:.0f} KiB): {codes} after {float(seconds):.2f} s, "
          f"{int(grown) / 2**20:.0f} MiB over the base")  # fmt: skip
    assert codes and "" not in codes
    assert float(seconds) < 5 and int(grown) < GIB
