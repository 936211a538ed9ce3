"""SimCLR: two views of one crop are alike, all other views of the batch are different.

Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020.
Another box of the same scan is a negative like any other: it shows another place, and to tell
places apart is what a segmentation needs. (Slices that touch are negatives too; a method that
groups slices by where they lie does not ask for that.) `order` adds the slice-order term.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor, nn

from medssl.backbones.base import pool
from medssl.config import Count, Share
from medssl.methods.base import checked_size
from medssl.methods.parts.boxes import boxes, checked_share
from medssl.methods.parts.contrast import (
    check_several,
    checked_temperature,
    cosines,
    nt_xent,
    similarity_picture,
)
from medssl.methods.parts.heads import mlp
from medssl.methods.parts.order import Rows, SliceOrder, rows
from medssl.methods.parts.views import view_seeds
from medssl.ranks import gathered
from medssl.trainable import StepOutput


class SimCLR(nn.Module):
    """Views go through the backbone; the head's outputs, thrown away later, are compared."""

    def __init__(
        self, backbone: nn.Module, augment: Callable[..., Tensor], *,
        size: Annotated[list[Count], "voxels of a view"],
        read: Annotated[list[Count] | None, "voxels of the box that views are cut from; none: size"] = None,
        crop: Annotated[list[Share], "least and greatest share of the box that a view keeps"] = (0.3, 1.0),
        whole: Annotated[bool, "resize the whole scan to the box, instead of cropping it"] = False,
        temperature: Annotated[float, "divides the cosines, above 0; usual 0.1 to 0.5"] = 0.1,
        hidden: Annotated[Count, "channels inside the head"] = 512,
        width: Annotated[Count, "channels of the vectors compared"] = 128,
        order: Annotated[float, "weight of the slice-order term; 0: off"] = 0.0,
        parts: Annotated[Count, "boxes of each scan, from as many partitions, where order > 0"] = 4,
    ):  # fmt: skip
        super().__init__()
        self.backbone, self.augment = backbone, augment
        self.size = checked_size(size, backbone, "method.size")
        self.crops = boxes(self.size, read, whole, order, parts)
        self.crop_share, self.temperature = checked_share(crop), checked_temperature(temperature)
        self.head = mlp(backbone.channels[-1], hidden, width)
        self.order = SliceOrder(backbone.channels[-1], order)

    def training_step(self, batch: dict, step: int) -> StepOutput:
        several = rows(batch)
        check_several(several.image, "has no negatives")
        features = self.features(torch.cat(self.views(several)))
        a, b = gathered(self.head(features), views=2).chunk(2)
        loss, matched = nt_xent(a, b, self.temperature)
        order, logs = self.order(features, several)
        return StepOutput(loss + order, {"matched": float(matched), **logs})

    def views(self, several: Rows) -> list[Tensor]:
        """Two views (M, C, *size) of each box."""
        seeds = view_seeds(several.seed, 2)
        return [self.augment(several.image, s, size=self.size, crop=self.crop_share) for s in seeds]

    def features(self, views: Tensor) -> Tensor:
        """Averages (n, channels) of the last level."""
        return pool(self.backbone(views)[-1:])

    def after_step(self, step: int) -> None:
        pass

    @torch.no_grad()
    def pictures(self, batch: dict, step: int) -> list[dict]:
        """First views beside second ones, and how alike they are held to be."""
        first, second = self.views(rows(batch))
        a, b = self.head(self.features(torch.cat([first, second]))).chunk(2)
        return similarity_picture(first, second, cosines(a, b), "Cosine of two views of a crop")
