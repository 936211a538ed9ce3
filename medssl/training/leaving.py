"""Signals that end a process, and Slurm's queue. Loads nothing, so that it hears from the start."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from medssl.errors import one_line
from medssl.progress import say

STOPPED = 143  # 128 + SIGTERM, as a shell says it of a process that the signal ended
PATIENCE = 20  # seconds for Slurm to answer, of the 30 it gives by default


def hear_early() -> None:
    """Leave in words, and with the code that training leaves with, where SIGTERM or SIGUSR1 comes before
    training listens for itself. What is ignored stays so; in a thread nothing is changed."""
    main = threading.current_thread() is threading.main_thread()
    for number in (signal.SIGTERM, signal.SIGUSR1) if main else ():
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _leave)


@contextmanager
def heard(number: int, handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Within the block a signal goes to the handler; in a thread, which hears none, nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, signal.SIG_DFL if former is None else former)


def requeued() -> bool:
    """Whether this is a job of Slurm, and Slurm has put it back into its queue."""
    job, scontrol = os.environ.get("SLURM_JOB_ID"), shutil.which("scontrol")
    if not job or not scontrol:
        return False
    try:
        subprocess.run(
            [scontrol, "requeue", job], check=True, capture_output=True, text=True, timeout=PATIENCE
        )
    except (OSError, subprocess.SubprocessError) as error:
        words = getattr(error, "stderr", None) or one_line(error)
        say(f"remark: Slurm has not put job {job} back into its queue ({words.strip()})")
        return False
    return True


def _leave(number: int, _frame: FrameType | None) -> None:
    first = int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))) == 0
    if first:
        queued = number == signal.SIGUSR1 and requeued()
        say(
            f"stopped by {signal.Signals(number).name} before the end: the same command is to be given again"
            + (", and Slurm will do so" if queued else "")
        )
    raise SystemExit(STOPPED)
