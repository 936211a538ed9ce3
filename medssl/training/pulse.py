"""Every rank says now and then that it is alive, and ends when another has not for a minute.

A rank that is killed is missed at once, as its connections break. One whose node has lost power or
network, or that hangs, is not: the others would wait for it for hours.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from torch import distributed

from medssl import ranks
from medssl.errors import UserError
from medssl.training.leaving import STOPPED

EVERY, DEAD = 5.0, 60.0  # seconds


class Pulse(threading.Thread):
    """A thread beside the training, until `stop`; `end` is called with what is wrong."""

    def __init__(self, store: distributed.Store, end: Callable[[UserError], None]):
        super().__init__(name="pulse", daemon=True)
        self.store, self.end, self.stopped = store, end, threading.Event()

    def stop(self) -> None:
        self.stopped.set()

    def run(self) -> None:
        mine, others = ranks.rank(), [r for r in range(ranks.world()) if r != ranks.rank()]
        heard = dict.fromkeys(others, (0, time.monotonic()))  # by rank: its last beat, and when
        reached = woke = time.monotonic()
        while not self.stopped.wait(EVERY):
            slept, woke = time.monotonic() - woke, time.monotonic()
            if slept > DEAD:  # this process rested, as a suspended job does, and maybe all did
                heard = {r: (beat, woke) for r, (beat, _) in heard.items()}
            try:
                self.store.add(f"pulse/{mine}", 1)
                beats = {r: self.store.add(f"pulse/{r}", 0) for r in others}
            except RuntimeError as error:  # of the store, which lives on the first node
                if time.monotonic() - reached > DEAD:
                    self.end(_lost("the first node", str(error).splitlines()[0]))
                continue
            reached = woke = time.monotonic()
            for r, beat in beats.items():
                if beat != heard[r][0]:
                    heard[r] = (beat, reached)
                elif reached - heard[r][1] > DEAD:
                    self.end(_lost(f"rank {r}", f"has given no sign of life for {DEAD:.0f} s"))


def watch_over() -> Pulse | None:
    """Begin to listen for the other ranks, if there are any; ends this process when one has gone."""
    if ranks.world() == 1:
        return None
    store = distributed.distributed_c10d._get_default_store().clone()
    store.set_timeout(timedelta(seconds=DEAD / 2))
    pulse = Pulse(store, leave)
    pulse.start()
    return pulse


def end_with_parent(parent: int = 0) -> None:
    """End this process, its step saved if it comes to that, once the process that started it is gone: nobody
    else would. `parent`: its number, where it may be gone by now."""
    parent = parent or os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(EVERY)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(DEAD)
        os._exit(STOPPED)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def leave(error: UserError) -> None:
    """End the process at once: its main thread waits for a rank that will never answer."""
    print(f"rank {ranks.rank()}: {error}", file=sys.stderr, flush=True)
    os._exit(error.status)


def _lost(who: str, how: str) -> UserError:
    fix = "see to that node or process; the same command goes on from the last checkpoint"
    return UserError("RANKS", who, how, fix)
