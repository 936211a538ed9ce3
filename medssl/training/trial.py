"""A few steps of anything trainable: does it learn, and is its state whole?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from medssl.training.checkpoint import load_state
from medssl.training.loop import Fit, fit
from medssl.training.optim import Optim

ASKED = 4  # batches whose loss is compared
LATE = 10**9  # a step by which whatever rests at first is awake


@dataclass(frozen=True)
class Trial:
    """first, last     loss of the same batches with the first weights and with the last
    without_gradient   trained parameters that no gradient reaches
    round_trips        a checkpoint loaded into a new module gives the same loss
    resumes            a run stopped half-way and resumed ends in the same bits
    """

    first: float
    last: float
    without_gradient: list[str]
    round_trips: bool
    resumes: bool

    @property
    def passed(self) -> bool:
        return (
            self.last < self.first
            and not self.without_gradient
            and self.round_trips
            and self.resumes
        )


def trial(
    make: Callable[[], nn.Module], batches: Callable[[int, int], Iterator[dict]], folder: Path,
    steps: int = 20, batch_size: int = 4, lr: float = 1e-3,
) -> Trial:  # fmt: skip
    """Train what `make` builds for `steps`, twice: in one go, and stopped half-way."""
    settings = Fit(steps=steps, batch_size=batch_size, every=max(1, steps // 2), device="cpu")
    optim = Optim(lr=lr, warmup=0.0)
    asked = list(batches(0, ASKED))
    first = _loss(make, make(), asked)
    whole = make()
    for _ in fit(whole, batches, settings, optim, folder / "whole"):
        pass

    def stopping(begin: int, end: int) -> Iterator[dict]:
        yield from batches(begin, min(end, steps // 2 + 1))
        raise InterruptedError

    resumed = make()
    try:
        for _ in fit(make(), stopping, settings, optim, folder / "resumed"):
            pass
    except InterruptedError:
        pass  # it was killed just after its first checkpoint
    for _ in fit(resumed, batches, settings, optim, folder / "resumed"):
        pass
    resumes = _same(whole.state_dict(), resumed.state_dict())
    loaded = make()
    loaded.load_state_dict(load_state(folder / "whole/checkpoints")[0])
    without = _without_gradient(make, whole, asked[0])
    last = _loss(make, whole, asked)
    round_trips = _answer(loaded, asked[0]) == _answer(whole, asked[0])
    return Trial(first, last, without, round_trips, resumes)


def _loss(make: Callable[[], nn.Module], trained: nn.Module, batches: list[dict]) -> float:
    fresh = make()
    fresh.load_state_dict(fresh.state_dict() | dict(trained.named_parameters()))
    return sum(_answer(fresh, batch) for batch in batches) / len(batches)


def _answer(module: nn.Module, batch: dict) -> float:
    torch.manual_seed(0)
    with torch.no_grad():
        return float(module.train().training_step(batch, LATE).loss)


def _without_gradient(make, trained: nn.Module, batch: dict) -> list[str]:
    module = make()
    module.load_state_dict(trained.state_dict())
    module.train().training_step(batch, LATE).loss.backward()
    return [
        name
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]


def _same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
