"""Each case needs a process of its own, in which torchvision has not been imported."""

import subprocess
import sys

import pytest


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def succeeds(code: str) -> None:
    done = run(code)
    assert done.returncode == 0, done.stderr[-2000:]


FORKS = """
import os, sys, traceback, torch
for line in sys.stdin:
    if not (child := os.fork()):
        try:
            exec(eval(line), {})
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture(scope="module")
def succeeds_beside_torch():
    """Tries each code in a fork of a process that has imported torch, and nothing else."""
    command = [sys.executable, "-c", FORKS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:

        def tried(code: str) -> None:
            print(repr(code), file=one.stdin, flush=True)
            assert one.stdout.readline() == "0\n", code

        yield tried
        one.stdin.close()


def test_timm_and_torchvision_import_after_medssl():
    succeeds("import medssl, timm, torchvision.ops, torchvision.transforms.v2")


def test_it_costs_nothing_until_torchvision_is_imported():
    succeeds(
        "import sys, medssl\nassert 'torch' not in sys.modules and 'torchvision' not in sys.modules"
    )


def test_installing_twice_or_late_leaves_one_finder(succeeds_beside_torch):
    succeeds_beside_torch(
        "import sys, medssl\n"
        "from medssl import torchvision_import as t\n"
        "finders = lambda: [f for f in sys.meta_path if type(f).__module__ == t.__name__]\n"
        "t.install()\n"
        "import torchvision\n"
        "t.install()\n"
        "assert len(finders()) == 1\n"
    )


def test_no_other_finder_is_skipped(succeeds_beside_torch):
    """An editable install brings a finder of its own, which may come right behind."""
    succeeds_beside_torch(
        "import sys, medssl\n"
        "asked = []\n"
        "class Other:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        asked.append(name)\n"
        "sys.meta_path.insert(1, Other())\n"
        "import torchvision\n"
        "assert 'torchvision' in asked\n"
    )


def test_an_absent_torchvision_is_still_reported_as_absent():
    done = run(
        "import sys, importlib.machinery as m\n"
        "find = m.PathFinder.find_spec\n"
        "m.PathFinder.find_spec = lambda n, *a: None if n == 'torchvision' else find(n, *a)\n"
        "import medssl, torchvision"
    )
    assert "ModuleNotFoundError: No module named 'torchvision'" in done.stderr


@pytest.mark.parametrize("broken", [False, True])
def test_operators_are_declared_only_where_the_binary_did_not_bring_them(
    succeeds_beside_torch, broken
):
    """A binary that loads declares nms itself; a second declaration of it would raise."""
    loads = "raise OSError('linked against another torch')"
    if not broken:
        loads = "kept.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')"
    succeeds_beside_torch(
        "import pathlib, tempfile, torch\n"
        "from medssl import torchvision_import as t\n"
        "kept = torch.library.Library('torchvision', 'DEF')\n"
        f"def load(path):\n    {loads}\n"
        "torch.ops.load_library = load\n"
        "folder = tempfile.mkdtemp()\n"
        "pathlib.Path(folder, '_C.so').touch()\n"
        "t._declare_missing_operators(folder)\n"
        "assert all(hasattr(torch.ops.torchvision, n) for n in ('nms', 'qnms'))\n"
        f"assert len(t._kept_alive) == {2 if broken else 1}\n"
    )
