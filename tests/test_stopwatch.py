import pytest

from medssl import stopwatch
from medssl.stopwatch import lap, resting, running, timed, turn


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for what `clock.passes` adds."""

    class Clock:
        now = 0.0

        def passes(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: clock.now)
    return clock


def test_a_part_does_not_count_what_has_a_part_of_its_own(clock):
    @timed("augment")
    def augment(seconds):
        clock.passes(seconds)
        return seconds

    @timed("read")
    def read():
        clock.passes(1)
        augment(2)
        clock.passes(4)

    with running() as watch:
        clock.passes(8)
        assert augment(16) == 16
        read()
        lap("forward")
        clock.passes(32)
        lap("backward")
        turn()
        clock.passes(64)
        lap("forward")
        turn()
    assert watch.turns == [
        {"forward": 8, "augment": 18, "read": 5, "backward": 32},
        {"forward": 64},
    ]


def test_nothing_is_counted_while_nobody_asks_and_faults_pass_through(clock):
    @timed("augment")
    def broken():
        clock.passes(1)
        raise OSError

    lap("forward")
    turn()
    with pytest.raises(OSError):
        broken()
    with running() as outer:
        with pytest.raises(OSError), running() as inner:
            broken()
        lap("forward")
    assert inner.seconds == {"augment": 1} and outer.seconds == {"forward": 1}
    assert stopwatch._now is None


def test_while_it_rests_the_next_lap_takes_all(clock):
    @timed("decode")
    def read():
        clock.passes(2)

    with running() as watch:
        with resting():
            read()
            clock.passes(1)
        lap("checkpoint")
        read()
    assert watch.seconds == {"checkpoint": 3, "decode": 2}


def test_work_that_was_only_begun_is_waited_for(clock):
    with running(settle=lambda: clock.passes(1)) as watch:
        lap("copy")
    assert watch.seconds == {"copy": 1}
