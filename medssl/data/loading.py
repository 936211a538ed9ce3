"""Processes that read ahead, and what is told of one that dies or hangs.

Batch k is read by process k modulo their number and comes out in order, so that what a run sees does not
depend on them. Each notes which sample it is reading: a reader that takes its process down, as a codec
that crashes or the kernel that is out of memory does, is told by the scan that it was reading.
"""

import contextlib
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from multiprocessing.util import Finalize

from medssl.errors import UserError

AHEAD = 2  # batches that a process has been asked for and that nobody has taken yet
IDLE = -1
POLL = 5  # seconds between looks at whether the parent is still there
HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def load(
    read: Callable[[int], dict], asked: Sequence[Sequence[int]], workers: int, wait: float,
    name: Callable[[int], str],
) -> Iterator[dict]:  # fmt: skip
    """Batches of `read(sample)`, collated to tensors, of the samples asked for; `wait` seconds are waited
    for each.

    `name` says which scan a sample is of. Raises UserError WORKER if a process dies or hangs, and what
    `read` raises.
    """
    from torch.utils.data import default_collate

    if not workers:
        for k in range(len(asked)):
            yield default_collate([read(sample) for sample in asked[k]])
        return
    readers = _Readers(read, min(workers, len(asked)))
    try:
        ahead = AHEAD * len(readers)
        for k in range(min(ahead, len(asked))):
            readers.ask(asked[k])
        for k in range(len(asked)):
            batch = readers.take(k, asked[k], wait, name)
            if k + ahead < len(asked):
                readers.ask(asked[k + ahead])
            yield batch
    finally:
        readers.end()


class _Readers:
    """The processes, and a pipe to each."""

    def __init__(self, read: Callable[[int], dict], n: int):
        from torch import multiprocessing  # sends tensors through shared memory

        context = multiprocessing.get_context()
        self.reading = context.RawArray("q", [IDLE] * n)  # the sample that each one is reading
        self.pipes, self.processes, self.asked = [], [], 0
        for i in range(n):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, read, self.reading, i, os.getpid()), daemon=True
            )
            # A signal that comes before the process ignores them waits until it does.
            masked = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, masked)
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)
        # They hear no SIGTERM, with which an interpreter that ends would end them, and wait.
        self.end = Finalize(self, _kill, [self.processes], exitpriority=100)

    def __len__(self) -> int:
        return len(self.processes)

    def ask(self, numbers: Sequence[int]) -> None:
        with contextlib.suppress(OSError):  # it has died: told when its batch is waited for
            self.pipes[self.asked % len(self)].send(numbers)
        self.asked += 1

    def take(self, k: int, numbers: Sequence[int], wait: float, name: Callable[[int], str]) -> dict:
        """Batch `k`, of samples `numbers`. Raises UserError WORKER."""
        at = k % len(self)
        pipe, process = self.pipes[at], self.processes[at]
        ready = connection.wait([pipe, process.sentinel], timeout=wait or None)
        if not ready:
            raise self._fault(at, numbers, name, f"has given nothing for {wait:g} s", "WAIT")
        try:
            answer = pipe.recv()
        except (EOFError, OSError) as error:  # it died, maybe with a batch half handed over
            process.join(POLL)
            code = process.exitcode
            how = f"by {signal.Signals(-code).name}" if code and code < 0 else f"with code {code}"
            raise self._fault(at, numbers, name, f"has died {how}", "DIED") from error
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _fault(self, at: int, numbers, name, cause: str, kind: str) -> UserError:
        sample = self.reading[at]
        batch = ", ".join(dict.fromkeys(name(n) for n in numbers))
        if sample == IDLE:
            what = f"reading nothing at that time; the batch that was waited for is of {batch}"
        else:
            what = f"reading {name(sample)}; the batch that was waited for is of {batch}"
        fixes = {
            "WAIT": "see whether that scan's place in the store can be read; raise fit.wait if its disk "
            "is only slow",
            "DIED": "see whether memory ran out (SIGKILL) or shared memory (SIGBUS): lower fit.workers or "
            "fit.batch_size; otherwise try fit.workers=0",
        }
        fix = f"{fixes[kind]}; what was saved before is good, and the same command goes on"
        return UserError("WORKER", f"loader process {at}", f"{cause}, {what}", fix)


def _kill(processes: list) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join(POLL)


def _serve(pipe, read: Callable[[int], dict], reading, at: int, parent: int) -> None:
    """What a process does: answer each list of samples by a batch or an exception."""
    import torch
    from torch.utils.data import default_collate

    # Ctrl-C and Slurm send them to all processes of a run; the parent decides when it ends.
    for number in HEARD:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
    torch.set_num_threads(1)
    while True:
        while not pipe.poll(POLL):
            if os.getppid() != parent:
                return
        try:
            asked = pipe.recv()
        except EOFError:
            return  # the parent has closed its end
        try:
            samples = []
            for sample in asked:
                reading[at] = sample
                samples.append(read(sample))
            answer = default_collate(samples)
        except Exception as error:
            answer = _portable(error)
        reading[at] = IDLE
        try:
            pipe.send(answer)
        except OSError:
            return  # the parent has been killed


def _portable(error: Exception) -> Exception:
    """The error as another process can raise it, with where it came from."""
    if not isinstance(error, UserError):
        error.add_note(traceback.format_exc())
    try:
        from multiprocessing.reduction import ForkingPickler

        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:  # whatever its class lacks to be sent
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
