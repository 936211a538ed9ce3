"""The same work on many items, in this process or side by side in others."""

import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TypeVar

from medssl.errors import UserError

A, B = TypeVar("A"), TypeVar("B")
AHEAD = 4
CHUNK = 200


def in_chunks(work: Callable[[A], B], items: Sequence[A], workers: int = 0) -> Iterator[B]:
    """`each` for work of a millisecond: items travel to the processes by the hundred."""
    parts = (items[i : i + CHUNK] for i in range(0, len(items), CHUNK))
    if not workers or len(items) <= CHUNK:
        yield from map(work, items)
        return
    for results in each(partial(_all, work), parts, workers):
        yield from results


def _all(work: Callable[[A], B], items: Sequence[A]) -> list[B]:
    return [work(item) for item in items]


def each(
    work: Callable[[A], B], items: Iterable[A], workers: int = 0, preload: str = ""
) -> Iterator[B]:
    """Yield `work(item)` in the order of the items; `workers` processes, or 0 for this one.

    `preload` is a module that `work` needs and that takes long to import: forked workers have it.
    Items are taken up as they are needed. An exception of `work` ends the iteration after the items
    under way. Raises UserError MEMORY if a process is killed, as by a system short of memory.
    """
    if not workers:
        yield from map(work, items)
        return
    if preload:
        importlib.import_module(preload)
    pool = ProcessPoolExecutor(workers, initializer=_begin)
    under_way = deque()
    try:
        for item in items:
            under_way.append(pool.submit(work, item))
            if len(under_way) > AHEAD * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except BrokenProcessPool as error:
        raise UserError(
            "MEMORY", f"workers={workers}",
            "a process was killed from outside, most often since memory ran out",
            "run the same command again with fewer workers; what is done is kept",
        ) from error  # fmt: skip
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """One thread each; Ctrl-C is the parent's to answer; nobody outlives a killed parent.

    How the command line hears other signals is inherited: in words, by an exception, which the pool takes
    for a result of the work. A process that is to end goes on then, and its parent waits for it.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
