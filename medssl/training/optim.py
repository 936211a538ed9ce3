"""AdamW with layer-wise rates."""

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from medssl.config import Fraction, Keys
from medssl.training import schedule

if TYPE_CHECKING:
    from medssl.training.branch import Branch


class Optim(Keys):
    """How weights are updated."""

    lr: float = Field(1e-3, description="largest learning rate", gt=0)
    weight_decay: float = Field(
        0.05, description="decoupled; not on norms, biases, tokens and positions", ge=0
    )
    betas: list[Fraction] = Field([0.9, 0.95], description="of AdamW", min_length=2, max_length=2)
    schedule: Literal["cosine", "infinite", "anneal"] = Field(
        "cosine",
        description="cosine: down to final at the last step; infinite: down to constant, and fit.steps can "
        "be raised later; anneal: a branch of a run, from its rate down to final",
    )
    warmup: float = Field(
        0.05, description="steps in which the rate rises; below 1: share of fit.steps", ge=0
    )
    cooldown: int = Field(
        0, description="steps in which an infinite schedule comes down to constant", ge=0
    )
    constant: float = Field(
        0.5, description="rate of an infinite schedule then, as a share of lr", gt=0, le=1
    )
    final: float = Field(
        0.01, description="rate at the end as a share of lr (cosine, anneal)", ge=0, le=1
    )
    backbone_rate: float = Field(1.0, description="factor on lr for a pretrained backbone", ge=0)
    layer_decay: float = Field(
        1.0, description="factor on its lr for each layer further from the head", gt=0, le=1
    )
    frozen: float = Field(
        0.0, description="share of the steps in which the backbone rests", ge=0, le=1
    )
    unfreeze: float = Field(
        0.0, description="share of the steps, after those, over which its layers join one after the "
        "other, the ones next to the head first", ge=0, le=1,
    )  # fmt: skip
    clip: float = Field(1.0, description="largest gradient norm; 0: not clipped", ge=0)

    @model_validator(mode="after")
    def _goes_together(self):
        if cause := schedule.unfit(self):
            raise ValueError(cause)
        return self

    @property
    def raised(self) -> set[str]:
        """Keys of a run that may be more when it goes on, without a change to what it has done."""
        return {"fit.steps"} if self.schedule == "infinite" else set()

    def for_new_weights(self) -> "Optim":
        """The same without what only makes sense for a backbone that was pretrained."""
        return self.model_copy(
            update={"backbone_rate": 1.0, "layer_decay": 1.0, "frozen": 0.0, "unfreeze": 0.0}
        )


def parameter_groups(module: nn.Module, optim: Optim) -> list[dict]:
    """Every trainable parameter in exactly one group; groups carry `scale` and `rests`.

    scale = layer_decay^(n + 1 - layer) * backbone_rate in the backbone (layer 0 is the stem), 1
    elsewhere. `rests` is the share of the steps before a group begins to learn. One-dimensional
    parameters (norms, biases) are not decayed, nor those that a module's `no_weight_decay()` names, as
    timm's networks name their positions and tokens.
    """
    groups: dict[tuple, dict] = {}
    exempt = {
        f"{prefix}.{name}".lstrip(".")
        for prefix, part in module.named_modules() if hasattr(part, "no_weight_decay")
        for name in part.no_weight_decay()
    }  # fmt: skip
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        inside = name.startswith("backbone.")
        scale, rests = 1.0, 0.0
        if inside:
            away = module.backbone.n_layers - module.backbone.layer_of(
                name.removeprefix("backbone.")
            )
            scale = optim.backbone_rate * optim.layer_decay**away
            rests = optim.frozen + optim.unfreeze * (away - 1) / module.backbone.n_layers
        decay = 0.0 if parameter.ndim <= 1 or name in exempt else optim.weight_decay
        group = groups.setdefault(
            (inside, scale, decay, rests),
            {"params": [], "scale": scale, "weight_decay": decay, "rests": rests},
        )
        group["params"].append(parameter)
    return list(groups.values())


def build(module: nn.Module, optim: Optim, fused: bool = False) -> torch.optim.Optimizer:
    """AdamW; `fused`: all weights in one kernel, which is faster on a GPU."""
    groups, betas = parameter_groups(module, optim), tuple(optim.betas)
    return torch.optim.AdamW(groups, lr=optim.lr, betas=betas, fused=fused or None)


def set_rates(
    optimizer: torch.optim.Optimizer, step: int, steps: int, optim: Optim,
    branch: "Branch | None" = None,
) -> float:  # fmt: skip
    """Set every group's rate for this step; returns the rate of the head."""
    share = schedule.rate(step, steps, optim, branch)
    for group in optimizer.param_groups:
        resting = step < round(group["rests"] * steps)
        group["lr"] = 0.0 if resting else optim.lr * share * group["scale"]
    return optim.lr * share
