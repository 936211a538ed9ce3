"""Break the source of the methods line by line, and see that a test fails each time.

    make mutants                    all; or: python -m tests.mutants.run voco spark

A list of mutants lies in tests/mutants/<name>.py: TESTS, and MUTANTS as (file, line as it stands, line
broken). Each is tried in a copy of the package, by a process of its own.
"""

import importlib
import os
import runpy
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
FAILED = 1  # what pytest leaves with when a test failed


def names() -> list[str]:
    return sorted(p.stem for p in HERE.glob("*.py") if p.stem not in ("run", "test_mutants"))


def read(name: str):
    """A list as a module: TESTS and MUTANTS."""
    return importlib.import_module(f"tests.mutants.{name}")


def caught(tests: list[str], file: str = "", stands: str = "", broken: str = "") -> bool:
    """Whether a test fails once `stands` is replaced by `broken` (nothing: as it is).

    Raises ValueError where the file no longer holds `stands`, of which the first is replaced.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "medssl"
        shutil.copytree(ROOT / "medssl", copy, ignore=shutil.ignore_patterns("__pycache__"))
        for beside in ("tests", "configs", "pipelines"):
            os.symlink(ROOT / beside, Path(folder) / beside)
        if file:
            source = (Path(folder) / file).read_text()
            if source.count(stands) < 1:
                raise ValueError(f"{file} no longer holds {stands!r}: mend the list")
            (Path(folder) / file).write_text(source.replace(stands, broken, 1))
        child = os.fork()
        if not child:
            _run(folder, tests)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == FAILED


def _run(folder: str, tests: list[str]) -> None:
    """In a child: nothing of medssl has been imported yet, all that is slow to import has."""
    import pytest

    os.chdir(folder)
    sys.path.insert(0, folder)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    options = ["-x", "-q", "-p", "no:cacheprovider", "--rootdir", folder, "--import-mode=importlib"]
    status = pytest.main([*options, "-o", f"pythonpath={folder}", "-m", "not slow", *tests])
    os._exit(int(status))


def tried(name: str) -> Iterator[tuple[str, str, str, bool]]:
    """(file, stands, broken, caught) of every mutant of a list, after the tests passed as they are."""
    # Before MONAI looks for torchvision, and without importing medssl, of which children have a copy.
    runpy.run_path(str(ROOT / "medssl/torchvision_import.py"))["install"]()
    import matplotlib.figure  # noqa: F401
    import monai.losses  # noqa: F401
    import monai.networks.nets  # noqa: F401
    import pandas  # noqa: F401
    import scipy.ndimage  # noqa: F401
    import torch

    torch.set_num_threads(1)  # a forked child cannot use its parent's threads
    listed = read(name)
    if caught(listed.TESTS):
        raise ValueError(f"{listed.TESTS} fail before anything is broken")
    for file, stands, broken in listed.MUTANTS:
        yield file, stands, broken, caught(listed.TESTS, file, stands, broken)


def main(asked: list[str]) -> int:
    survived = total = 0
    for name in asked or names():
        for file, stands, broken, found in tried(name):
            total, survived = total + 1, survived + (not found)
            print(
                f"{'caught  ' if found else 'SURVIVED'} {file}: {stands!r} -> {broken!r}",
                flush=True,
            )
    print(f"{total} mutants, {total - survived} caught, {survived} survived")
    return min(survived, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
