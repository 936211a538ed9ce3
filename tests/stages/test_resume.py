"""Killed at any moment, resumed to the same bits."""

import os
import random
import signal
import time

import numpy as np
import pytest

from medssl.stages import pretrain  # noqa: F401  imported here once, and not in every child
from medssl.training.durable import sha256
from tests.data.test_store import make
from tests.training.killing import begun, command, warm

STEPS = 24
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
    """The child that does it."""
    return begun(
        command, folder / "said", "pretrain", *words, f"store={folder / 'store'}", f"out={out}",
        f"fit.steps={STEPS}", "fit.every=5", "fit.batch_size=2", f"fit.workers={workers}",
    )  # fmt: skip


def finish(child, folder):
    _, status = os.waitpid(child, 0)
    assert status == 0, (folder / "said").read_text()[-2000:]


def lines(path):
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.parametrize("method, workers", [("voco", 0), ("mae", 2)])
def test_killed_at_a_random_step_and_resumed(tmp_path, method, workers):
    make(tmp_path / "store", [(20, 24, 20), (18, 22, 26), (24, 16, 20)])
    warm()
    words = METHODS[method]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finish(start(words, tmp_path, whole, 0), tmp_path)
    killed_at = []
    for _ in range(2):
        at = random.Random(len(killed_at) + len(method)).randrange(3, STEPS - 12)
        child = start(words, tmp_path, cut, workers)
        while lines(cut / "metrics.jsonl") < at:
            assert os.waitpid(child, os.WNOHANG) == (0, 0), (tmp_path / "said").read_text()[-2000:]
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        killed_at.append(lines(cut / "metrics.jsonl"))
    assert not (cut / "checkpoints" / f"step-{STEPS:08d}").exists()
    finish(start(words, tmp_path, cut, workers), tmp_path)
    for file in (
        "model/weights.safetensors",
        f"checkpoints/step-{STEPS:08d}/weights.safetensors",
        "metrics.jsonl",
    ):
        assert sha256(cut / file) == sha256(whole / file), (file, killed_at)
    a, b = [np.sort([p.name for p in (x / "pictures").iterdir()]) for x in (whole, cut)]
    assert (a == b).all()
