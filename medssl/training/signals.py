"""What a run does when it is told to end: it ends its step, saves its state, and leaves.

SIGTERM and SIGUSR1, which Slurm sends before it takes a node away, leave with exit code 143; SIGINT,
which Ctrl-C and a notebook's stop button send, with 130. The same command goes on from there.
"""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from medssl import ranks
from medssl.progress import say
from medssl.training.leaving import STOPPED, heard, requeued

HEARD = (
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGINT,
)  # the later one counts, where ranks hear several


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
        """Whether this rank or another was asked; then all of them are, by the same signal."""
        heard = ranks.largest(1 + HEARD.index(self.asked) if self.asked else 0)
        self.asked = HEARD[heard - 1] if heard else None
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
        queued = self.asked == signal.SIGUSR1 and ranks.rank() == 0 and requeued()
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
    stop = Stop()
    with ExitStack() as listening:
        for number in HEARD:
            if signal.getsignal(number) != signal.SIG_IGN:
                listening.enter_context(heard(number, stop.hear))
        yield stop
