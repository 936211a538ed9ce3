import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from medssl.data.crops import Crops, CropSpec, batches
from medssl.data.loading import load
from medssl.errors import UserError
from tests.data.test_store import make
from tests.faults.conftest import MESSAGE

N, BATCH = 14, 2


def read(sample):
    return {"image": np.full((1, 4), sample, np.float32), "item": sample % 3}


def asked(n):
    """Samples 0 to n - 1, batch by batch."""
    return [range(first, min(first + BATCH, n)) for first in range(0, n, BATCH)]


def name(sample):
    return f"case_{sample % 3}"


def at(number, act):
    """Reads that do as ever but at one sample."""

    def reads(sample):
        if sample == number:
            act()
        return read(sample)

    return reads


def all_of(reads, workers, wait=60.0, n=N):
    return [b["image"][:, 0, 0].tolist() for b in load(reads, asked(n), workers, wait, name)]


def children():
    return multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 1, 2, 3, 9])
def test_batches_come_in_order_whoever_reads_them(workers):
    slow = at(0, lambda: time.sleep(0.3))
    assert all_of(slow, workers) == [[i, i + 1] for i in range(0, N, BATCH)]
    assert not children()


@pytest.mark.parametrize("died", [signal.SIGKILL, signal.SIGSEGV])
@pytest.mark.parametrize("number", [0, 7, N - 1])
def test_a_process_that_dies_is_told_by_the_scan_that_it_was_reading(died, number):
    with pytest.raises(UserError) as error:
        all_of(at(number, lambda: os.kill(os.getpid(), died)), 2)
    told = str(error.value)
    assert error.value.code == "WORKER" and MESSAGE.fullmatch(told)
    assert f"has died by {died.name}, reading {name(number)};" in told
    assert name(number // 2 * 2) in told.partition("batch")[2] and not children()


def test_one_that_is_killed_while_it_reads_nothing_is_told_too():
    stream = load(read, asked(100), 1, 60, name)
    next(stream)
    (process,) = children()
    time.sleep(0.3)  # it has read ahead what it was asked for
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(UserError, match="WORKER .*SIGKILL, reading nothing.*is of case_"):
        list(stream)
    assert not children()


def test_a_process_that_hangs_is_told_by_the_scan_that_it_was_reading():
    with pytest.raises(UserError, match="given nothing for 0.5 s, reading case_1; .*fit.wait"):
        all_of(at(4, lambda: time.sleep(100)), 2, wait=0.5)
    assert not children()


@pytest.mark.parametrize("workers", [0, 2])
def test_what_reading_raises_arrives_as_it_was(workers):
    def damaged():
        raise UserError("STORE", "case_1", "is damaged", "mend it")

    with pytest.raises(UserError, match="STORE case_1: is damaged. Fix: mend it"):
        all_of(at(5, damaged), workers)
    with pytest.raises(ZeroDivisionError) as error:
        all_of(at(5, lambda: 1 / 0), workers)
    assert not workers or "1 / 0" in error.value.__notes__[0]

    class Odd(Exception):
        def __init__(self, a, b):
            super().__init__(a)

    def odd():
        raise Odd("what", "ever")

    with pytest.raises((Odd, RuntimeError), match="what"):
        all_of(at(5, odd), workers)
    assert not children()


def test_signals_to_all_processes_are_for_the_parent():
    stream = load(read, asked(100), 2, 60, name)
    next(stream)
    for process in children():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            os.kill(process.pid, number)
    assert len(list(stream)) == 49


def _leaves_it_open():
    global kept
    kept = load(read, asked(100), 2, 60, name)
    next(kept)


def test_an_interpreter_ends_though_a_stream_is_still_open():
    process = multiprocessing.get_context("fork").Process(target=_leaves_it_open)
    process.start()
    process.join(60)
    code = process.exitcode
    process.kill()
    assert code == 0


def test_a_stream_that_is_left_ends_its_processes():
    stream = load(read, asked(100), 2, 60, name)
    next(stream)
    assert len(children()) == 2
    stream.close()
    assert not children()


def test_crops_are_the_same_from_any_number_of_processes_and_name_their_scans(tmp_path):
    store = make(tmp_path / "s", [(20, 24, 20), (18, 22, 26), (24, 16, 20)])
    crops = Crops(store, list(store.items.index), CropSpec((8, 8, 8)), seed=3)
    known = list(batches(crops, 2, 3, 8))
    for workers in (1, 2):
        for a, b in zip(known, batches(crops, 2, 3, 8, workers, 60), strict=True):
            assert a.keys() == b.keys() and all((a[k] == b[k]).all() for k in a)
    assert [crops.scan(i) for i in range(6, 9)] == [
        store.items.index[i] for i in known[0]["item"].tolist() + known[1]["item"].tolist()[:1]
    ]
