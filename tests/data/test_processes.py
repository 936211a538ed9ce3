import os
import signal
import subprocess
import sys
import time

import pytest

from medssl.data.processes import CHUNK, each, in_chunks
from medssl.errors import UserError


def double(n: int) -> int:
    time.sleep(0.02 * (n % 3))
    return 2 * n


def fail_at_five(n: int) -> int:
    if n == 5:
        raise UserError("DISK", "here", "full", "make room")
    return n


def die_at_five(n: int) -> int:
    if n == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_the_order_of_the_items_which_are_taken_up_as_needed(workers):
    taken = []
    items = (taken.append(n) or n for n in range(100))
    results = each(double, items, workers)
    assert [next(results) for _ in range(3)] == [0, 2, 4] and len(taken) < 20
    assert list(results) == [2 * n for n in range(3, 100)]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_ends_it(workers):
    with pytest.raises(UserError, match="make room"):
        list(each(fail_at_five, range(100), workers))


@pytest.mark.parametrize("workers", [0, 2])
def test_chunks_are_put_together_in_order(workers):
    items = range(2 * CHUNK + 7)
    assert list(in_chunks(str, items, workers)) == [str(n) for n in items]


def test_a_killed_process_is_told():
    with pytest.raises(UserError, match="fewer workers"):
        list(each(die_at_five, range(100), 2))


def test_workers_end_without_a_word_however_the_command_line_hears():
    """One is killed and the pool ends the other, which works: that is no stop asked for from outside."""
    code = (
        "import os, time\nfrom medssl.data.processes import each\n"
        "from medssl.training.leaving import hear_early\nhear_early()\n"
        "def work(n):\n    os.kill(os.getpid(), 9) if n == 1 else time.sleep(600)\n"
        "list(each(work, range(8), 2))"
    )
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, capture_output=True, text=True, timeout=100).stderr
    assert "MEMORY workers=2" in told and "stopped by" not in told


def test_workers_leave_with_a_killed_parent():
    code = (
        "import os, time\nfrom medssl.data.processes import each\n"
        "def work(n):\n    os.write(1, b'%d\\n' % os.getpid())\n    time.sleep(60)\n"  # one write
        "list(each(work, range(8), 2))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    workers = {int(parent.stdout.readline()) for _ in range(2)}
    parent.kill()
    parent.wait()
    assert len(workers) == 2
    assert parent.stdout.read() == ""  # ends once both workers, which hold it open, have gone
