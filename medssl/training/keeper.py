"""What a run keeps: checkpoints to go on from, and the Moments at which whoever started it looks at it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from medssl import ranks
from medssl.errors import UserError
from medssl.progress import say
from medssl.seeding import key
from medssl.stopwatch import lap, resting
from medssl.training import checkpoint, shards, signals
from medssl.training.average import Average
from medssl.training.log import MetricsLog

if TYPE_CHECKING:
    from medssl.training.loop import Fit


@dataclass
class Moment:
    """Handed out every `every` steps and at the end: look, validate, draw, log."""

    step: int
    batch: dict
    module: nn.Module
    log: MetricsLog


@dataclass
class Keeper:
    """Of one run.

    trainable  what the caller holds, and looks at
    trained    what learns: the same, or its shards
    precision  Fabric's, with the scaler of half precision
    """

    folder: Path
    fit: "Fit"
    stop: signals.Stop
    log: MetricsLog
    trainable: nn.Module
    trained: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average | None
    precision: object

    def save(self, step: int) -> None:
        """Write a checkpoint, whose Moment is not due."""
        ranks.from_first(partial(self._write, step, False, *self._state()))

    def moment(self, step: int, batch: dict) -> Iterator[Moment]:
        """Hand out a Moment, then write a checkpoint, and end if that was asked for."""
        torch.manual_seed(key(self.fit.seed, "moment", step))
        buffers = {name: value.clone() for name, value in self.trained.named_buffers()}
        state = self._state()  # now, as rank 0 may have to write it without the others
        stop = self.stop
        try:
            if not stop.anywhere():
                with (
                    shards.shown(self.trainable, self.trained, self.average),
                    stop.at_once(),
                    resting(),
                ):
                    yield Moment(step, batch, self.trainable, self.log)
        except (GeneratorExit, KeyboardInterrupt, SystemExit):
            if stop.asked and not stop.hurried:
                for name, value in self.trained.named_buffers():
                    value.copy_(buffers[name])  # thresholds, say, that validation has found
                try:
                    if ranks.rank() == 0:  # which does not wait for the others now
                        self._write(step, True, *state)
                    stop.tell(step, self.fit.steps)
                except UserError as error:  # whoever asked for the Moment has gone
                    say(str(error))
            raise
        ranks.from_first(partial(self._write, step, stop.anywhere(), *state))
        lap("checkpoint")
        stop.leave(step, self.fit.steps)

    def _state(self) -> tuple[dict, dict]:
        """Weights and all else to resume from, whole; all ranks must ask for it."""
        trainer = {
            "optimizer": self.optimizer.state_dict(), "sharded": self.trained is not self.trainable,
            "threads": torch.get_num_threads(), "ranks": ranks.world(),
            "scaler": self.precision.state_dict(),  # {} but of half precision
        }  # fmt: skip
        if self.average:
            trainer["average"] = self.average.tensors
        return shards.whole(self.trained.state_dict()), shards.whole(trainer)

    def _write(self, step: int, due: bool, weights: dict, trainer: dict) -> None:
        self.log.sync()  # first: no checkpoint is newer than its log
        buffers = {k: v for k, v in self.trained.named_buffers() if k in weights}  # as they are now
        checkpoint.save_state(
            self.folder / "checkpoints", step, weights | buffers, {**trainer, "due": due}
        )
