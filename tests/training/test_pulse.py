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
