"""Self-distillation for further pretraining: MAE on the target scans, held near a teacher's features.

Lee, Kang, Lee, Hwang, Kawaguchi, "Self-Distillation for Further Pre-training of Transformers", ICLR 2023.
A network that was pretrained elsewhere is pretrained further on the target scans by MAE: the teacher. The
student begins once more from the first weights, and learns to fill in patches and, of the whole image, to
say what the teacher says; so it fits the target scans with less of a way from where it began.

Departures: where there is no class token, the average over patches takes its place, as it does in
fine-tuning; one backward pass of the sum takes the place of two; and the published rate falls on a
straight line, here on a cosine.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from medssl.backbones.base import pool
from medssl.config import Count, Proportion
from medssl.errors import UserError
from medssl.methods.mae import MAE
from medssl.methods.parts.masking import patchify
from medssl.methods.parts.reconstruction import mae_loss
from medssl.methods.parts.teacher import teacher_of
from medssl.trainable import StepOutput


class SelfDistillation(MAE):
    """The teacher is a copy of the student until `learn_from` gives another network."""

    learns_from: ClassVar = "teacher"  # the option that names the run whose backbone it is given

    def __init__(
        self, backbone: nn.Module, augment: Callable[[Tensor, Tensor], Tensor], *,
        size: Annotated[list[Count], "voxels of the image the network sees"],
        teacher: Annotated[Path | None, "run that pretrained further on the target scans by MAE"] = None,
        weight: Annotated[float, Field(ge=0), "of the distance between student and teacher"] = 1.0,
        mask_ratio: Annotated[Proportion, "share of patches hidden, 0..1"] = 0.75,
        normalise_target: Annotated[bool, "each patch of the target to mean 0, variance 1"] = True,
        decoder_width: Annotated[Count, "channels of the decoder"] = 96,
        decoder_depth: Annotated[Count, "blocks of the decoder"] = 2,
        decoder_heads: Annotated[Count, "attention heads of the decoder"] = 3,
        read: Annotated[list[Count] | None, "voxels of the box that is resampled to size; none: size"] = None,
        whole: Annotated[bool, "resize the whole scan to the box, instead of cropping it"] = False,
    ):  # fmt: skip
        super().__init__(
            backbone, augment, size=size, mask_ratio=mask_ratio, normalise_target=normalise_target,
            decoder_width=decoder_width, decoder_depth=decoder_depth, decoder_heads=decoder_heads,
            read=read, whole=whole,
        )  # fmt: skip
        self.weight, self.teacher = weight, teacher_of(backbone)

    def learn_from(self, backbone: nn.Module) -> None:
        """Take this network as the teacher. Raises UserError unless it gives vectors as long."""
        for what in ("ndim", "in_channels"):
            if getattr(backbone, what) != getattr(self.backbone, what):
                break
        else:
            if backbone.channels[-1] == self.backbone.channels[-1]:
                self.teacher = teacher_of(backbone).eval()
                return
        raise UserError(
            "CONFIG", "method.teacher", f"gives {backbone.channels[-1]} features of {backbone.ndim} axes, "
            f"the student {self.backbone.channels[-1]} of {self.backbone.ndim}",
            "pretrain the teacher from the weights that start= names",
        )  # fmt: skip

    def train(self, mode: bool = True) -> "SelfDistillation":
        """The teacher says the same of an image whenever it is asked."""
        super().train(mode)
        self.teacher.eval()
        return self

    def training_step(self, batch: dict, step: int) -> StepOutput:
        image, mask = self._draw(batch)
        predicted, hidden = self(image, mask)
        target = patchify(image, self.patch, hidden)
        reconstruction = mae_loss(predicted, target, None, self.normalise_target)
        with torch.no_grad():
            taught = pool(self.teacher(image)[-1:])
        distance = distillation_loss(pool(self.backbone(image)[-1:]), taught)
        return StepOutput(
            reconstruction + self.weight * distance,
            {
                "reconstruction": float(reconstruction.detach()),
                "distance": float(distance.detach()),
            },
        )


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of vectors (B, D), summed over D, averaged over B; in float32."""
    return (student.float() - teacher.float()).square().sum(-1).mean()
