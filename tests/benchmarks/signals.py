"""Trainings that are told to end: how long it takes, with which code, and do they go on to the same bits?

    python -m tests.benchmarks.signals 50 [seed]

TERM, USR1 and INT go round, to `medssl pretrain` at any moment after its first step, with 0 and 2 loader
processes, which get the signal as well, as from Slurm or a terminal. All happens in children of one process
that has imported everything; a child does what the command line does.
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from medssl.stages import pretrain  # noqa: F401  imported here once, and not in every child
from medssl.training.checkpoint import load_state
from tests.data.test_store import make as make_store
from tests.stages.test_resume import METHODS
from tests.training.killing import begun, command, digest, forked, warm

SIGNALS = {signal.SIGTERM: 143, signal.SIGUSR1: 143, signal.SIGINT: 130}
STEPS, LIMIT = 12, 30.0  # seconds within which a run has to be gone


@dataclass(frozen=True)
class Told:
    """code     the process left with; 0: it had ended before
    seconds  until it had
    step     which was saved
    line     what it said
    same     in the end it has the bits of a run that was left alone
    """

    code: int
    seconds: float
    step: int
    line: str
    same: bool


class Commands:
    """`medssl pretrain` on three small volumes, in a folder of their own."""

    def __init__(self, folder: Path):
        self.folder = folder
        make_store(folder / "store", [(20, 24, 20), (18, 22, 26), (24, 16, 20)])
        warm()
        if code := forked(self.command, "whole", 0):
            raise RuntimeError(f"a run that is left alone ended with {code}")
        self.known = digest(folder / "whole")

    def command(self, out: str, workers: int) -> None:
        """In this process."""
        command(
            self.folder / "said", "pretrain", *METHODS["mae"], f"store={self.folder / 'store'}",
            f"out={self.folder / out}", f"fit.steps={STEPS}", "fit.every=4", "fit.batch_size=2",
            f"fit.workers={workers}", "fit.threads=1",
        )  # fmt: skip

    def tell(self, sent: signal.Signals, workers: int, draw: random.Random) -> Told:
        out = self.folder / "told"
        shutil.rmtree(out, ignore_errors=True)
        child = begun(self.command, "told", workers)
        log, ended = out / "metrics.jsonl", 0
        step = draw.randrange(1, STEPS)
        while not ended and (not log.exists() or log.read_bytes().count(b'"lr"') < step):
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.1))
        began = time.monotonic()
        if not ended:
            os.killpg(child, sent)
            _, status = os.waitpid(child, 0)
        took, code = time.monotonic() - began, os.waitstatus_to_exitcode(status)
        said = (self.folder / "said").read_text().splitlines()
        line = " | ".join(words for words in said if "stopped" in words or "interrupted" in words)
        found = load_state(out / "checkpoints")
        again = forked(self.command, "told", workers)
        same = again == 0 and digest(out) == self.known
        return Told(code, took, found[1]["step"] if found else 0, line, same)


def good(found: Told, sent: signal.Signals) -> bool:
    said = f"stopped by {sent.name} at step {found.step} of {STEPS}"
    told = found.line.startswith(said) and "|" not in found.line
    return found.code == SIGNALS[sent] and found.seconds < LIMIT and found.same and told


def main(n: int, seed: int) -> int:
    count, slowest = Counter(), Counter()
    with tempfile.TemporaryDirectory() as folder:
        commands, draw = Commands(Path(folder)), random.Random(seed)
        for i in range(n):
            sent, workers = list(SIGNALS)[i % 3], (0, 2)[i // 3 % 2]
            found = commands.tell(sent, workers, draw)
            while found.code == 0:  # it was over before
                found = commands.tell(sent, workers, draw)
            outcome = "good" if good(found, sent) else "BAD"
            count[sent.name, outcome] += 1
            slowest[sent.name] = max(slowest[sent.name], found.seconds)
            print(f"{i + 1:4d}  {sent.name:8s} workers {workers}  code {found.code}  step {found.step:2d}  "
                  f"{found.seconds:.2f} s  {outcome}", flush=True)  # fmt: skip
    print(f"\n{'signal':8s} {'sent':>5s} {'good':>5s} {'slowest':>8s}")
    for name in slowest:
        right, wrong = count[name, "good"], count[name, "BAD"]
        print(f"{name:8s} {right + wrong:5d} {right:5d} {slowest[name]:6.2f} s")
    return int(any(outcome == "BAD" for _, outcome in count))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
