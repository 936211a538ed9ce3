"""What a training costs: `pretrain` and `finetune`, rehearsed for a few steps with two batch sizes.

A rehearsal trains for a few steps, writes a checkpoint with all that belongs to it (validation,
pictures), and does both once more: the second time nothing is loaded or compiled any more.
"""

import contextlib
import os
import shutil
from dataclasses import replace
from math import ceil
from pathlib import Path
from statistics import median

from medssl.config import Config, Part, resolve
from medssl.errors import UserError
from medssl.methods.base import METHODS
from medssl.progress import amount, duration, say
from medssl.stages.finetune.labels import scans_of
from medssl.stages.plan import scans
from medssl.stages.plan.answer import SPARE, Batch, Figure, Plan
from medssl.stages.plan.rehearsal import NoMemory, Rehearsal, rehearse
from medssl.stages.plan.room import free_disk, free_memory, size_of
from medssl.stages.pretrain import branch_asked
from medssl.training.checkpoint import KEPT
from medssl.training.loop import Fit
from medssl.training.run_folder import LOGS, checkpoints

LOOP, VALIDATION = "train", "validate"  # as the tracked work is called
FEW = 3  # validation scans of a rehearsal
FEWEST, MOST, SECONDS = 4, 40, 8.0  # steps up to a checkpoint of a rehearsal, and for how long
ONCE = 8  # the same steps of one that is rehearsed once
AHEAD = 2  # batches that each process which reads ahead has ready
MEASURABLE = 1e6  # bytes a sample, below which memory does not tell batch sizes apart


def pretrain(config: Config, folder: Path, batches: bool = True) -> Plan:
    """`batches`: which sizes of a batch would fit is told too, which takes a second rehearsal."""
    kind = resolve(config.method.name, METHODS, "method")
    # The option that names the step from which on a step costs more, of a method that has one.
    option, few, done = getattr(kind, "later", ""), {}, 0
    if branch := branch_asked(config):  # a few steps are tried from its first one, at any rate
        cosine = config.optim.model_copy(update={"schedule": "cosine", "warmup": 0.0})
        few, done = {"start": branch.run, "branch": False, "optim": cosine}, branch.step
    return _Training(
        "pretrain", config, folder, few, option=option, begun=done, batches=batches
    ).plan()


def finetune(config: Config, folder: Path) -> Plan:
    """The same of a fine-tuning."""
    truths, train, _ = scans_of(config)
    say(truths.told(truths.classes(train), train))
    return fine_tuning(config, folder)


def fine_tuning(config: Config, folder: Path, batches: bool = True) -> Plan:
    """The same without a word on what it learns."""
    truths, _, validation = scans_of(config)
    store, voxels = truths.store, scans.voxels(truths.store, validation.index)
    chosen = scans.spread(voxels, FEW)
    left_out = (store.items["split"] == "val") & ~store.items.index.isin(validation.index[chosen])
    splits = scans.write_splits(folder, store.items, store.items["split"].mask(left_out, ""))
    few = {"splits": splits, "fold": 0, "validation": 0, "patience": 0}
    more = sum(voxels) / sum(voxels[i] for i in chosen) if chosen else 1.0
    plan = _Training("finetune", config, folder, few, more, batches=batches).plan()
    if config.patience:
        words = f"{plan.seconds.rests_on}; patience={config.patience} may end it before"
        plan = replace(plan, seconds=replace(plan.seconds, rests_on=words))
    return plan


class _Timed:
    """Figures of a rehearsal, in seconds and bytes; of memory those of a GPU where one is used.

    steps, timed   how many there were, and of how many the median was taken
    step, later    one before and one after the first checkpoint, from which on a method may do more
    checkpoint     with all that belongs to it; `validation` is its part
    start          all the rest, from the start of the process on
    first, full    what was held before the first step, and before the first checkpoint
    held, room     the most that was held, and what there is; of a CPU the room is not measured here: 0
    """

    def __init__(self, rehearsal: Rehearsal, fit: Fit, changes: bool = False):
        loop, every, warm = rehearsal.loop(LOOP), fit.every, _warm(fit)
        self.rehearsal, self.steps, seconds = rehearsal, len(loop.seconds), loop.seconds
        before, after = seconds[warm : every - 1], seconds[every + warm - 1 : 2 * every - 1]
        self.step = median(before if changes else before + after)
        self.later = median(after) if changes else self.step
        self.timed = len(before + after)
        self.checkpoint = seconds[-1] - self.later
        validations = [each for each in rehearsal.loops if each.what == VALIDATION]
        self.validation = sum(validations[-1].seconds) if validations else 0.0
        trained = every * (self.step + self.later) + 2 * self.checkpoint
        self.start = rehearsal.seconds - trained
        self.on_gpu = rehearsal.gpu > 0
        held = loop.gpu if self.on_gpu else loop.memory
        self.first, self.full = held[0], held[every - 1]
        self.held = rehearsal.gpu if self.on_gpu else rehearsal.memory


