"""What `medssl plan` says, and what then happens, on phantom CT scans of 192 x 152 x 160: time and memory.

Both are given one thread, the jobs of a study one each, and run back to back. Where other work has the CPU
meanwhile, what was spent waiting for it is left out on both sides.
"""

import contextlib
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from medssl.data.phantom import make
from medssl.stages import asked, call
from medssl.stages.plan import PLANS, _planned

WITHIN = 0.25
POLL = 0.02
SCANS = 16
FIT = "fit.every=20 fit.threads=1"
CASES = {
    "prepare": "prepare ct_body manifest=m recipe.spacing=2,2,2 out=real/store",
    "voco": f"pretrain voco_small store=store {FIT} fit.steps=60 out=real/voco",
    "mae": f"pretrain mae_small store=store {FIT} fit.steps=60 out=real/mae",
    "finetune": f"finetune segmentation_small store=store {FIT} fit.steps=40 out=real/head",
    "study": "study store=store methods=mae_small labelled=2,4 draws=1 pretrain.fit.steps=20 "
    "pretrain.fit.threads=1 finetune.preset=segmentation_small finetune.fit.steps=20 "
    "finetune.fit.every=20 finetune.fit.threads=1 resamples=1000 out=real/study",
    "jobs": "study store=store methods=mae_small,voco_small labelled=2,4 draws=2 jobs=2 "
    "pretrain.fit.steps=20 pretrain.fit.threads=1 finetune.preset=segmentation_small finetune.fit.steps=20 "
    "finetune.fit.every=20 finetune.fit.threads=1 resamples=1000 out=real/jobs",
    "evaluate": "evaluate head split=train allow_overlap=true threads=1 out=real/evaluation",
    "predict": "predict head scans/ct/images modality=CT threads=1 out=real/predictions",
}


@dataclass
class Taken:
    """seconds until it ended, of which `waited` were spent without a CPU; bytes at most, with its jobs."""

    seconds: float
    waited: float
    memory: int


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("plan")
    make(root / "scans", ct=SCANS, scans_per_patient=1, size="standard")
    ct = root / "scans/ct"
    labels = [ct / "labels", ct / "scans.csv"]
    call("index", scans=ct / "images", labels=labels, modality="CT", out=root / "m")
    recipe = {"spacing": [4, 4, 4]}
    call("prepare", "ct_body", manifest=root / "m", out=root / "store", recipe=recipe)
    fit = {"steps": 1, "every": 1, "threads": 1}
    head = {"store": root / "store", "fit": fit, "validation": 1, "out": root / "head"}
    call("finetune", "segmentation_small", **head)
    return root


@pytest.mark.parametrize("name", CASES)
def test_plan(folder, monkeypatch, name):
    monkeypatch.chdir(folder)
    verb, *words = CASES[name].split()
    assert verb in PLANS
    plan = _planned(verb, asked(verb, words))
    real = carried_out(verb, words)
    foretold, taken = plan.seconds.amount * (1 - plan.busy), real.seconds - real.waited
    print(
        f"\n{name}: plan {foretold:.1f} s and {plan.memory.amount / 1e6:.0f} MB, "
        f"real {taken:.1f} s ({taken / foretold - 1:+.0%}) and {real.memory / 1e6:.0f} MB "
        f"({real.memory / plan.memory.amount - 1:+.0%}); waiting {plan.busy:.0%} and "
        f"{real.waited / real.seconds:.0%}, in all {plan.seconds.amount:.1f} and {real.seconds:.1f} s"
    )
    assert abs(taken / foretold - 1) < WITHIN
    assert abs(real.memory / plan.memory.amount - 1) < WITHIN


def carried_out(verb: str, words: list[str]) -> Taken:
    """Give the command, and watch it from outside."""
    began, waited, memory = time.monotonic(), 0.0, 0
    command = [sys.executable, "-m", "medssl", verb, *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    about = Path(f"/proc/{process.pid}")
    while process.poll() is None:
        if own := held(about):  # nothing once it ends
            jobs = (about / f"task/{process.pid}/children").read_text().split()
            memory = max(memory, own + sum(held(Path(f"/proc/{job}")) for job in jobs))
            waited = int((about / "schedstat").read_text().split()[1]) / 1e9
        time.sleep(POLL)
    assert process.returncode == 0
    return Taken(time.monotonic() - began, waited, memory)


def held(process: Path) -> int:
    """The most that a process has held, in bytes; 0 of one that has ended."""
    with contextlib.suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text()):
            return int(found[1]) * 1024
    return 0
