"""BYOL: predict from one view what a slowly following copy of the network says of the other.

Grill et al., "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning", NeurIPS 2020.
There are no negatives; what keeps the answer from being a constant is the predictor on one side only
and the target that takes no gradient. Departures: the momentum is constant instead of rising to 1,
because a step does not know how many follow; and both views share the statistics of batch norms.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from medssl.backbones.base import pool
from medssl.config import Count, Share
from medssl.methods.base import checked_size
from medssl.methods.parts.boxes import boxes, checked_share
from medssl.methods.parts.contrast import check_several, cosines, similarity_picture
from medssl.methods.parts.heads import mlp
from medssl.methods.parts.order import Rows, SliceOrder, rows
from medssl.methods.parts.teacher import follow, teacher_of
from medssl.methods.parts.views import view_seeds
from medssl.trainable import StepOutput


class BYOL(nn.Module):
    """Online: backbone, projector, predictor. Target: a momentum copy of the first two."""

    def __init__(
        self, backbone: nn.Module, augment: Callable[..., Tensor], *,
        size: Annotated[list[Count], "voxels of a view"],
        read: Annotated[list[Count] | None, "voxels of the box that views are cut from; none: size"] = None,
        crop: Annotated[list[Share], "least and greatest share of the box that a view keeps"] = (0.3, 1.0),
        whole: Annotated[bool, "resize the whole scan to the box, instead of cropping it"] = False,
        momentum: Annotated[Share, "of the target, 0..1"] = 0.99,
        hidden: Annotated[Count, "channels inside projector and predictor"] = 1024,
        width: Annotated[Count, "channels of the vectors compared"] = 256,
        order: Annotated[float, "weight of the slice-order term; 0: off"] = 0.0,
        parts: Annotated[Count, "boxes of each scan, from as many partitions, where order > 0"] = 4,
    ):  # fmt: skip
        super().__init__()
        self.backbone, self.augment, self.momentum = backbone, augment, momentum
        self.size = checked_size(size, backbone, "method.size")
        self.crops = boxes(self.size, read, whole, order, parts)
        self.crop_share = checked_share(crop)
        self.projector = mlp(backbone.channels[-1], hidden, width)
        self.predictor = mlp(width, hidden, width)
        self.order = SliceOrder(backbone.channels[-1], order)
        self.teacher = teacher_of(self.student())

    def student(self) -> nn.ModuleList:
        """What the target is a copy of."""
        return nn.ModuleList([self.backbone, self.projector])

    def training_step(self, batch: dict, step: int) -> StepOutput:
        several = rows(batch)
        check_several(several.image, "leaves its norms nothing to compare with")
        features, predicted, target = self(torch.cat(self.views(several)))
        loss = byol_loss(predicted, target.roll(len(several.image), 0))
        order, logs = self.order(features, several)
        return StepOutput(loss + order, {"cosine": float(1 - loss.detach() / 4), **logs})

    def after_step(self, step: int) -> None:
        follow(self.teacher, self.student(), self.momentum)

    def views(self, several: Rows) -> list[Tensor]:
        """Two views (M, C, *size) of each box."""
        seeds = view_seeds(several.seed, 2)
        return [self.augment(several.image, s, size=self.size, crop=self.crop_share) for s in seeds]

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pooled features, predictions and targets (n, width) of views (n, C, *size)."""
        features = pool(self.backbone(views)[-1:])
        predicted = self.predictor(self.projector(features))
        with torch.no_grad():
            backbone, projector = self.teacher
            target = projector(pool(backbone(views)[-1:]))
        return features, predicted, target

    @torch.no_grad()
    def pictures(self, batch: dict, step: int) -> list[dict]:
        """First views beside second ones, and how well each prediction fits each target."""
        first, second = self.views(rows(batch))
        _, predicted, target = self(torch.cat([first, second]))
        n = len(first)
        return similarity_picture(
            first, second, cosines(predicted[:n], target[n:]), "Cosine of prediction and target"
        )


def byol_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """2 - 2 cos of predictions and targets (2M, D), both directions added: 0..8; in float32.

    Row i is predicted from one view, its target comes from the other view of the same image. No
    gradient flows into the target.
    """
    cosine = cosine_similarity(predicted.float(), target.detach().float(), dim=-1)
    return 2 * (2 - 2 * cosine).mean()
