"""A verb carried out on a little of its work, in a process of its own, and what that took.

The process is a fresh one, so that its memory is the verb's alone, and it runs the stage itself: nothing
of what a stage builds or reads is repeated here. It is the first to go when memory runs out.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import torch

from medssl.config import Config
from medssl.errors import UserError
from medssl.progress import watched
from medssl.stages.plan.room import memory_of_all, peak_memory, waited

SAID = 2000  # last characters of what it said that are passed on
LOOKS_EVERY = 0.1  # seconds between looks at the memory of several processes
CHILD = "from medssl.stages.plan.rehearsal import perform; perform()"
_company = ContextVar("company", default=0)
# What torch says of memory that it does not get, on a CPU, and of a loader's process that was killed.
SHORT = ("can't allocate memory", "not enough memory", "out of memory", "killed by signal: Killed")


class NoMemory(Exception):
    """Memory ran out."""


class Enough(BaseException):
    """As many items as were asked for have been seen; no `except Exception` takes it for a fault."""


@dataclass
class Loop:
    """Tracked work: when it began and when each item was done (seconds since the process was started),
    and the most memory (bytes) held until then, of the machine and of a GPU."""

    what: str
    done: int  # at first: of a run that is resumed, what had been done before
    total: int | None
    times: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    gpu: list[int] = field(default_factory=list)

    @property
    def seconds(self) -> list[float]:
        """What each item took."""
        return [b - a for a, b in zip(self.times, self.times[1:], strict=False)]


@dataclass
class Rehearsal:
    """seconds   from the start of the process to its end
    memory, gpu  the most that was held, bytes; gpu 0: none was used
    gpu_room     what a GPU could have given to this process
    busy         share of the time that went by waiting for a CPU, which other work had
    loaded       seconds until the process had begun and had loaded what it needs
    """

    loops: list[Loop]
    seconds: float
    memory: int
    gpu: int = 0
    gpu_room: int = 0
    busy: float = 0.0
    loaded: float = 0.0

    def loop(self, what: str, number: int = 0) -> Loop:
        """The tracked work of that name; of several, the `number`-th."""
        return [loop for loop in self.loops if loop.what == what][number]


@contextlib.contextmanager
def in_company(others: int) -> Iterator[None]:
    """Let so many processes do the same beside every rehearsal of a block, as they will then."""
    before = _company.set(others)
    try:
        yield
    finally:
        _company.reset(before)


def rehearse(
    verb: str, config: Config, folder: Path, given: Config, until: tuple[str, int] | None = None
) -> Rehearsal:
    """Run a stage by `config`, which writes below `folder`, in place of the one that was `given`.

    `until` stops it once so many items of a tracked loop are done. Raises NoMemory, and what the stage
    would say of `given`: UserError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told, said, began = folder / "told.json", folder / "said.txt", time.monotonic()
    values = config.model_dump(mode="json", exclude_unset=True)
    request = {"verb": verb, "values": values, "until": until, "told": str(told), "began": began}
    with _beside(request, folder):
        held, status = _carried_out(request, said, several=_workers(config) > 0)
        seconds = time.monotonic() - began
    if not told.exists():
        if status == -signal.SIGKILL:  # from outside, as a system short of memory does
            raise NoMemory
        raise RuntimeError(f"medssl {verb} ended with {status}: {said.read_text()[-SAID:]}")
    found = json.loads(told.read_text())
    if error := found.get("error"):
        raise _as_given(error, config, given)
    if "short" in found:
        raise NoMemory
    if "fault" in found:
        raise RuntimeError(f"medssl {verb}: {found['fault']}")
    found["loops"] = [Loop(**loop) for loop in found["loops"]]
    found["memory"] = max(found["memory"], held)
    return Rehearsal(seconds=seconds, busy=found.pop("waited") / seconds, **found)


@contextlib.contextmanager
def _beside(request: dict, folder: Path) -> Iterator[None]:
    """The company of a rehearsal, each in a folder of its own, for the length of a block."""
    with contextlib.ExitStack() as stack:
        for number in range(_company.get()):
            own = folder / f"beside-{number}"
            own.mkdir(exist_ok=True)
            values = {**request["values"], "out": str(own / "out")}
            asked = {**request, "values": values, "told": str(own / "told.json")}
            stack.enter_context(_process(asked, own / "said.txt"))
        yield


