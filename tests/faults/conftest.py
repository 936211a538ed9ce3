"""One judge for all rows of faults: what becomes of a folder on its way into a store.

A case's id starts with its row, such as A3-cut10. A row passes if the folder is refused with the
right code and a message of four parts, or used with a remark, or used as it should be.
"""

import multiprocessing
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from medssl.data.index import scan
from medssl.data.manifest import Manifest
from medssl.data.preprocess import prepare
from medssl.data.recipe import Recipe
from medssl.errors import UserError

MESSAGE = re.compile(r"[A-Z][A-Z0-9_]+ [^\n]+: [^\n]+\. Fix: [^\n]+")
LIMIT_SECONDS = 60


@dataclass
class Fate:
    """What became of one row of the manifest; `code` is "" if it was prepared."""

    path: str
    code: str
    message: str
    remarks: str
    array: np.ndarray | None = None


def fates(folder: Path, recipe: Recipe) -> list[Fate]:
    """Index, read and prepare all scans of a folder; anything but a UserError goes through."""
    found = []
    manifest = Manifest.from_rows(folder, scan(folder))
    for row in manifest.table.itertuples():
        if row.verdict != "used":
            message = str(UserError(row.code, row.path, *row.reason.partition(". Fix: ")[::2]))
            found.append(Fate(row.path, row.code, message, row.remarks))
            continue
        try:
            volume = manifest.volume(row.id)
            prepared = prepare(volume, recipe, name=row.id)
            remarks = "; ".join([row.remarks, *prepared.image.remarks])
            assert np.isfinite(prepared.image.array).all(), "a store would hold NaN"
            found.append(Fate(row.path, "", "", remarks, volume.array))
        except UserError as error:
            found.append(Fate(row.path, error.code, str(error), row.remarks))
    return found


@pytest.fixture
def judge():
    """Judges a folder in a process of its own, so that a crash or a hang ends the case only."""
    return _judge


def _judge(folder: Path, expected: str, recipe: Recipe | None = None) -> list[Fate]:
    """Asserts `expected`: codes (A|B), "remark: words", "ok" or "skip"; returns the fates."""
    found = limited(fates, folder, recipe or Recipe())
    assert found, "the file is in no row"
    if expected == "skip":
        assert {fate.code for fate in found} == {"NOT_IMAGE"}
    elif expected == "ok" or expected.startswith("remark: "):
        assert [fate.message for fate in found if fate.code] == []
        words = expected.removeprefix("remark: ") if expected != "ok" else ""
        assert words or expected == "ok", "a remark in no words is none"
        assert all(words in fate.remarks for fate in found), [fate.remarks for fate in found]
    else:
        faults = [fate for fate in found if fate.code != "NOT_IMAGE"]
        assert faults and all(fate.code in expected.split("|") for fate in faults), found
        for fate in faults:
            assert MESSAGE.fullmatch(fate.message), fate.message
            assert (
                "Traceback" not in fate.message
                and Path(fate.path).name.split(".")[0][:5] in fate.message
            )
    return found


def limited(function, *args):
    """The result of a call in a forked process. Fails if it takes too long, dies or raises."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(theirs, function, *args))
    process.start()
    theirs.close()
    try:
        assert ours.poll(LIMIT_SECONDS), f"hangs for more than {LIMIT_SECONDS} s"
        result = ours.recv()
    except EOFError:
        process.join()
        pytest.fail(f"the process died with exit code {process.exitcode}")
    finally:
        process.kill()
        process.join()
    if isinstance(result, BaseException):
        raise result
    return result


def _send(pipe, function, *args) -> None:
    try:
        pipe.send(function(*args))
    except BaseException as error:  # whatever it is, the test shows it
        pipe.send(AssertionError(f"{type(error).__name__}: {error}"))
