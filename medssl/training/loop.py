"""The training loop: one function, read from top to bottom."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn.utils import get_total_norm

from medssl import ranks
from medssl.progress import say, track
from medssl.seeding import key
from medssl.stopwatch import lap, turn
from medssl.trainable import Trainable
from medssl.training import capture, memory, optim, schedule, shards, signals, speed
from medssl.training.average import Average
from medssl.training.branch import Branch
from medssl.training.hardware import Hardware
from medssl.training.keeper import Keeper, Moment
from medssl.training.launch import start_fabric, threads_of
from medssl.training.log import MetricsLog
from medssl.training.resume import resume, tell_of_ranks
from medssl.training.trackers import Tracker


class Fit(Hardware):
    """How long and on what to train."""

    steps: int = Field(1000, description="updates of the weights", ge=1)
    batch_size: int = Field(
        8, description="samples of one forward pass, of all ranks together", ge=1
    )
    accumulate: int = Field(1, description="forward passes for one update", ge=1)
    every: int = Field(100, description="steps between checkpoints, validation and pictures", ge=1)
    ema: float = Field(
        0.0, description="decay of averaged weights, kept in the end; 0: off", ge=0, lt=1
    )
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed", "64-true"] = Field(
        "auto",
        description="auto: bf16-mixed on a GPU, 32-true on a CPU, where bf16-mixed is faster if "
        "the CPU has bfloat16 arithmetic (medssl doctor)",
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
    wait: float = Field(
        300, description="seconds after which a worker that gives no batch counts as hung", gt=0
    )
    track: Literal["none", "tensorboard", "wandb", "mlflow"] = Field(
        "none", description="what gets the figures of the log too, into the run's folder, offline"
    )
    seed: int = Field(0, description="every random draw follows from it", ge=0, lt=2**63)
    devices: int = Field(
        1, description="processes of this machine, ranks, that train together, on a GPU each; torchrun "
        "and Slurm say it themselves", ge=1,
    )  # fmt: skip
    shard: bool = Field(
        False, description="several ranks: each keeps a part of weights, gradients and moments of the "
        "optimiser: less memory, more traffic",
    )  # fmt: skip
    other_ranks: bool = Field(
        False,
        description="go on with another number of ranks than the run had; its log then says so",
    )

    @model_validator(mode="after")
    def _shared_out(self):
        ranks.check_shares(self.batch_size, self.devices)  # before any of them is started
        return self

    @model_validator(mode="after")
    def _goes_together(self):
        if self.shard and self.compile:
            raise ValueError("what is compiled cannot be shared out: leave shard or compile out")
        if self.shard and self.precision == "16-mixed":
            raise ValueError(
                "each rank would scale its part by itself: give precision=bf16-mixed, or leave shard out"
            )
        return self


def fit(
    trainable: Trainable, batches: Callable[[int, int], Iterator[dict]], fit: Fit,
    optimisation: optim.Optim, folder: Path, names: Sequence[str] = (),
    branch: Branch | None = None, tracker: Tracker | None = None,
) -> Iterator[Moment]:  # fmt: skip
    """Train, yielding a `Moment` now and then; a checkpoint is written when the caller comes back.

    `batches(first, last)` gives batches number first to last - 1, whose `item` are places in `names`.
    A run that is found in `folder` goes on from its newest checkpoint and ends in the same bits as one
    that was never stopped; a new one that is a `branch` begins with the state of the run that it came
    from. A signal (signals.py) stops it after the step that is going on, or amid a Moment, which is
    handed out again when the run goes on. With several ranks all of them get the moments, and rank 0
    alone writes; see `medssl.ranks`.
    Raises UserError NONFINITE when the loss is not finite, before the weights are touched, and MEMORY.
    """
    batches = memory.Sized(batches)
    with signals.caught() as stop, memory.told(batches, fit):
        yield from _train(
            trainable, batches, fit, optimisation, folder, names, branch, tracker, stop
        )  # fmt: skip


def _train(
    trainable: Trainable, batches: Callable[[int, int], Iterator[dict]], fit: Fit,
    optimisation: optim.Optim, folder: Path, names: Sequence[str], branch: Branch | None,
    tracker: Tracker | None, stop: signals.Stop,
) -> Iterator[Moment]:  # fmt: skip
    threads_of(fit)
    sharded = fit.shard and ranks.world() > 1
    if fit.shard and not sharded:
        say("remark: there is one rank, and nothing for fit.shard to share out")
    fabric = start_fabric(fit, precision_of(fit), sharded)
    speed.warn_of_bfloat16(fabric.device, fit.precision)
    folder.mkdir(parents=True, exist_ok=True)
    log = MetricsLog(folder, tracker, writes=ranks.rank() == 0)
    model = fabric.setup_module(ranks.synchronise(trainable))
    model.mark_forward_method("training_step")
    trained = trainable
    if sharded:
        model = shards.cut(trainable)
        trained = model.trained
    optimizer = fabric.setup_optimizers(
        optim.build(trained, optimisation, speed.fused(fabric.device, fit.precision))
    )
    average = Average(trained, fit.ema) if fit.ema else None
    speed.prepare(trained.backbone, fit, fabric.device)
    first, due, had = resume(
        folder, trained, optimizer, fabric.strategy.precision, average, branch, sharded
    )  # fmt: skip
    log.rewind(first, due, branch=branch is not None)
    if had != ranks.world():
        tell_of_ranks(had, fit, log, first)
    for words in schedule.remarks(optimisation, fit.steps - (branch.step if branch else 0)):
        say(f"remark: {words}")
    if first and not (branch and first == branch.step):
        say(f"found a checkpoint: going on from step {first} of {fit.steps}")
    trained.train()

    keeper = Keeper(
        folder, fit, stop, log, trainable, trained, optimizer, average, fabric.strategy.precision
    )  # fmt: skip
    in_precision = fabric.strategy.precision.convert_input if fit.precision == "64-true" else same
    if due:
        (batch,) = batches(first * fit.accumulate - 1, first * fit.accumulate)
        yield from keeper.moment(first, in_precision(fabric.to_device(batch)))
    stream = speed.on_device(batches(first * fit.accumulate, fit.steps * fit.accumulate), fabric)
    before, seen = log.spent()
    began = time.monotonic() - before
    copies = capture.Copies()
    latest: dict[str, float] = {}  # read by the line that shows progress
    left = range(first, fit.steps)
    for step in track(
        left, "train", fit.steps, "steps", first, lambda: f"loss {latest['loss']:.4g}"
    ):
        torch.manual_seed(key(fit.seed, "step", step))  # dropout follows the step, not the history
        rate = optim.set_rates(optimizer, step, fit.steps, optimisation, branch)
        logs = {}
        for _ in range(fit.accumulate):
            batch = in_precision(next(stream))
            start = capture.Start(trained, step, batch, fit, names, copies)
            with fabric.autocast():  # which Fabric itself enters for `forward` alone
                out = model.training_step(batch, step)
            lap("forward")
            _check_finite(out.loss, "the loss is", start, folder)
            fabric.backward(out.loss / fit.accumulate)
            lap("backward")
            figures = {"loss": float(out.loss.detach()), **out.logs}
            logs = {k: logs.get(k, 0.0) + v / fit.accumulate for k, v in figures.items()}
            seen += len(batch["image"]) * ranks.world()
        if optimisation.clip:
            norm = fabric.clip_gradients(
                model, optimizer, max_norm=optimisation.clip, error_if_nonfinite=False
            )
        else:
            norm = get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        norm = shards.whole(norm, everywhere=True)
        if optimisation.clip:
            logs["gradient"] = float(norm)
        # Half precision overflows now and then, and its scaler leaves such a step out.
        if not bool(torch.isfinite(norm)) and fit.precision != "16-mixed":
            raise start.nonfinite(folder, out.loss, "a gradient is not finite, though the loss is")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        trained.after_step(step)
        if average:
            average.update(trained)
        logs = ranks.averaged(logs)
        lap("step")
        latest["loss"] = logs["loss"]
        log.write(step + 1, **logs, lr=rate)
        lap("log")

        if (step + 1) % fit.every == 0 or step + 1 == fit.steps:
            log.time(step + 1, seconds=time.monotonic() - began, samples=seen)
            yield from keeper.moment(step + 1, batch)
        elif stop.anywhere():
            log.time(step + 1, seconds=time.monotonic() - began, samples=seen)
            keeper.save(step + 1)
            stop.leave(step + 1, fit.steps)
        turn()
    if sharded:
        shards.fill(trainable, trained)


def precision_of(fit: Fit) -> str:
    """Fabric's word for it."""
    automatic = "bf16-mixed" if fit.take().type == "cuda" else "32-true"
    return automatic if fit.precision == "auto" else fit.precision


def same(batch: dict) -> dict:
    """As it is: autocast rounds what it may, where Fabric would round images to half precision."""
    return batch


def _check_finite(value: torch.Tensor, what: str, start: capture.Start, folder: Path) -> None:
    """Raise UserError NONFINITE, on every rank, where a figure is not finite on any."""
    good = bool(torch.isfinite(value))
    if ranks.anywhere(not good):
        told = (
            f"{what} {float(value.detach())}"
            if not good
            else "the loss of another rank is not finite"
        )
        raise start.nonfinite(folder, value, told)


def to_channels_last(module: nn.Module, ndim: int) -> nn.Module:
    """The memory layout in which convolutions are fastest (1.0 to 1.4 times on CPU)."""
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[ndim]
    for weight in module.parameters():
        if weight.ndim == ndim + 2:  # `module.to` would try weights of any other rank, and stop
            weight.data = weight.data.contiguous(memory_format=layout)
    return module
