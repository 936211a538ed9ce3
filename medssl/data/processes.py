"""The same work on many items, in this process or side by side in others."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from medssl.errors import UserError

A, B = TypeVar("A"), TypeVar("B")
AHEAD = 4


def each(work: Callable[[A], B], items: Iterable[A], workers: int = 0) -> Iterator[B]:
    """Yield `work(item)` in the order of the items; `workers` processes, or 0 for this one.

    Items are taken up as they are needed. An exception of `work` ends the iteration after the items
    under way. Raises UserError MEMORY if a process is killed, as by a system short of memory.
    """
    if not workers:
        yield from map(work, items)
        return
    import torch  # noqa: F401  once here, and forked workers have it

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
    """One thread each; Ctrl-C is the parent's to answer; nobody outlives a killed parent."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
