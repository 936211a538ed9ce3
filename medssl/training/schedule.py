"""The learning rate of a step, as a share of the largest.

cosine    linear warm-up, then half a cosine down to `final` at the last step; of a branch once more
infinite  linear warm-up, half a cosine down to `constant`, and so on without an end: no step needs to know
          how many there will be, so that a run can go on, on other scans as well, and is not warmed up again
anneal    of a branch: from the rate that the run had, by the same factor every step down to `final`

The last two after "Beyond Cosine Decay: On the effectiveness of Infinite Learning Rate Schedule for Continual
Pre-training", arXiv 2503.02844; its cool-down is the cosine one.
"""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medssl.training.branch import Branch
    from medssl.training.optim import Optim


def rate(step: int, steps: int, optim: "Optim", branch: "Branch | None" = None) -> float:
    """Share of the largest rate at a step of `steps`, counted from 0, also by a branch."""
    if optim.schedule == "anneal":
        done = (step + 1 - branch.step) / (steps - branch.step)
        return branch.share * (optim.final / branch.share) ** done
    if optim.schedule == "cosine" and branch:
        step, steps = step - branch.step, steps - branch.step
    warmup = optim.warmup if optim.warmup >= 1 else optim.warmup * steps
    warmup = round(warmup)
    if step < warmup:
        return (step + 1) / warmup
    infinite = optim.schedule == "infinite"
    low, over = (optim.constant, optim.cooldown) if infinite else (optim.final, steps - warmup)
    progress = min((step - warmup) / max(1, over), 1.0)
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress))


def unfit(optim: "Optim") -> str:
    """Why the keys of a schedule do not go together; "" where they do."""
    if optim.schedule == "anneal" and optim.final == 0:
        return "schedule=anneal comes down by factors: give a final above 0, e.g. 0.01"
    if optim.schedule != "infinite":
        return ""
    if 0 < optim.warmup < 1 or (optim.cooldown == 0 and optim.constant < 1):
        return (
            "schedule=infinite knows no last step: give warmup and cooldown in steps, e.g. "
            "optim.warmup=1000 optim.cooldown=10000"
        )
    if optim.frozen or optim.unfreeze:
        return (
            "schedule=infinite knows no last step: frozen and unfreeze are shares, leave them out"
        )
    return ""


def remarks(optim: "Optim", steps: int) -> list[str]:
    """What is odd about keys of a schedule of so many steps, in words."""
    told = []
    if optim.schedule != "anneal" and optim.warmup >= max(1, steps):
        told.append(
            f"optim.warmup={optim.warmup:g} and {steps} steps: the rate does not reach optim.lr"
        )
    if optim.schedule != "infinite" and optim.cooldown:
        told.append(f"optim.cooldown does nothing in optim.schedule={optim.schedule}")
    return told
