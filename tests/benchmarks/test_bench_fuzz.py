"""An hour of spoilt files through the readers: 0 crashes, hangs, floods of memory, silent changes.

SECONDS shortens it. Two minutes of it, over other files, are in tests/faults/test_fuzz.py.
"""

import itertools
import os
import time

from tests.faults.test_fuzz import run

SECONDS = 3600


def test_an_hour_of_spoilt_files():
    start = time.monotonic()
    count = run(itertools.count(), os.cpu_count() or 1, until=start + SECONDS)
    print(f"{60 * count.total() / (time.monotonic() - start):.0f} files a minute")
