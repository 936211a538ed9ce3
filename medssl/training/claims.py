"""Work that several processes do together: each takes what is neither done nor held by another.

There is no master and no list of who does what. The same command is given once or many times, on one
machine or on many that share the folder; a process that is killed holds nothing, and its work is taken up
by the next.
"""

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medssl.data.files import NO_LOCKS

ENDING = ".claim"  # of the hidden file beside a mark, which is locked while its work is done
PAUSE = 2.0  # seconds between looks at what others hold


@dataclass(frozen=True)
class Job:
    """A piece of work that leaves a file `mark` when it is whole; `do` may be given again after a kill."""

    mark: Path
    do: Callable[[], object]

    @property
    def done(self) -> bool:
        return self.mark.exists()


def work_off(jobs: Sequence[Job]) -> None:
    """Return when all jobs are done, by this process or by others. What a job raises is raised."""
    left = [job for job in jobs if not job.done]
    while left:
        held = []
        for job in left:
            with claimed(job.mark) as mine:
                if not mine:
                    held.append(job)
                elif not job.done:  # another may just have ended it
                    job.do()
        if len(held) == len(left):
            time.sleep(PAUSE)
        left = [job for job in held if not job.done]


@contextmanager
def claimed(mark: Path) -> Iterator[bool]:
    """Whether this process is the one to write `mark`, for the length of a block."""
    import fcntl

    mark.parent.mkdir(parents=True, exist_ok=True)
    with open(mark.with_name(f".{mark.name}{ENDING}"), "a") as claim:
        try:
            fcntl.lockf(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                yield False
                return
            if error.errno not in NO_LOCKS:
                raise
        yield True
