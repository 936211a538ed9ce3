import subprocess
import sys
import threading
import time

import pytest

from medssl import ranks
from medssl.training import pulse
from medssl.training.pulse import Pulse


class Board(dict):
    """A store in memory; `down`: its node cannot be reached."""

    down = False

    def add(self, key, n):
        if self.down:
            raise RuntimeError("Broken pipe\nand a trace")
        self[key] = self.get(key, 0) + n
        return self[key]


@pytest.fixture
def started(monkeypatch):
    monkeypatch.setattr(pulse, "EVERY", 0.02)
    monkeypatch.setattr(pulse, "DEAD", 0.3)
    monkeypatch.setattr(ranks, "world", lambda: 2)
    monkeypatch.setattr(ranks, "rank", lambda: 0)
    board, told, ended = Board(), [], threading.Event()

    def end(error):
        told.append(error)
        ended.set()
        thread.stop()

    thread = Pulse(board, end)
    thread.start()
    yield board, told, ended
    thread.stop()
    thread.join()


def test_a_rank_that_is_heard_of_is_left_alone_and_one_that_falls_silent_is_named(started):
    board, told, ended = started
    for _ in range(30):
        board.add("pulse/1", 1)
        time.sleep(0.03)
    assert not told and board["pulse/0"] > 10
    assert ended.wait(20)
    assert "RANKS rank 1: has given no sign of life" in str(told[0])


def test_a_first_node_that_cannot_be_reached_is_told(started):
    board, told, ended = started
    board.down = True
    assert ended.wait(20)
    assert str(told[0]).startswith("RANKS the first node: Broken pipe. Fix: see to that node")


def test_one_process_has_nobody_to_listen_for():
    assert pulse.watch_over() is None


def test_after_a_rest_of_this_process_the_others_get_their_time_again(started, monkeypatch):
    """As all ranks rest when a job is suspended; the first to wake would take the others for dead."""
    board, told, ended = started
    clock, real = [0.0], time.monotonic
    monkeypatch.setattr(pulse.time, "monotonic", lambda: real() + clock[0])
    for _ in range(5):
        board.add("pulse/1", 1)
        time.sleep(0.05)
    clock[0] = 1000.0
    time.sleep(0.1)
    board.add("pulse/1", 1)
    time.sleep(0.1)
    assert not told
    assert ended.wait(20)  # now it is silent for good


ORPHAN = """
import os, sys, time
from medssl.training import pulse
pulse.EVERY = 0.1
if os.fork():
    time.sleep(1.5)
    os._exit(0)
pulse.end_with_parent()
try:
    print("waits", flush=True)
    time.sleep(100)
except SystemExit as stop:
    print("left", stop.code, flush=True)
"""


def test_a_rank_ends_with_the_process_that_started_it():
    script = "from medssl.training.leaving import hear_early\nhear_early()\n" + ORPHAN
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=90
    )
    assert found.stdout.split() == ["waits", "left", "143"]
