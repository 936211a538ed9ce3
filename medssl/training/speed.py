"""What makes a step faster or smaller, and nothing of what it means."""

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn

from medssl.errors import UserError
from medssl.progress import say
from medssl.stopwatch import lap

if TYPE_CHECKING:
    from medssl.training.loop import Fit

COMPILERS = ("c++", "g++", "clang++")


def prepare(backbone: nn.Module, fit: "Fit", device: torch.device) -> None:
    """What `fit` asks of a backbone, once it is on its device."""
    if fit.checkpointing:
        recompute(backbone)
    if fit.compile:
        compile_backbone(backbone, device)


def allow_tf32(allowed: bool) -> None:
    """Whether a GPU multiplies float32 matrices in TF32: 10 bits of mantissa, several times as fast."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")


def has_bfloat16() -> bool | None:
    """Whether this CPU multiplies bfloat16 itself, which makes bf16-mixed the faster precision on it;
    None where torch does not tell."""
    tell = getattr(torch.cpu, "get_capabilities", None)
    return tell and any(there for name, there in tell().items() if name.endswith("bf16"))


def warn_of_bfloat16(device: torch.device, precision: str) -> None:
    """A CPU without it works bfloat16 out in float32: right, and many times slower."""
    if device.type == "cpu" and precision == "bf16-mixed" and has_bfloat16() is False:
        say("remark: this CPU has no bfloat16 arithmetic: fit.precision=32-true is faster here")


def fused(device: torch.device, precision: str) -> bool:
    """Whether all weights are updated by one kernel: on a GPU, unless a scaler has to unscale before."""
    return device.type == "cuda" and precision != "16-mixed"


def recompute(backbone: nn.Module) -> None:
    """Let a backbone keep the activations between its blocks alone, and make the others anew.

    Raises UserError naming one that cannot, or whose batch norms would count every sample twice.
    """
    norms = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in backbone.modules())
    if norms or not hasattr(backbone, "recompute_activations"):
        cause = (
            "batch norms, which would count every sample twice"
            if norms
            else "no way to make activations anew"
        )
        raise UserError(
            "CONFIG", "fit.checkpointing", f"{type(backbone).__name__} has {cause}",
            "leave it out, or use vit, res_unet, resenc, segresnet (norm: instance), swin_unetr, or one "
            "of timm without batch norm, as a ConvNeXt, ViT or Swin",
        )  # fmt: skip
    backbone.recompute_activations()


def compile_backbone(backbone: nn.Module, device: torch.device) -> None:
    """Compile what the backbone computes, in place: its weights keep their names.

    Raises UserError on a CPU without a C++ compiler.
    """
    if device.type == "cpu" and not ("CXX" in os.environ or any(map(shutil.which, COMPILERS))):
        raise UserError(
            "CONFIG", "fit.compile", "needs a C++ compiler on a CPU, and none was found",
            "install g++, or leave it out",
        )  # fmt: skip
    backbone.compile()


def on_device(batches: Iterator[dict], fabric) -> Iterator[dict]:
    """Batches on fabric's device. On a GPU the next one is copied while this one is computed."""
    if fabric.device.type != "cuda":
        for batch in batches:
            lap("wait")
            batch = fabric.to_device(batch)
            lap("copy")
            yield batch
        return
    beside, following = torch.cuda.Stream(fabric.device), None
    for batch in batches:
        lap("wait")
        with torch.cuda.stream(beside):
            copied = (
                fabric.to_device(batch),
                beside.record_event(),
            )  # from pinned memory: not waited for
        lap("copy")
        if following is not None:
            yield _ready(*following)
        following = copied
    if following is not None:
        yield _ready(*following)


def _ready(batch: dict, copied: torch.cuda.Event) -> dict:
    """A batch that was copied on another stream, safe to use on this one, and to let go of."""
    here = torch.cuda.current_stream()
    here.wait_event(copied)
    for value in batch.values():
        if isinstance(value, torch.Tensor):
            value.record_stream(here)
    return batch
