"""The fuzzer itself, and two minutes of it (an hour is tests/benchmarks/test_bench_fuzz.py)."""

import itertools
import os
import time
from collections import Counter

import pytest

from medssl.data.index import read
from tests.faults import fuzz as module
from tests.faults.fuzz import FINE, Fuzzer, fuzz, summary
from tests.faults.fuzz_seeds import MAKERS

SECONDS = 120


def run(numbers, workers: int = 1, until: float = float("inf")) -> Counter:
    """Fuzz, print the figures, and fail on any defect."""
    count, defects = Counter(), []
    for fate in fuzz(numbers, workers, until):
        count[fate.outcome] += 1
        if fate.outcome not in FINE:
            defects.append(str(fate))
    print(summary(count))
    assert not defects, "\n".join(defects[:40])
    return count


def test_a_number_names_one_file_for_ever(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = Fuzzer(tmp_path / "a"), Fuzzer(tmp_path / "b")
    assert len(MAKERS) >= 40
    for number in range(50):
        a, b = first.spoilt(number), second.spoilt(number)
        assert (a[0].name, a[1], a[2].raw) == (b[0].name, b[1], b[2].raw)


@pytest.mark.parametrize(
    ("what", "outcome"),
    [("wait", "hang"), ("spin", "hang"), ("die", "died"), ("raise", "raised"), ("flood", "memory")],
)
def test_what_a_reader_must_not_do_is_seen(what, outcome, monkeypatch):
    """A planted fault in the reader comes out as a defect, and the next file is judged again."""
    real = Fuzzer.judge

    def planted(self, number):
        if number == 1:
            PLANTED[what]()
        return real(self, number)

    monkeypatch.setattr(module, "SECONDS", 2)
    monkeypatch.setattr(module, "WAIT", 20 if what == "spin" else 4)
    monkeypatch.setattr(Fuzzer, "judge", planted)
    fates = {fate.number: fate.outcome for fate in fuzz(range(3))}
    assert fates[1] == outcome and fates[0] in FINE and fates[2] in FINE


def test_a_silent_change_is_seen(monkeypatch):
    def mirrored(row):
        volume = read(row)
        return volume.with_array(volume.array[..., ::-1])

    real = Fuzzer.judge

    def planted(self, number):
        module.read = mirrored  # in the worker only, after it has read its seeds
        return real(self, number)

    monkeypatch.setattr(Fuzzer, "judge", planted)
    found = Counter(fate.outcome for fate in fuzz(range(200)))
    assert found["changed"] > 10


def die() -> None:
    os.kill(os.getpid(), 11)


def fail() -> None:
    raise ValueError("planted")


def spin() -> None:
    while True:
        pass


PLANTED = {
    "wait": lambda: time.sleep(60), "spin": spin, "die": die, "raise": fail,
    "flood": lambda: bytearray(3 << 30),
}  # fmt: skip


def test_some_spoilt_files():
    count = run(range(300))
    assert count.total() == 300 and count["refused"] > 100 and count["equal"] > 10


@pytest.mark.slow
def test_two_minutes_of_spoilt_files():
    begin = 1_000_000  # numbers that the benchmark does not reach
    run(itertools.count(begin), until=time.monotonic() + SECONDS)
