"""Processes that are killed at a file-system call or at a moment, forked from one that has imported all.

What is wrapped are the calls of Python itself; medssl writes checkpoints, models and logs by no others.
"""

import builtins
import gc
import hashlib
import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from medssl.training.checkpoint import load_state

CALLS = (
    "open",
    "write",
    "fsync",
    "close",
    "rename",
    "replace",
    "mkdir",
    "unlink",
    "rmdir",
    "chmod",
)
KILLED = -signal.SIGKILL


def warm() -> None:
    """Import what a training imports on its way, so that no child has to; nothing that starts threads."""
    import lightning_fabric  # noqa: F401
    import matplotlib.figure  # noqa: F401

    torch.set_num_threads(1)
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    torch.optim.AdamW([weight]).step()  # reaches for the compiler
    gc.collect()
    gc.freeze()  # what is shared with the children is not walked through, and so not copied


def forked(function: Callable, *args) -> int:
    """How a call ended in a child: its exit code, or minus the signal that killed it; a fault is 1."""
    child = begun(function, *args)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def begun(function: Callable, *args) -> int:
    """The child's process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        torch.set_num_threads(1)
        function(*args)
        code = 0
    except SystemExit as error:
        code = error.code
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def command(said: Path, *words: str) -> None:
    """What `medssl WORDS` does, in this process and a group of its own; what it says goes to a file."""
    from medssl import cli

    os.setpgid(0, 0)
    # A shell has its background jobs ignore it, and what is ignored stays ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 2)
    os.dup2(file, 1)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")  # in place of pytest's
    sys.argv = ["medssl", *words]
    cli.main()


class Killer:
    """Kills this process before its call number `at` of the file system; a write is half done by then."""

    def __init__(self, at: int = -1):
        self.at, self.count = at, 0
        for name in CALLS:
            setattr(os, name, self.counted(getattr(os, name), name == "write"))
        opened = self.counted(open)
        builtins.open = io.open = lambda *a, **k: _File(opened(*a, **k), self)

    def counted(self, call: Callable, write: bool = False) -> Callable:
        def counting(*args, **options):
            self.tick(lambda: call(args[0], args[1][: len(args[1]) // 2]) if write else None)
            return call(*args, **options)

        return counting

    def tick(self, half: Callable = lambda: None) -> None:
        if self.count == self.at:
            half()
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1


class _File:
    """A file whose writes and closing are counted; what is written is handed on at once."""

    def __init__(self, file, killer: Killer):
        self.file, self.killer = file, killer

    def write(self, data):
        def half():
            self.file.write(data[: len(data) // 2])
            self.file.flush()

        self.killer.tick(half)
        written = self.file.write(data)
        self.file.flush()
        return written

    def close(self) -> None:
        self.killer.tick()
        self.file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __iter__(self):
        return iter(self.file)

    def __getattr__(self, name):
        return getattr(self.file, name)


def after(seconds: float, function: Callable, *args) -> int:
    """As `forked`, but the child is killed after so long, if it has not ended by then."""
    child, until = begun(function, *args), time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def digest(run: Path) -> str:
    """SHA-256 of what a run ends with: all weights (teachers and queues are among them), the optimiser,
    the average, and the bytes of its log. How many threads there were is left out."""
    found = hashlib.sha256((run / "metrics.jsonl").read_bytes())
    for part in load_state(run / "checkpoints"):
        for name, value in sorted(_flat(part)):
            if isinstance(value, torch.Tensor):
                value = f"{value.dtype} {tuple(value.shape)}".encode() + _bytes(value)
            else:
                value = json.dumps(value).encode()
            found.update(name.encode() + b"\0" + value)
    return found.hexdigest()


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _flat(state: object, name: str = ""):
    if isinstance(state, dict | list | tuple):
        rows = state.items() if isinstance(state, dict) else enumerate(state)
        for key, value in rows:
            if key != "threads":
                yield from _flat(value, f"{name}/{key}")
    else:
        yield name, state
