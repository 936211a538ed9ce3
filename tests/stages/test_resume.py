"""Killed at any moment, resumed to the same bits."""

import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from medssl.training.checkpoint import sha256
from tests.data.test_store import make

STEPS = 40
METHODS = {
    "voco": [
        "voco_small", "method.size=8,8,8", "method.width=16", "backbone.channels=4,8",
    ],
    "mae": [
        "mae_small", "method.size=16,16,16", "method.decoder_width=24", "method.decoder_heads=2",
        "backbone.patch=4,4,4", "backbone.width=24", "backbone.depth=1", "backbone.heads=2", "fit.ema=0.9",
    ],
}  # fmt: skip


def start(words, folder, out, workers):
    return subprocess.Popen(
        [
            sys.executable, "-m", "medssl", "pretrain", *words, f"store={folder / 'store'}", f"out={out}",
            f"fit.steps={STEPS}", "fit.every=5", "fit.batch_size=2", f"fit.workers={workers}",
        ],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def finish(process):
    _, error = process.communicate(timeout=500)
    assert process.returncode == 0, error.decode()[-2000:]


def lines(path):
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.parametrize("method, workers", [("voco", 0), ("mae", 2)])
def test_killed_at_a_random_step_and_resumed(tmp_path, method, workers):
    make(tmp_path / "store", [(20, 24, 20), (18, 22, 26), (24, 16, 20)])
    words = METHODS[method]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finish(start(words, tmp_path, whole, 0))
    killed_at = []
    for _ in range(2):
        at = random.Random(len(killed_at) + len(method)).randrange(3, STEPS - 12)
        process = start(words, tmp_path, cut, workers)
        while lines(cut / "metrics.jsonl") < at and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed_at.append(lines(cut / "metrics.jsonl"))
    assert not (cut / "checkpoints" / f"step-{STEPS:08d}").exists()
    finish(start(words, tmp_path, cut, workers))
    for file in (
        "model/weights.safetensors",
        f"checkpoints/step-{STEPS:08d}/weights.safetensors",
        "metrics.jsonl",
    ):
        assert sha256(cut / file) == sha256(whole / file), (file, killed_at)
    a, b = [np.sort([p.name for p in (x / "pictures").iterdir()]) for x in (whole, cut)]
    assert (a == b).all()
