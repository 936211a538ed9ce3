"""Where the time of work goes, part by part; while nobody asks, next to nothing is done.

Within `running`, `lap("forward")` gives a part the time that has passed since the last lap, and a function
that is `timed("augment")` its own, which the part that it is called from then does not count.
"""

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

F = TypeVar("F", bound=Callable)
_now: "Stopwatch | None" = None


class Stopwatch:
    """Seconds by part, `turns` of them: one Counter for each time around."""

    def __init__(self, settle: Callable[[], None] = lambda: None):
        self.settle = settle  # waits for work that was only begun, as a GPU's is
        self.seconds: Counter[str] = Counter()
        self.turns: list[Counter[str]] = []
        self.at, self.inside = time.perf_counter(), 0.0  # inside: seconds that have a part already
        self.rests = False

    def lap(self, part: str) -> None:
        self.settle()
        now = time.perf_counter()
        self.seconds[part] += now - self.at - self.inside
        self.at, self.inside = now, 0.0

    def turn(self) -> None:
        """What was timed since the last turn belongs together."""
        self.turns.append(self.seconds)
        self.seconds = Counter()

    def call(self, part: str, function: Callable, *args, **options):
        self.settle()
        began, outer, self.inside = time.perf_counter(), self.inside, 0.0
        try:
            return function(*args, **options)
        finally:
            self.settle()
            spent = time.perf_counter() - began
            self.seconds[part] += spent - self.inside
            self.inside = outer + spent


@contextmanager
def running(settle: Callable[[], None] = lambda: None) -> Iterator[Stopwatch]:
    """Within the block `lap`, `turn` and `timed` count; an outer stopwatch rests meanwhile."""
    global _now
    outer, _now = _now, Stopwatch(settle)
    try:
        yield _now
    finally:
        _now = outer


@contextmanager
def resting() -> Iterator[None]:
    """Functions that are called in the block have no part of their own; the next lap counts them all."""
    watch = _now
    if watch:
        watch.rests = True
    try:
        yield
    finally:
        if watch:
            watch.rests = False


def lap(part: str) -> None:
    if _now:
        _now.lap(part)


def turn() -> None:
    if _now:
        _now.turn()


def timed(part: str) -> Callable[[F], F]:
    """A function whose time is a part's."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def around(*args, **options):
            if _now is None or _now.rests:
                return function(*args, **options)
            return _now.call(part, function, *args, **options)

        return around

    return decorate
