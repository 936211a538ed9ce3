"""What a run does when it is told to end: it ends its step, saves its state, and leaves.

SIGTERM and SIGUSR1, which Slurm sends before it takes a node away, leave with exit code 143; SIGINT,
which Ctrl-C and a notebook's stop button send, with 130. The same command goes on from there.
"""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from medssl import ranks
from medssl.errors import one_line
from medssl.progress import say

HEARD = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
STOPPED = 143  # 128 + SIGTERM, as a shell says it of a process that the signal ended
PATIENCE = 20  # seconds for Slurm to answer, of the 30 it gives by default


class Stop:
    """asked   the signal that asked the run to end; none: it goes on
    hurried    a second SIGINT has come: nothing more is saved
    """

    def __init__(self):
        self.asked: signal.Signals | None = None
        self.hurried = self._at_once = False

    def hear(self, number: int, _frame=None) -> None:
        """The handler of the signals."""
        self.hurried = number == signal.SIGINT and self.asked is not None
        self.asked = self.asked or signal.Signals(number)
        if self.hurried:
            raise KeyboardInterrupt
        if self._at_once:
            self._raise()

    def anywhere(self) -> bool:
        """Whether this rank or another was asked; then all of them are."""
        if ranks.anywhere(self.asked is not None):
            self.asked = self.asked or signal.SIGTERM
        return self.asked is not None

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within the block a signal is not waited with, but raised."""
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def tell(self, step: int, steps: int) -> None:
        """Once the state is saved: say so, and have Slurm run the job again."""
        queued = self.asked == signal.SIGUSR1 and ranks.rank() == 0 and _requeued()
        say(
            f"stopped by {self.asked.name} at step {step} of {steps}, which is saved; the same command "
            "goes on from there" + (", and Slurm will give it" if queued else "")
        )

    def leave(self, step: int, steps: int) -> None:
        """If a signal has asked for it: tell, and raise KeyboardInterrupt for SIGINT, otherwise
        SystemExit with code 143."""
        if self.asked:
            self.tell(step, steps)
            self._raise()

    def _raise(self) -> None:
        if self.asked == signal.SIGINT:
            raise KeyboardInterrupt("the run is saved")  # with words: whoever catches it needs none
        raise SystemExit(STOPPED)


@contextmanager
def caught() -> Iterator[Stop]:
    """Within the block the signals are heard; afterwards they do what they did before.

    Signals that the process ignores, as `nohup` and a shell's background jobs do with some, stay
    ignored. In a thread other than the main one, as some notebooks have, nothing is changed.
    """
    stop, former = Stop(), {}
    if threading.current_thread() is threading.main_thread():
        asked = [n for n in HEARD if signal.getsignal(n) != signal.SIG_IGN]
        former = {number: signal.signal(number, stop.hear) for number in asked}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _requeued() -> bool:
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
