"""What a self-supervised method is, and the table of those that ship."""

from typing import Protocol

from torch import nn

from medssl.data.crops import CropSpec
from medssl.errors import UserError
from medssl.trainable import Trainable

METHODS = {
    "barlow": "medssl.methods.barlow:BarlowTwins",
    "byol": "medssl.methods.byol:BYOL",
    "conv_mae": "medssl.methods.conv_mae:ConvMAE",
    "global_contrast": "medssl.methods.global_contrast:GlobalContrast",
    "local_contrast": "medssl.methods.local_contrast:LocalContrast",
    "mae": "medssl.methods.mae:MAE",
    "moco": "medssl.methods.moco:MoCo",
    "self_distillation": "medssl.methods.self_distillation:SelfDistillation",
    "simclr": "medssl.methods.simclr:SimCLR",
    "simmim": "medssl.methods.simmim:SimMIM",
    "spark": "medssl.methods.spark:SparK",
    "swav": "medssl.methods.swav:SwAV",
    "vicreg": "medssl.methods.vicreg:VICReg",
    "voco": "medssl.methods.voco:VoCo",
    "voco_omni": "medssl.methods.voco_omni:VoCoOmni",
}


class Method(Trainable, Protocol):
    """An `nn.Module` built as `Method(backbone, augment, *, size, options...)`.

    `backbone` is what is kept in the end, and a `decoder` if it is a UNetDecoder, which fine-tuning
    can start from; heads and teachers are thrown away. `augment(image, seeds)` varies a batch on its
    device, each sample as its seed says (`augment.compose.augmenter`).

    size   voxels of what the backbone sees
    crops  what a loader reads for a sample

    A class that learns from another run names the option that says which in `learns_from`; before the
    first step `learn_from(backbone)` is called with that run's network and weights.
    """

    size: tuple[int, ...]
    crops: CropSpec

    def pictures(self, batch: dict, step: int) -> list[dict]:
        """What the method sees, asks and answers for a few samples: arrays for the report."""


def checked_size(size, backbone: nn.Module, what: str) -> tuple[int, ...]:
    """`size` as a tuple, one value an axis, each a multiple of what the backbone needs."""
    size = tuple(int(s) for s in size)
    if len(size) != backbone.ndim:
        raise UserError(
            "CONFIG", what, f"has {len(size)} values, the backbone has {backbone.ndim} axes",
            f"give {backbone.ndim} values",
        )  # fmt: skip
    if size == tuple(backbone.divisor):
        raise UserError(
            "CONFIG", what, f"{list(size)} leaves a single place at the coarsest level",
            f"use {[2 * s for s in size]} or more",
        )  # fmt: skip
    if any(s % d for s, d in zip(size, backbone.divisor, strict=True)):
        nearest = [max(d, round(s / d) * d) for s, d in zip(size, backbone.divisor, strict=True)]
        if nearest == list(backbone.divisor):
            nearest = [2 * n for n in nearest]
        raise UserError(
            "CONFIG", what, f"{list(size)} is not a multiple of {list(backbone.divisor)}",
            f"use {nearest}",
        )  # fmt: skip
    return size
