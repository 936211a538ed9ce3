"""An hour of mutated files: what became of them, and how much time and memory one may take."""

import time

from tests.faults import fuzz

SECONDS = 3600
FIRST = 1_000_000  # other mutations than those of `make test-all`


def test_an_hour():
    outcome = fuzz.run(SECONDS, first=FIRST + int(time.time()))
    print(f"\n{outcome}")
    for seed, counts in sorted(outcome.by_seed.items()):
        print(f"  {seed}: " + ", ".join(f"{n} {what}" for what, n in counts.most_common()))
    for seed, number, words in outcome.defects:
        print(f"  DEFECT fuzz.folder_of({seed!r}, {number}, folder): {words}")
    assert outcome.defects == []
    assert outcome.slowest[0] < fuzz.SLOWEST and outcome.largest[0] < fuzz.MOST_BYTES
