"""The training loop: one function, read from top to bottom."""

import time
from collections.abc import Callable, Iterator
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
from medssl.stopwatch import lap, resting, turn
from medssl.trainable import Trainable
from medssl.training import checkpoint, optim, speed
from medssl.training.branch import Branch
from medssl.training.hardware import Hardware
from medssl.training.log import MetricsLog
from medssl.training.trackers import Tracker


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
    tf32: bool = Field(True, description="a GPU multiplies float32 in TF32: faster, less exact")
    compile: bool = Field(
        False, description="compile the backbone: minutes at first, then faster steps; dropped branches "
        "are other ones than without",
    )  # fmt: skip
    checkpointing: bool = Field(
        False, description="less memory, slower: activations are made again for the gradients"
    )
    workers: int = Field(0, description="processes that read ahead", ge=0)
    track: Literal["none", "tensorboard", "wandb", "mlflow"] = Field(
        "none", description="what gets the figures of the log too, into the run's folder, offline"
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
    optimisation: optim.Optim, folder: Path, branch: Branch | None = None,
    tracker: Tracker | None = None,
) -> Iterator[Moment]:  # fmt: skip
    """Train, yielding a `Moment` now and then; a checkpoint is written when the caller comes back.

    `batches(first, last)` gives batches number first to last - 1. A run that is found in `folder`
    goes on from its newest checkpoint and ends in the same bits as one that was never stopped; a new
    one that is a `branch` begins with the state of the run that it came from.
    Raises UserError when the loss is not finite, before the weights are touched.
    """
    fabric = start_fabric(fit)
    folder.mkdir(parents=True, exist_ok=True)
    log = MetricsLog(folder, tracker)
    average = Average(trainable, fit.ema) if fit.ema else None
    optimizer = optim.build(trainable, optimisation, speed.fused(fabric.device, fit.precision))
    model, optimizer = fabric.setup(trainable, optimizer)
    model.mark_forward_method("training_step")
    speed.prepare(trainable.backbone, fit, fabric.device)
    first = _resume(folder, trainable, optimizer, average, branch)
    log.rewind(first)
    if first:
        say(f"found a checkpoint: going on from step {first} of {fit.steps}")
    trainable.train()

    stream = speed.on_device(batches(first * fit.accumulate, fit.steps * fit.accumulate), fabric)
    before, seen = log.spent()
    began = time.monotonic() - before
    latest: dict[str, float] = {}  # read by the line that shows progress
    left = range(first, fit.steps)
    for step in track(
        left, "train", fit.steps, "steps", first, lambda: f"loss {latest['loss']:.4g}"
    ):
        torch.manual_seed(key(fit.seed, "step", step))  # dropout follows the step, not the history
        rate = optim.set_rates(optimizer, step, fit.steps, optimisation, branch)
        logs = {}
        for _ in range(fit.accumulate):
            batch = next(stream)
            out = model.training_step(batch, step)
            lap("forward")
            if not bool(torch.isfinite(out.loss)):
                raise UserError(
                    "NONFINITE", f"step {step}", f"the loss is {float(out.loss.detach())}",
                    "lower optim.lr or use fit.precision=32-true; the last checkpoint is good",
                )  # fmt: skip
            fabric.backward(out.loss / fit.accumulate)
            lap("backward")
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
            raise UserError(
                "NONFINITE", f"step {step}", "a gradient is not finite, though the loss is",
                "lower optim.lr or set optim.clip=1; the last checkpoint is good",
            )  # fmt: skip
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        trainable.after_step(step)
        if average:
            average.update(trainable)
        lap("step")
        latest["loss"] = logs["loss"]
        log.write(step + 1, **logs, lr=rate)
        lap("log")

        if (step + 1) % fit.every == 0 or step + 1 == fit.steps:
            log.time(step + 1, seconds=time.monotonic() - began, samples=seen)
            with _evaluating(trainable, average), resting():
                yield Moment(step + 1, batch, trainable, log)
            state = {"optimizer": optimizer.state_dict(), "threads": torch.get_num_threads()}
            if average:
                state["average"] = average.tensors
            checkpoint.save_state(folder / "checkpoints", step + 1, trainable, state)
            lap("checkpoint")
        turn()


def start_fabric(fit: Fit):
    """Lightning Fabric for the device and precision asked for."""
    from lightning_fabric import Fabric

    cuda = fit.take().type == "cuda"
    precision = ("bf16-mixed" if cuda else "32-true") if fit.precision == "auto" else fit.precision
    fabric = Fabric(accelerator="cuda" if cuda else "cpu", devices=1, precision=precision)
    fabric.launch()
    if cuda:
        speed.allow_tf32(fit.tf32)
    return fabric


def _resume(folder: Path, trainable: nn.Module, optimizer, average, branch=None) -> int:
    """Load the newest checkpoint, or that of a branch, if any; returns the step to go on from."""
    found = checkpoint.load_state(folder / "checkpoints") or (branch and branch.state())
    if found is None:
        return 0
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
    return int(trainer["step"])


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
