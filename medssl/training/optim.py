"""AdamW with layer-wise rates, and the learning-rate schedule."""

import math

import torch
from pydantic import Field
from torch import nn

from medssl.config import Fraction, Keys


class Optim(Keys):
    """How weights are updated."""

    lr: float = Field(1e-3, description="largest learning rate", gt=0)
    weight_decay: float = Field(
        0.05, description="decoupled; not on norms, biases, tokens and positions", ge=0
    )
    betas: list[Fraction] = Field([0.9, 0.95], description="of AdamW", min_length=2, max_length=2)
    warmup: float = Field(
        0.05, description="share of the steps in which the rate rises", ge=0, le=1
    )
    final: float = Field(0.01, description="rate at the end as a share of lr (cosine)", ge=0, le=1)
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

    def for_new_weights(self) -> "Optim":
        """The same without what only makes sense for a backbone that was pretrained."""
        return self.model_copy(
            update={"backbone_rate": 1.0, "layer_decay": 1.0, "frozen": 0.0, "unfreeze": 0.0}
        )


def rate(step: int, steps: int, optim: Optim) -> float:
    """Share of the largest rate at a step: linear warm-up, then cosine down to `final`."""
    warmup = round(optim.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return optim.final + (1 - optim.final) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


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


def build(module: nn.Module, optim: Optim) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameter_groups(module, optim), lr=optim.lr, betas=tuple(optim.betas))


def set_rates(optimizer: torch.optim.Optimizer, step: int, steps: int, optim: Optim) -> float:
    """Set every group's rate for this step; returns the rate of the head."""
    share = rate(step, steps, optim)
    for group in optimizer.param_groups:
        resting = step < round(group["rests"] * steps)
        group["lr"] = 0.0 if resting else optim.lr * share * group["scale"]
    return optim.lr * share
