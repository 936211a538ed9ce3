"""What the training loop and everything that it trains agree on."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass
class StepOutput:
    """The loss of a training step, with its graph, and figures for the log."""

    loss: "Tensor"
    logs: dict[str, float] = field(default_factory=dict)


class Trainable(Protocol):
    """An `nn.Module` whose `backbone` is what is kept, or may have come pretrained."""

    backbone: "nn.Module"

    def training_step(self, batch: dict, step: int) -> StepOutput:
        """Loss of a batch: `image` float32 (B, C, *size) as prepared, `seed` int64 (B,), and what
        its CropSpec asked for: `mask` int64 (B, *size), `target` int64 (B,)."""

    def after_step(self, step: int) -> None:
        """Called after the optimiser's step; momentum teachers follow here."""
