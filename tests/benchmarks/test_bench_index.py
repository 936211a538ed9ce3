"""An archive of 100,000 files with 1,000 bad ones: what is found, how fast and in how much memory.

Peers read the same files in the same run: SimpleITK the series, their files and the geometry of
every file, pydicom the headers and geometry alone. The slices of many series lie in one folder, as
an export leaves them; SimpleITK looks through the whole folder for each series, so that it is also
timed with a folder to a series. Each reader runs in a process of its own, timed without its imports.
Memory is the proportional share (PSS) of all processes of an index, as the system counts it.
"""

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medssl.data.manifest import Manifest
from tests.benchmarks import archive

FILES = 100_000
FEW, SOME = 1_000, 10_000
WORKERS = 2
KILLS = 20
OURS = f"""
import sys, time
from pathlib import Path
from medssl.stages import index
start = time.perf_counter()
index.run(index.Config(scans=Path(sys.argv[1]), out=Path(sys.argv[2]), workers={WORKERS}))
seconds = time.perf_counter() - start
print(seconds, "torch" in sys.modules)
"""
SIMPLEITK = """
import sys, time
from pathlib import Path
import SimpleITK as sitk
sitk.ProcessObject.SetGlobalWarningDisplay(False)
start = time.perf_counter()
folders = sorted({path.parent for path in Path(sys.argv[1]).rglob("0*.dcm")})
reader = sitk.ImageFileReader()
for folder in folders:
    for series in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
        for name in sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series):
            reader.SetFileName(name)
            reader.ReadImageInformation()
            reader.GetOrigin(), reader.GetSpacing(), reader.GetDirection(), reader.GetSize()
print(time.perf_counter() - start)
"""
PYDICOM = """
import sys, time
from pathlib import Path
import pydicom
start = time.perf_counter()
for path in sorted(Path(sys.argv[1]).rglob("0*.dcm")):
    d = pydicom.dcmread(path, stop_before_pixels=True)
    d.SeriesInstanceUID, d.SOPInstanceUID, d.Rows, d.Columns
    d.PixelSpacing, d.ImagePositionPatient, d.ImageOrientationPatient
print(time.perf_counter() - start)
"""


def run(code: str, *words: Path) -> list[str]:
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()[-1].split()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The archive, the codes of its bad files, and an index of it that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    codes = archive.make(folder / "scans", FILES)
    for path in (folder / "scans").rglob("*.*"):  # warm
        if path.is_file():
            path.read_bytes()
    words = [sys.executable, "-c", OURS, str(folder / "scans"), str(folder / "manifest")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        time.sleep(0.1)
    seconds, torch = process.stdout.read().splitlines()[-1].split()
    yield folder, codes, float(seconds), peak, torch == "True"
    shutil.rmtree(folder)


def memory(process: int) -> float:
    """MB of a process and of those that it started, shared pages divided among them."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        share = Path(f"/proc/{process}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    kilobytes = sum(int(line.split()[1]) for line in share.splitlines() if line.startswith("Pss:"))
    return kilobytes / 1024 + sum(memory(int(child)) for child in children)


def test_every_bad_file_is_listed_and_no_good_one(whole):
    folder, codes, seconds, megabytes, torch = whole
    manifest = Manifest.read(folder / "manifest")
    found = {
        path: row.code for row in manifest.refused.itertuples() for path in json.loads(row.files)
    }
    good = sum(len(json.loads(files)) for files in manifest.used["files"])
    print(
        f"\n{FILES} files, {len(codes)} bad in {len(archive.KINDS)} kinds: "
        f"{sum(found.get(path) == code for path, code in codes.items())} listed with their code, "
        f"{len(found.keys() - codes.keys())} good ones flagged, {good} good ones used; "
        f"{seconds:.0f} s with {WORKERS} workers, {megabytes:.0f} MB of all processes"
    )
    assert found == codes and good + len(found) >= FILES - archive.SLICES
    assert megabytes < 500 and seconds < 300 and not torch


def test_killed_and_restarted_it_writes_the_same_bytes(whole):
    folder, _, seconds, *_ = whole
    out, draw = folder / "again", random.Random(0)
    for _ in range(KILLS):
        words = [sys.executable, "-c", OURS, folder / "scans", out]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(0, seconds))
        process.kill()
        process.wait()
    run(OURS, folder / "scans", out)
    names = sorted(path.name for path in (folder / "manifest").iterdir())
    assert names == sorted(path.name for path in out.iterdir())
    for name in names:
        assert (out / name).read_bytes() == (folder / "manifest" / name).read_bytes(), name
    print(f"\nkilled {KILLS} times: the same {len(names)} files, byte for byte")


def test_speed_beside_pydicom(whole, tmp_path):
    _, _, seconds, *_ = whole
    per_file = {FILES: seconds / FILES}
    for count in (FEW, SOME):
        archive.make(tmp_path / str(count), count)
        runs = [float(run(OURS, tmp_path / str(count), tmp_path / f"m{n}")[0]) for n in range(3)]
        per_file[count] = min(runs) / count
    pacs = whole[0] / "scans" / "pacs"
    slices = sum(1 for _ in pacs.rglob("0*.dcm"))
    ours = 1e3 * float(run(OURS, pacs, tmp_path / "m")[0]) / slices
    plain = 1e3 * float(run(PYDICOM, pacs)[0]) / slices
    print(
        f"\n{slices} slices, ms a file: medssl {ours:.2f} with {WORKERS} workers, pydicom "
        f"{plain:.2f} ({plain / ours:.1f} times); archives, ms a file by their number: "
        + ", ".join(f"{n}: {1e3 * cost:.2f}" for n, cost in sorted(per_file.items()))
    )
    assert plain > 1.7 * ours
    assert per_file[FILES] < 1.5 * per_file[SOME]


def test_speed_beside_simpleitk(tmp_path):
    archive.make(tmp_path / "archive", 3 * FEW)
    series = sorted((tmp_path / "archive/pacs").rglob("se*"))[: 2 * FEW // archive.SLICES]
    flat, apart = tmp_path / "flat", tmp_path / "apart"
    flat.mkdir()
    for folder in series:
        (apart / folder.name).mkdir(parents=True)
        for path in folder.glob("0*.dcm"):
            shutil.copy(path, apart / folder.name)
            shutil.copy(path, flat / f"{folder.name[2:]}_{path.name}")
    count = len(series) * archive.SLICES
    ours = min(1e3 * float(run(OURS, flat, tmp_path / f"m{n}")[0]) / count for n in range(3))
    itk, itk_apart = (1e3 * float(run(SIMPLEITK, place)[0]) / count for place in (flat, apart))
    print(
        f"\n{count} slices of {len(series)} series, ms a file: medssl {ours:.2f}, SimpleITK "
        f"{itk:.1f} ({itk / ours:.0f} times) and {itk_apart:.2f} with a folder to a series"
    )
    assert itk > 10 * ours
