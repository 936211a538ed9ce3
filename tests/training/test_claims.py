import multiprocessing
import os
import signal
import time

import pytest

from medssl.training import claims
from medssl.training.claims import Job, claimed, work_off


def doing(mark, log, seconds=0.0):
    def do():
        time.sleep(seconds)
        with open(log, "a") as stream:
            stream.write(f"{mark.name} {os.getpid()}\n")
        mark.write_text("done")

    return do


def shared(folder, log, n):
    work_off([Job(folder / f"job-{i}", doing(folder / f"job-{i}", log, 0.02)) for i in range(n)])


def test_each_job_is_done_once_whatever_the_number_of_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "PAUSE", 0.02)
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    others = [context.Process(target=shared, args=(tmp_path, log, 30)) for _ in range(3)]
    for other in others:
        other.start()
    shared(tmp_path, log, 30)
    assert all((tmp_path / f"job-{i}").exists() for i in range(30))  # none returns before the end
    for other in others:
        other.join()
        assert other.exitcode == 0
    lines = [line.split() for line in log.read_text().splitlines()]
    assert sorted(name for name, _ in lines) == sorted(f"job-{i}" for i in range(30))
    assert len({pid for _, pid in lines}) > 1


def holding(mark):
    with claimed(mark) as mine:
        assert mine
        (mark.parent / "held").touch()
        time.sleep(60)


def test_what_a_killed_process_held_is_taken_up(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "PAUSE", 0.02)
    mark = tmp_path / "job"
    other = multiprocessing.get_context("fork").Process(target=holding, args=(mark,))
    other.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    with claimed(mark) as mine:
        assert not mine
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    work_off([Job(mark, doing(mark, tmp_path / "log"))])
    assert mark.exists()


def test_what_was_done_is_not_done_again_and_faults_come_out(tmp_path):
    (tmp_path / "there").touch()
    work_off([Job(tmp_path / "there", lambda: pytest.fail("it was done"))])

    def fails():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        work_off([Job(tmp_path / "new", fails)])
    with claimed(tmp_path / "new") as mine:
        assert mine  # it is held no longer
