"""Trainings that are killed at random and resumed: do they end in the bits of one that never was?

    python -m tests.benchmarks.kills 100 [seed]

Kills go round all methods, with 0 and 2 loader processes, and of each ten three hit a save (before a random
one of its calls of the file system, a write half done), three the midst of a step, and four any moment.
All happen in children of one process that has imported everything.
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from medssl.data.crops import Crops, batches
from medssl.methods.base import METHODS
from medssl.training import checkpoint
from medssl.training.loop import Fit, fit
from medssl.training.optim import Optim
from tests.data.test_store import make as make_store
from tests.methods.test_base import make as make_method
from tests.training.killing import KILLED, Killer, after, digest, forked, warm

STEPS, EVERY, BATCH = 9, 3, 2
CALLS = 33  # of a save that deletes an old checkpoint
PLACES = ("save", "step", "any", "save", "step", "any", "save", "step", "any", "any")
# Method, place and workers of kill number 0, 1, 2, ... : every method meets every place in time.
ROWS = [
    (list(METHODS)[i % len(METHODS)], PLACES[(i + i // 70) % 10], (0, 2)[(i // 2) % 2])
    for i in range(140)
]


@dataclass(frozen=True)
class Killed:
    """killed  the run was killed, and had not ended before
    same     in the end it has the bits of one that was not
    at       which step was logged last before the kill
    """

    killed: bool
    same: bool
    at: int


class Trained:
    """Trainings on a store of three small volumes, in a folder of their own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.store = make_store(folder / "store", [(26, 24, 28), (24, 30, 26), (28, 24, 24)])
        self.digests: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        warm()

    def train(self, folder: Path, method: str, workers: int, acts=lambda step: None) -> None:
        """In this process; `acts` at the beginning of each step."""
        os.sched_getaffinity = lambda _: set(
            range(8)
        )  # as many workers as asked for, on any machine
        module = make_method(method, 3)
        crops = Crops(self.store, list(self.store.items.index), module.crops, seed=0)
        settings = Fit(
            steps=STEPS, every=EVERY, batch_size=BATCH, workers=workers, ema=0.9, device="cpu"
        )

        def read(first, last):
            for i, batch in enumerate(batches(crops, BATCH, first, last, workers, 60), first):
                acts(i)
                yield batch

        for at in fit(module, read, settings, Optim(lr=1e-3), folder):
            at.log.write(at.step, spread=float(next(module.parameters()).detach().std()))

    def whole(self, method: str, workers: int) -> str:
        """The digest of a run that is left alone."""
        folder = self.folder / "whole"
        shutil.rmtree(folder, ignore_errors=True)
        began = time.monotonic()
        code = forked(self.train, folder, method, workers)
        if code:
            raise RuntimeError(f"{method} with {workers} workers ended with {code}")
        self.seconds[method] = time.monotonic() - began
        return digest(folder)

    def known(self, method: str) -> str:
        if method not in self.digests:
            make_method(method, 3)  # imports what it needs, here
            self.digests[method] = self.whole(method, 0)
        return self.digests[method]

    def kill(self, folder: Path, method: str, place: str, workers: int, draw: random.Random) -> int:
        """How a run that is to be killed ended."""
        if place == "any":
            return after(draw.uniform(0, self.seconds[method]), self.train, folder, method, workers)
        aim = _Save(draw) if place == "save" else _Step(draw, self.seconds[method] / STEPS)
        return forked(self.train, folder, method, workers, aim)


class _Save:
    """Kills before a random call of a random save."""

    def __init__(self, draw: random.Random):
        self.number, self.call = draw.randrange(STEPS // EVERY), draw.randrange(CALLS)

    def __call__(self, step: int) -> None:
        if step:
            return
        save, done = checkpoint.save_state, [0]

        def saving(*args):
            killer = Killer(self.call) if done[0] == self.number else None
            done[0] += 1
            saved = save(*args)
            if killer:
                killer.at = -1  # it made fewer: no kill, which is seen and tried again
            return saved

        checkpoint.save_state = saving


class _Step:
    """Kills amid a random step that is followed by no checkpoint."""

    def __init__(self, draw: random.Random, seconds: float):
        self.step = draw.choice([s for s in range(STEPS) if (s + 1) % EVERY])
        self.delay = draw.uniform(0, seconds / 2)

    def __call__(self, step: int) -> None:
        if step == self.step:
            threading.Timer(self.delay, os.kill, (os.getpid(), signal.SIGKILL)).start()


def tried(trained: Trained, method: str, place: str, workers: int, seed: int) -> Killed:
    """One kill. A run that was over before is begun again, so that every kill is one."""
    known, draw = trained.known(method), random.Random(f"{seed} {method} {place} {workers}")
    folder = trained.folder / "killed"
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        code = trained.kill(folder, method, place, workers, draw)
        if code == KILLED:
            break
    log = folder / "metrics.jsonl"
    at = log.read_bytes().count(b'"lr"') if log.exists() else 0
    resumed = forked(trained.train, folder, method, workers)
    return Killed(code == KILLED, resumed == 0 and digest(folder) == known, at)


def main(n: int, seed: int) -> int:
    count, began = Counter(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        trained = Trained(Path(folder))
        for i in range(n):
            row = ROWS[i % len(ROWS)]
            found = tried(trained, *row, seed=seed + i)
            outcome = "same" if found.killed and found.same else "OTHER"
            count[row[1], outcome] += 1
            count["all", outcome] += 1
            print(f"{i + 1:4d}  {row[0]:15s} {row[1]:5s} workers {row[2]}  step {found.at}  {outcome}",
                  flush=True)  # fmt: skip
    print(f"\n{'killed in':12s} {'kills':>6s} {'same bits':>10s}")
    for place in ("save", "step", "any", "all"):
        same, other = count[place, "same"], count[place, "OTHER"]
        print(f"{place:12s} {same + other:6d} {same:10d}")
    print(f"{time.monotonic() - began:.0f} s")
    return min(count["all", "OTHER"], 1)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