def _carried_out(request: dict, said: Path, several: bool) -> tuple[int, int]:
    """The most memory that the process and its workers were seen to hold, if it has `several`, and its
    exit status. What it says goes into the file `said`."""
    held = 0
    with _process(request, said) as process:
        while several and process.poll() is None:
            held = max(held, memory_of_all(process.pid))
            time.sleep(LOOKS_EVERY)
        return held, process.wait()


@contextlib.contextmanager
def _process(request: dict, said: Path) -> Iterator[subprocess.Popen]:
    """One that carries out a request, and is ended with the block."""
    where = os.pathsep.join(path or os.getcwd() for path in sys.path)
    with open(said, "wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=stream,
            env={**os.environ, "PYTHONPATH": where, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        )  # fmt: skip
    try:
        with contextlib.suppress(BrokenPipeError):  # it ended at once: its status says so
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


def perform() -> None:
    """What the process does: read a request from its standard input, carry it out, write what it took."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    with contextlib.suppress(OSError):  # where there is no such file, nobody is asked to go first
        Path("/proc/self/oom_score_adj").write_text("1000")
    seen = _Seen(request["began"], request["until"])
    stage = importlib.import_module(f"medssl.stages.{request['verb']}")
    loaded, found = time.monotonic() - request["began"], {}
    try:
        with watched(seen):
            stage.run(stage.Config(**request["values"]))
    except Enough:
        pass
    except UserError as error:
        short = error.code == "MEMORY"
        told = {name: getattr(error, name) for name in ("code", "where", "cause", "fix")}
        found = {"short": True} if short else {"error": told}
    except Exception as error:
        traceback.print_exc()
        short = isinstance(error, MemoryError) or any(words in str(error) for words in SHORT)
        found = {"short": True} if short else {"fault": f"{type(error).__name__}: {error}"}
    if not found:
        found = {**seen.told(), "loaded": loaded}
    Path(request["told"]).write_text(json.dumps(found))


class _Seen:
    """Notes when every tracked item is done, and how much memory had been held by then."""

    def __init__(self, began: float, until: tuple[str, int] | None):
        self.began, self.until = began, until
        self.loops: list[Loop] = []
        self.under_way: dict[str, Loop] = {}

    def __call__(self, what: str, done: int, total: int | None) -> None:
        loop = self.under_way.get(what)
        if (
            loop is None or done <= loop.done
        ):  # a new loop of a name begins with what was done before
            loop = self.under_way[what] = Loop(what, done, total)
            self.loops.append(loop)
        loop.times.append(time.monotonic() - self.began)
        loop.memory.append(peak_memory())
        loop.gpu.append(_gpu()[0])
        if self.until and what == self.until[0] and done - loop.done >= self.until[1]:
            raise Enough

    def told(self) -> dict:
        gpu, room = _gpu()
        loops = [vars(loop) for loop in self.loops]
        held = {"memory": peak_memory(), "gpu": gpu, "gpu_room": room}
        return {"loops": loops, "waited": waited(), **held}


def _gpu() -> tuple[int, int]:
    """The most that torch has reserved of a GPU, and what it could have; zeros where it has used none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0, 0
    free, _ = torch.cuda.mem_get_info()
    return torch.cuda.max_memory_reserved(), free + torch.cuda.memory_reserved()


def _workers(config: Config) -> int:
    return getattr(config, "workers", 0) or getattr(getattr(config, "fit", None), "workers", 0)


def _as_given(error: dict, config: Config, given: Config) -> UserError:
    """A stage's error in the user's words: of the folders that were given, not of those written to."""
    for name in type(given).model_fields:
        here, there = getattr(config, name), getattr(given, name)
        if isinstance(here, Path) and here != there:
            error = {k: text.replace(str(here), str(there or name)) for k, text in error.items()}
    return UserError(**error)


def _leave_with_parent() -> None:
    sys.stdin.read()  # ends with the process that holds the other end
    os._exit(1)
