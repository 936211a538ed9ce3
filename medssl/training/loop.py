"""The training loop: one function, read from top to bottom."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn.utils import get_total_norm

from medssl.errors import UserError
from medssl.progress import say, track
from medssl.seeding import key
from medssl.trainable import Trainable
from medssl.training import capture, checkpoint, memory, optim, signals
from medssl.training.hardware import Hardware
from medssl.training.log import MetricsLog


class Fit(Hardware):
    """How long and on what to train."""

    steps: int = Field(1000, description="updates of the weights", ge=1)
    batch_size: int = Field(8, description="samples of one forward pass", ge=1)
    accumulate: int = Field(1, description="forward passes for one update", ge=1)
    every: int = Field(100, description="steps between checkpoints, validation and pictures", ge=1)
    ema: float = Field(
        0.0, description="decay of averaged weights, kept in the end; 0: off", ge=0, lt=1
    )
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        "auto", description="auto: bf16-mixed on a GPU, 32-true on a CPU"
    )
    workers: int = Field(0, description="processes that read ahead", ge=0)
    wait: float = Field(
        300, description="seconds after which a worker that gives no batch counts as hung", gt=0
    )
    seed: int = Field(0, description="every random draw follows from it", ge=0, lt=2**63)


@dataclass
class Moment:
    """Handed out every `every` steps and at the end: look, validate, draw, log."""

    step: int
    batch: dict
    module: nn.Module
    log: MetricsLog


def fit(
    trainable: Trainable, batches: Callable[[int, int], Iterator[dict]], fit: Fit,
    optimisation: optim.Optim, folder: Path, names: Sequence[str] = (),
) -> Iterator[Moment]:  # fmt: skip
    """Train, yielding a `Moment` now and then; a checkpoint is written when the caller comes back.

    `batches(first, last)` gives batches number first to last - 1, whose `item` are places in `names`.
    A run that is found in `folder` goes on from its newest checkpoint and ends in the same bits as one
    that was never stopped. A signal (signals.py) stops it after the step that is going on, or amid a
    Moment, which is handed out again when the run goes on.
    Raises UserError NONFINITE when the loss is not finite, before the weights are touched, and MEMORY.
    """
    batches = memory.Sized(batches)
    with signals.caught() as stop, memory.told(batches, fit):
        yield from _train(trainable, batches, fit, optimisation, folder, names, stop)


def _train(
    trainable: Trainable, batches: Callable[[int, int], Iterator[dict]], fit: Fit,
    optimisation: optim.Optim, folder: Path, names: Sequence[str], stop: signals.Stop,
) -> Iterator[Moment]:  # fmt: skip
    fabric = start_fabric(fit)
    folder.mkdir(parents=True, exist_ok=True)
    log = MetricsLog(folder)
    average = Average(trainable, fit.ema) if fit.ema else None
    optimizer = optim.build(trainable, optimisation)
    model, optimizer = fabric.setup(trainable, optimizer)
    model.mark_forward_method("training_step")
    first, due = _resume(folder, trainable, optimizer, average)
    log.rewind(first, due)
    if first:
        say(f"found a checkpoint: going on from step {first} of {fit.steps}")
    trainable.train()

    def save(step: int, due: bool) -> None:
        log.sync()  # first: no checkpoint is newer than its log
        threads = torch.get_num_threads()
        state = {"optimizer": optimizer.state_dict(), "threads": threads, "due": due}
        if average:
            state["average"] = average.tensors
        checkpoint.save_state(folder / "checkpoints", step, trainable, state)

    def moment(step: int, batch: dict) -> Iterator[Moment]:
        torch.manual_seed(key(fit.seed, "moment", step))
        buffers = {name: value.clone() for name, value in trainable.named_buffers()}
        try:
            if not stop.asked:
                with _evaluating(trainable, average), stop.at_once():
                    yield Moment(step, batch, trainable, log)
        except (GeneratorExit, KeyboardInterrupt, SystemExit):
            if stop.asked and not stop.hurried:
                for name, value in trainable.named_buffers():
                    value.copy_(buffers[name])  # thresholds, say, that validation has found
                try:
                    save(step, due=True)
                    stop.tell(step, fit.steps)
                except UserError as error:  # whoever asked for the Moment has gone
                    say(str(error))
            raise
        save(step, due=stop.asked is not None)
        stop.leave(step, fit.steps)

    if due:
        (batch,) = batches(first * fit.accumulate - 1, first * fit.accumulate)
        yield from moment(first, fabric.to_device(batch))
    stream = batches(first * fit.accumulate, fit.steps * fit.accumulate)
    before, seen = log.spent()
    began = time.monotonic() - before
    latest: dict[str, float] = {}  # read by the line that shows progress
    left = range(first, fit.steps)
    for step in track(
        left, "train", fit.steps, "steps", first, lambda: f"loss {latest['loss']:.4g}"
    ):
        torch.manual_seed(key(fit.seed, "step", step))  # dropout follows the step, not the history
        rate = optim.set_rates(optimizer, step, fit.steps, optimisation)
        logs = {}
        for _ in range(fit.accumulate):
            batch = fabric.to_device(next(stream))
            start = capture.Start(trainable, step, batch, fit, names)
            with fabric.autocast():  # which Fabric itself enters for `forward` alone
                out = model.training_step(batch, step)
            if not bool(torch.isfinite(out.loss)):
                raise start.nonfinite(folder, out.loss, f"the loss is {float(out.loss.detach())}")
            fabric.backward(out.loss / fit.accumulate)
            figures = {"loss": float(out.loss.detach()), **out.logs}
            logs = {k: logs.get(k, 0.0) + v / fit.accumulate for k, v in figures.items()}
            seen += len(batch["image"])
        if optimisation.clip:
            norm = fabric.clip_gradients(
                model, optimizer, max_norm=optimisation.clip, error_if_nonfinite=False
            )
            logs["gradient"] = float(norm)
        else:
            norm = get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        # Half precision overflows now and then, and its scaler leaves such a step out.
        if not bool(torch.isfinite(norm)) and fit.precision != "16-mixed":
            raise start.nonfinite(folder, out.loss, "a gradient is not finite, though the loss is")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        trainable.after_step(step)
        if average:
            average.update(trainable)
        latest["loss"] = logs["loss"]
        log.write(step + 1, **logs, lr=rate)

        if (step + 1) % fit.every == 0 or step + 1 == fit.steps:
            log.time(step + 1, seconds=time.monotonic() - began, samples=seen)
            yield from moment(step + 1, batch)
        elif stop.asked:
            log.time(step + 1, seconds=time.monotonic() - began, samples=seen)
            save(step + 1, due=False)
            stop.leave(step + 1, fit.steps)


def start_fabric(fit: Fit):
    """Lightning Fabric for the device and precision asked for."""
    from lightning_fabric import Fabric

    cuda = fit.take().type == "cuda"
    precision = ("bf16-mixed" if cuda else "32-true") if fit.precision == "auto" else fit.precision
    fabric = Fabric(accelerator="cuda" if cuda else "cpu", devices=1, precision=precision)
    fabric.launch()
    return fabric


def _resume(folder: Path, trainable: nn.Module, optimizer, average) -> tuple[int, bool]:
    """Load the newest checkpoint, if there is one: the step to go on from, and whether its Moment is due."""
    found = checkpoint.load_state(folder / "checkpoints")
    if found is None:
        return 0, False
    weights, trainer = found
    threads, had = torch.get_num_threads(), trainer["threads"]
    if threads != had:
        say(
            f"remark: {threads} CPU threads, the run had {had}: sums are added up in another order, "
            f"and the last bits of the result may differ (fit.threads={had} keeps them)"
        )
    trainable.load_state_dict(weights)
    optimizer.load_state_dict(trainer["optimizer"])
    if average:
        average.tensors = {
            k: v.to(average.tensors[k].device) for k, v in trainer["average"].items()
        }
    return int(trainer["step"]), bool(trainer.get("due"))


class Average:
    """An exponential moving average of the trained weights, with a warm-up of its decay."""

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.tensors = {
            k: v.detach().clone() for k, v in module.named_parameters() if v.requires_grad
        }
        self.tensors["count"] = torch.zeros(())

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.tensors["count"] += 1
        n = float(self.tensors["count"])
        decay = min(self.decay, (1 + n) / (10 + n))
        for name, value in module.named_parameters():
            if name in self.tensors:
                self.tensors[name].lerp_(value.detach().to(self.tensors[name].device), 1 - decay)

    def swap(self, module: nn.Module) -> None:
        """Exchange the averaged and the trained weights."""
        for name, value in module.named_parameters():
            if name in self.tensors:
                kept = value.detach().clone()
                value.data.copy_(self.tensors[name])
                self.tensors[name] = kept


class _evaluating:
    """Evaluation mode, with the averaged weights in place, for the length of a block."""

    def __init__(self, module: nn.Module, average: Average | None):
        self.module, self.average = module, average

    def __enter__(self) -> None:
        self.module.eval()
        if self.average:
            self.average.swap(self.module)

    def __exit__(self, *_) -> None:
        if self.average:
            self.average.swap(self.module)
        self.module.train()


def to_channels_last(module: nn.Module, ndim: int) -> nn.Module:
    """The memory layout in which convolutions are fastest (1.0 to 1.4 times on CPU)."""
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[ndim]
    for weight in module.parameters():
        if weight.ndim == ndim + 2:  # `module.to` would try weights of any other rank, and stop
            weight.data = weight.data.contiguous(memory_format=layout)
    return module