class _Training:
    """One that is asked for.

    few, more  keys with which less is validated, and how many times as much the whole of it is
    option     of its method, the one that names the step from which on a step costs more
    begun      steps that had been done where it begins
    batches    two sizes of a batch are tried, and not only the one that is asked for
    """

    def __init__(
        self, verb, config: Config, folder: Path, few=None, more: float = 1.0, option="", begun=0,
        batches=True,
    ):  # fmt: skip
        self.verb, self.config, self.folder, self.begun = verb, config, folder, begun
        self.few, self.more, self.option = few or {}, more, option
        self.fit, self.free, self.batches = config.fit, free_memory(), batches
        changes = int(config.method.options.get(option) or 0) if option else 0
        self.changes = changes if 0 < changes < self.fit.steps else 0

    def plan(self) -> Plan:
        done, timed = self._done(), self._rehearsed()
        size = self.fit.batch_size if self.fit.batch_size in timed else max(timed)
        parts = self._parts(done, timed[size], self.fit.batch_size / size)
        memory, gpu, batch = self._memory(timed, size)
        return Plan(
            self.verb, self._seconds(done, timed[size], parts), memory, self._disk(size, timed[size]),
            gpu, batch, parts, timed[size].rehearsal.busy, timed[size].rehearsal.loaded,
        )  # fmt: skip

    def short(self, size: int, every: int) -> Config:
        """The same for two checkpoints, `every` steps apart, with another batch size."""
        fit = {"steps": 2 * every, "every": every, "batch_size": size}
        update = {"out": self._out(size), "fit": self.fit.model_copy(update=fit), **self.few}
        if self.changes:
            method = self.config.method
            update["method"] = Part(name=method.name, **{**method.options, self.option: every})
        return self.config.model_copy(update=update)

    def _out(self, size: int) -> Path:
        return self.folder / f"batch-{size}"

    def _done(self) -> int:
        """Steps that the run in `out` has made. Raises what the stage says of another run's folder."""
        out, mirror = self.config.out, self.folder / "resumed"
        found = checkpoints(out / "checkpoints")
        if not found and not (out / "model").exists():
            return self.begun
        for folder in (out / "model", *found):
            (mirror / folder.relative_to(out)).mkdir(parents=True)
            for file in folder.iterdir():  # large, and never written to
                os.symlink(file.resolve(), mirror / file.relative_to(out))
        for name in ("config.json", *LOGS):
            shutil.copy(out / name, mirror / name)
        again = self.config.model_copy(update={"out": mirror})
        return rehearse(self.verb, again, self.folder, self.config, (LOOP, 0)).loop(LOOP).done

    def _rehearsed(self) -> dict[int, _Timed]:
        """Figures by batch size: of the one that is asked for and of another, if they fit."""
        asked = self.fit.batch_size
        if not self.batches:
            with contextlib.suppress(NoMemory):
                return {asked: self._try(asked, ONCE)}
        size, larger = sorted([asked, asked // 2 if asked >= FEWEST else 2 * asked])
        timed: dict[int, _Timed] = {}
        while not timed:
            try:
                timed[size] = self._try(size, FEWEST)
            except NoMemory:
                if size == 1:
                    raise UserError(
                        "MEMORY", "fit.batch_size", "not even a batch of one sample fits",
                        "train on smaller crops, or a smaller network",
                    ) from None  # fmt: skip
                size, larger = size // 2, size
        one, times = timed[size], larger / size
        if one.first + (one.full - one.first) * times <= (one.rehearsal.gpu_room or self.free):
            with contextlib.suppress(NoMemory):
                timed[larger] = self._try(larger, int(SECONDS / (times * max(one.step, one.later))))
        return timed

    def _try(self, size: int, every: int) -> _Timed:
        every = max(FEWEST, _warm(self.fit) + 3, min(every, MOST))
        say(f"trying {2 * every} steps with {'a batch' if size == 1 else 'batches'} of {size}")
        short = self.short(size, every)
        found = rehearse(self.verb, short, self.folder, self.config)
        return _Timed(found, short.fit, self.changes > 0)

    def _parts(self, done: int, one: _Timed, scale: float) -> dict[str, float]:
        """How many of what is left, and the seconds of each."""
        fit, left = self.fit, self.fit.steps - done
        later = fit.steps - max(self.changes, done) if self.changes else 0
        return {
            "start": one.start,
            "steps": left - later, "step": one.step * scale,
            "later_steps": later, "later_step": one.later * scale,
            "checkpoints": ceil(fit.steps / fit.every) - done // fit.every if left else 0,
            "checkpoint": one.checkpoint + one.validation * (self.more - 1),
        }  # fmt: skip

    def _seconds(self, done: int, one: _Timed, parts: dict[str, float]) -> Figure:
        kinds = ("step", "later_step", "checkpoint")
        seconds = parts["start"] + sum(parts[f"{kind}s"] * parts[kind] for kind in kinds)
        words = [f"goes on from step {done} of {self.fit.steps}"] if done else []
        words.append(
            f"{one.timed} of {self.fit.steps - done} steps timed, {parts['step']:.3g} s each"
        )
        if parts["later_steps"]:
            words.append(f"{parts['later_step']:.3g} s from step {self.changes} on")
        words.append(f"1 of {parts['checkpoints']} checkpoints, {parts['checkpoint']:.3g} s each")
        words.append(f"{duration(parts['start'])} to start")
        if (devices := self.fit.devices) > 1:
            words.append(f"tried on one device with whole batches, which {devices} share out")
        return Figure(seconds, "; ".join(words))

    def _memory(self, timed: dict[int, _Timed], size: int) -> tuple[Figure, Figure | None, Batch]:
        """Of the machine and of a GPU what the batch asked for holds, and the batch that would fit."""
        one, sizes, asked = timed[size], sorted(timed), self.fit.batch_size
        room = one.rehearsal.gpu_room if one.on_gpu else self.free
        told = f"batches of {' and '.join(map(str, sizes))} measured"
        if len(sizes) > 1:
            each = (timed[sizes[1]].full - timed[sizes[0]].full) / (sizes[1] - sizes[0])
        else:
            each = (one.full - one.first) / size
        if each < MEASURABLE:
            batch = Batch(asked, 0, f"{told}: they need no more than starting does")
        else:
            largest = max(0, int(size + (room * (1 - SPARE) - one.full) / each))
            batch = Batch(asked, largest, f"up to about {largest} fit, {amount(each)} a sample")
        needed = one.held if asked == size else max(one.held, one.full + each * (asked - size))
        if asked != size:
            told += f", {asked} did not fit"
        if not one.on_gpu:
            return Figure(needed, told, room), None, batch
        return Figure(one.rehearsal.memory, told, self.free), Figure(needed, told, room), batch

    def _disk(self, size: int, one: _Timed) -> Figure:
        """Checkpoints and one more while it is written, the model, and what grows with the run."""
        out, fit, there = self._out(size), self.fit, self.config.out
        n = ceil(fit.steps / fit.every)
        checkpoint = max(map(size_of, checkpoints(out / "checkpoints")))
        model, pictures = size_of(out / "model"), size_of(out / "pictures") * n / 2
        more = pictures + sum((out / name).stat().st_size for name in LOGS) * fit.steps / one.steps
        words = (
            f"{min(KEPT, n)} checkpoints of {amount(checkpoint)} and one while it is written, "
            f"model {amount(model)}, pictures and log {amount(more)}"
        )
        taken = size_of(there / "checkpoints") + size_of(there / "model")
        total = (min(KEPT, n) + 1) * checkpoint + model + more
        return Figure(total, words, free_disk(there) + taken)


def _warm(fit: Fit) -> int:
    """Steps after which the pace is steady: the first one, and those whose batches were read ahead."""
    return 1 + AHEAD * min(fit.workers, len(os.sched_getaffinity(0)))
