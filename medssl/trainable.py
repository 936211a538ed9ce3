"""What the training loop and everything that it trains agree on."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from medssl.errors import UserError

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
        """Loss of a batch: `image` float32 (B, C, *size) as prepared, `seed` int64 (B,), `item`
        (B,), the scan's number, and what its CropSpec asked for: `mask` int64 (B, *size), `target`
        int64 (B,); with parts, boxes (B, S, C, *size) with `part` and `place` (B, S)."""

    def after_step(self, step: int) -> None:
        """Called after the optimiser's step; momentum teachers follow here."""


def checked(trainable: "nn.Module", what: str, *needed: str) -> "nn.Module":
    """`trainable`, when it has all that is called of it, `needed` besides.

    Raises UserError naming what a class of the user's own lacks.
    """
    all_needed = ("backbone", "crops", "parameters", "training_step", "after_step", *needed)
    missing = [name for name in all_needed if not hasattr(trainable, name)]
    if missing:
        name = type(trainable).__name__
        raise UserError(
            "CONFIG", f"{what} {name}", f"has no {', '.join(missing)}",
            f"make it an nn.Module with {', '.join(all_needed)}",
        )  # fmt: skip
    return trainable
