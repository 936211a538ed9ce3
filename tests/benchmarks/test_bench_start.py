"""How long the command line takes to answer, against a bare interpreter in the same run."""

import statistics
import subprocess
import sys
import time


def seconds(*words) -> float:
    runs = []
    for _ in range(7):
        began = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        runs.append(time.perf_counter() - began)
    return statistics.median(runs)


def test_help():
    bare = seconds("-c", "pass")
    found = seconds("-m", "medssl", "--help")
    print(
        f"\nmedssl --help {found:.3f} s, a bare interpreter {bare:.3f} s, {found / bare:.1f} times"
    )
    assert found < 0.3 or found < 15 * bare
