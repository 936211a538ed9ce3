"""The processes of a study that its own does not wait for."""

import json
import os
import signal
import time
from pathlib import Path

from medssl.command_line import of
from medssl.stages import study
from tests.training.killing import begun, command, warm


def at_work(job: Path) -> list[int]:
    """Processes whose command names this file."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        found += [int(process.name)] * (os.fsencode(job) in words)
    return found


def until(is_so, seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(0.1)
    return is_so()


def test_a_study_that_is_killed_takes_its_jobs_along(keys, tmp_path):
    out, asked = tmp_path / "study", tmp_path / "asked.yaml"
    fit = {"steps": 100_000, "every": 1000, "batch_size": 2}
    given = {**keys, "pretrain": {**keys["pretrain"], "fit": fit}, "out": out, "jobs": 2}
    asked.write_text(json.dumps(of(study.Config, "study", "", given).model_dump(mode="json")))
    warm()
    child = begun(command, tmp_path / "said", "study", str(asked))
    job = out / "jobs/study.yaml"
    try:
        assert until(lambda: len(list(out.glob("pretrain/*/metrics.jsonl"))) == 2)
        assert len(at_work(job)) == 1
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    try:
        assert until(lambda: not at_work(job)), "it is still at work"
    finally:
        for number in at_work(job):
            os.kill(number, signal.SIGKILL)
