"""Spoilt files through the readers, by the thousand: `fuzz(numbers)` says what became of each.

File `number` is always the same one: seed, mutated file and change are drawn from it alone. What is
asked of the readers: `scan` raises nothing and loses no file, `read` raises UserError only, a
refusal has a cause and a fix, nobody dies, works for 10 s, waits for 60 or wants 2 GB; and what is
accepted has the seed's pixels and geometry, or a remark that the seed has not. Left out of the last
claim, and counted apart, are changes to bytes that nothing in the file confirms (see fuzz_seeds):

pixels   all changes lie in voxels stored as they are, and no byte came or went
stream   all changes lie in compressed streams without a checksum, and the shape is the seed's
stated   a change lies in a field that alone says what voxels mean, where they lie or whose they are
"""

import faulthandler
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

from medssl.data.index import Row, read, scan
from medssl.data.index.row import join
from medssl.errors import UserError
from medssl.seeding import generator
from tests.faults.conftest import MESSAGE
from tests.faults.fuzz_mutators import Mutation, mutate
from tests.faults.fuzz_seeds import MAKERS, Region, Seed, make

SECONDS, WAIT, BYTES = 10, 60, 2 << 30  # of processor time, and of waiting for whatever
FINE = ("refused", "equal", "remark", "pixels", "stream", "stated")
OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "Unable to allocate", "Failed to allocate")


@dataclass
class Fate:
    """What became of one spoilt file; any outcome that is not in FINE is a defect."""

    number: int
    seed: str
    change: str
    outcome: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.number} {self.seed} ({self.change}): {self.outcome} {self.detail}"


class Fuzzer:
    """Seeds in a folder, each read once as it should be."""

    def __init__(self, folder: Path):
        self.folder, self.seeds, self.whole = folder, [], {}
        for name in MAKERS:
            (folder / name).mkdir()
            seed = make(name, folder / name)
            rows = [row for row in scan(folder / name) if row.used]
            assert len(rows) == 1, f"{name} is no good seed: {scan(folder / name)}"
            volume = read(rows[0])
            self.seeds.append(seed)
            self.whole[name] = volume, {*rows[0].remarks, *volume.remarks}

    def spoilt(self, number: int) -> tuple[Seed, str, Mutation]:
        """(seed, file name, change) of a number."""
        rng = generator(0, "fuzz", number)
        seed, other = (self.seeds[rng.integers(len(self.seeds))] for _ in range(2))
        file = str(rng.choice(sorted(seed.files)))
        return seed, file, mutate(seed.files[file], other.files[min(other.files)], rng)

    def judge(self, number: int) -> Fate:
        """Write the spoilt file, index its folder, read what was accepted, and put it back."""
        seed, file, change = self.spoilt(number)
        path, whole = self.folder / seed.name / file, seed.files[file]
        try:
            path.write_bytes(change.raw)
            outcome, detail = self._outcome(seed)
            if outcome == "changed":
                outcome = self._excused(seed, path, change, detail)
        finally:
            path.write_bytes(whole)
        return Fate(number, seed.name, change.of(file), outcome, detail)

    def _outcome(self, seed: Seed) -> tuple[str, str]:
        rows = scan(self.folder / seed.name)
        listed = {path.name for row in rows for path in row.files}
        if listed != set(seed.files):
            return "lost", f"in no row: {set(seed.files) - listed}"
        outcomes = []
        for row in rows:
            try:
                if not row.used:
                    cause, _, fix = row.reason.partition(". Fix: ")
                    raise UserError(row.code, row.files[0], cause, fix)
                outcomes.append(self._accepted(row, seed))
            except UserError as error:
                outcomes.append(_refusal(error))
        return min(outcomes, key=lambda outcome: WORST_FIRST.index(outcome[0]))

    def _accepted(self, row: Row, seed: Seed) -> tuple[str, str]:
        good, remarks = self.whole[seed.name]
        volume = read(row)
        shape = join(volume.shape)
        if shape != row.shape:
            return "inconsistent", f"the row says {row.shape}, {shape} was read"
        same = volume.shape == good.shape and np.array_equal(volume.array, good.array)
        if same and np.allclose(volume.affine, good.affine, rtol=1e-6):
            return "equal", ""
        new = {*row.remarks, *volume.remarks} - remarks
        if new:
            return "remark", "; ".join(sorted(new))
        if volume.shape != good.shape:
            return "changed", f"shape {shape}"
        return "changed", "geometry" if same else f"voxels, {volume.array.dtype}"

    def _excused(self, seed: Seed, path: Path, change: Mutation, detail: str) -> str:
        """The kind of the bytes that make the difference if nothing confirms them, or "changed"."""
        whole, free = seed.files[path.name], seed.free[path.name]
        kinds = {kind for a, b in change.touched for kind in _kinds(free, a, b)}
        if None in kinds and len(change.raw) == len(whole):
            # The others are to blame unless the file is as good as new with the free ones mended.
            mended = bytearray(change.raw)
            for a, b, _ in free:
                mended[a:b] = whole[a:b]
            path.write_bytes(mended)
            if self._outcome(seed)[0] in ("equal", "remark"):
                kinds.discard(None)
        if not kinds or None in kinds:
            return "changed"
        if "stated" in kinds:
            return "stated"
        if "stream" in kinds:
            return "changed" if detail.startswith("shape") else "stream"
        return "pixels" if len(change.raw) == len(whole) else "changed"


