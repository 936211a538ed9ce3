"""Progress of long work: a bar on a terminal or in Jupyter, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from medssl.privacy import printable

T = TypeVar("T")
QUIET_SECONDS = 2.0
PLAIN_SECONDS = 10.0

Onlooker = Callable[[str, int, int | None], None]
_onlooker: ContextVar[Onlooker] = ContextVar("onlooker", default=lambda what, done, total: None)


_hushed = ""


def hush(rank: int) -> None:
    """Say nothing from now on: this is a further process of the same work, and rank 0 says it."""
    global _hushed
    _hushed = f"rank {rank}: "


def of_rank() -> str:
    """What stands before an error of a process that was hushed; "" for any other."""
    return _hushed


def say(text: str) -> None:
    """One line to standard error, where progress and remarks go; Jupyter sets that on red, as a fault."""
    if _hushed:
        return
    print(printable(text), file=sys.stdout if _in_jupyter() else sys.stderr, flush=True)


def _in_jupyter() -> bool:
    return type(sys.stderr).__module__.startswith("ipykernel")


def duration(seconds: float) -> str:
    minutes, seconds = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{seconds:02d}s"


def pace(rate: float, unit: str) -> str:
    """Throughput for people: 12.3/s, or where less than one is done in a second, 107 s/scan."""
    if 0 < rate < 0.995:
        one = unit.removesuffix("es") if unit.endswith("ches") else unit.removesuffix("s")
        return f"{1 / rate:.3g} s/{one}"
    return f"{rate:.1f}/s"


def amount(count: float) -> str:
    """Bytes for people: 512 B, 1.2 MB, 34.5 GB (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


@contextmanager
def watched(onlooker: Onlooker) -> Iterator[None]:
    """Within the block, `onlooker(what, done, total)` is called before and after every tracked item.

    What it raises ends the work, as a kill would.
    """
    token = _onlooker.set(onlooker)
    try:
        yield
    finally:
        _onlooker.reset(token)


def track(
    items: Iterable[T], what: str, total: int | None = None, unit: str = "items", start: int = 0,
    note: Callable[[], str] = str,
) -> Iterator[T]:  # fmt: skip
    """Yield `items`, showing count, throughput and time left once two seconds have passed.

    `start` is how many of `total` were done before (a resumed run), `note` gives words to end a line
    with. Nothing is printed for work that ends in under two seconds.
    """
    total = total if total is not None else (len(items) if hasattr(items, "__len__") else None)
    line = _Line(what, total, unit, start, note)
    done, tell = start, _onlooker.get()
    tell(what, done, total)
    for item in items:
        yield item
        done += 1
        line.show(done)
        tell(what, done, total)
    line.end(done)


class _Line:
    def __init__(self, what, total, unit, start, note):
        self.what, self.total, self.unit, self.start, self.note = what, total, unit, start, note
        self.terminal = sys.stderr.isatty()
        self.jupyter, self.handle = _in_jupyter(), None  # handle: of the line that is there already
        self.pause = 0.2 if self.terminal or self.jupyter else PLAIN_SECONDS
        self.began = time.monotonic()
        self.shown = self.began + QUIET_SECONDS - self.pause
        self.visible = False
        self.warm: tuple[int, float] | None = None  # items done, and when, once the first was

    def show(self, done: int) -> None:
        now = time.monotonic()
        self.warm = self.warm or (done, now)
        if now - self.shown < self.pause:
            return
        self.shown, self.visible = now, True
        self._print(self._text(done, now - self.began), end="" if self.terminal else "\n")

    def end(self, done: int) -> None:
        spent = time.monotonic() - self.began
        if self.visible or spent > QUIET_SECONDS:
            rate = (done - self.start) / max(spent, 1e-9)
            words = f"{self.what}: {done} {self.unit} in {duration(spent)}, {pace(rate, self.unit)}"
            self._print(self._noted(words))

    def _text(self, done: int, spent: float) -> str:
        rate = (done - self.start) / max(spent, 1e-9)
        if self.total is None:
            return self._noted(f"{self.what}: {done} {self.unit}, {pace(rate, self.unit)}")
        left = self._left(done)
        bar = ""
        if self.terminal or self.jupyter:
            filled = int(24 * done / max(self.total, 1))
            bar = f"[{'#' * filled}{'.' * (24 - filled)}] "
        words = f"{self.what}: {bar}{done}/{self.total} {self.unit}, {pace(rate, self.unit)}"
        return self._noted(f"{words}, {left} left" if left else words)

    def _left(self, done: int) -> str:
        """Time left at the pace since the first item, which took the start-up as well."""
        count, when = self.warm
        if done == count:
            return ""
        return duration((self.total - done) * (time.monotonic() - when) / (done - count))

    def _noted(self, words: str) -> str:
        return ", ".join(filter(None, [words, self.note()]))

    def _print(self, text: str, end: str = "\n") -> None:
        text = printable(text)
        if _hushed:
            return
        if self.jupyter:
            self._display({"text/plain": text})
            return
        print(f"\r\x1b[K{text}" if self.terminal else text, end=end, file=sys.stderr, flush=True)

    def _display(self, shown: dict[str, str]) -> None:
        """In place of what was shown of this work before."""
        from IPython.display import display

        if self.handle is None:
            self.handle = display(shown, raw=True, display_id=True)
        else:
            self.handle.update(shown, raw=True)