WORST_FIRST = ("inconsistent", "changed", "memory", "message", "remark", "refused", "equal")


def _refusal(error: UserError) -> tuple[str, str]:
    words = str(error)
    if any(word in words for word in OUT_OF_MEMORY):
        return "memory", words
    if error.code != "NOT_IMAGE" and not MESSAGE.fullmatch(words.replace("  ", " ")):
        return "message", words
    return "refused", words


def _kinds(free: list[Region], a: int, b: int) -> set[str | None]:
    """What the bytes [a, b) are; None stands for bytes that something else in the file confirms."""
    found, at = set(), a
    while at < max(b, a + 1):
        region = next((r for r in free if r[0] <= at < r[1]), None)
        found.add(region[2] if region else None)
        later = [r[0] for r in free if r[0] > at]
        at = region[1] if region else min(later, default=b)
    return found


def fuzz(numbers: Iterable[int], workers: int = 1, until: float = float("inf")) -> Iterator[Fate]:
    """The fate of every number, in no order; no new one is begun after the moment `until`."""
    left = iter(numbers)
    with tempfile.TemporaryDirectory() as folder:
        busy = {}
        for _ in range(workers):
            _give(_Worker(Path(tempfile.mkdtemp(dir=folder))), left, busy, until)
        while busy:
            for pipe in wait(list(busy), timeout=1):
                worker = busy.pop(pipe)
                try:
                    yield pipe.recv()
                except EOFError:
                    worker.process.join()
                    yield Fate(worker.number, "", "", "died", f"exit {worker.process.exitcode}")
                    worker = worker.again()
                _give(worker, left, busy, until)
            for pipe, worker in list(busy.items()):
                if worker.spent() > SECONDS or time.monotonic() > worker.due:
                    del busy[pipe]
                    yield Fate(worker.number, "", "", "hang", f"{worker.spent():.0f} s")
                    _give(worker.again(), left, busy, until)


class _Worker:
    """A process that judges one number after the other."""

    def __init__(self, folder: Path):
        self.folder, self.number, self.due, self.before = folder, -1, 0.0, 0.0
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(folder, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.pipe.recv()

    def cpu(self) -> float:
        """Seconds of processor time since it was started; what others take does not count."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def spent(self) -> float:
        """Seconds of processor time on this number."""
        return self.cpu() - self.before

    def again(self) -> "_Worker":
        """A new one in the place of this."""
        self.process.kill()
        self.process.join()
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        return _Worker(self.folder)


def _give(worker: _Worker, left: Iterator[int], busy: dict, until: float) -> None:
    number = next(left, None) if time.monotonic() < until else None
    if number is None:
        worker.process.kill()
        worker.process.join()
        return
    worker.number, worker.due = number, time.monotonic() + WAIT
    worker.before = worker.cpu()
    worker.pipe.send(number)
    busy[worker.pipe] = worker


def _work(folder: Path, pipe) -> None:
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff and MetaIO comment on every file
    fuzzer = Fuzzer(folder)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    pipe.send("ready")
    while True:
        number = pipe.recv()
        try:
            fate = fuzzer.judge(number)
        except BaseException as error:  # the parent reports whatever it is
            seed, file, change = fuzzer.spoilt(number)
            words = f"{type(error).__name__}: {error}"
            outcome = "memory" if isinstance(error, MemoryError) else "raised"
            fate = Fate(number, seed.name, change.of(file), outcome, words)
        pipe.send(fate)


def summary(count: Counter) -> str:
    """One line of figures."""
    names = {
        "refused": "refused", "equal": "accepted equal", "remark": "accepted with a remark",
        "pixels": "changed in raw voxels", "stream": "changed in streams without a checksum",
        "stated": "changed as a header field says",
    }  # fmt: skip
    parts = [f"{count[key]} {words}" for key, words in names.items()]
    others = {key: n for key, n in count.items() if key not in names}
    return f"{count.total()} tried: {', '.join(parts)}; defects: {others or 'none'}"
