"""VICReg: two views agree, every dimension varies over the batch, and no two say the same.

Bardes, Ponce, LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised
Learning", ICLR 2022. As in the authors' code, which the weights 25, 25 and 1 belong to: the distance
of two views is a mean over dimensions too, and the variance term the mean of both views' (the paper
adds them up).
"""

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import relu

from medssl.backbones.base import pool
from medssl.config import Count, Share
from medssl.methods.base import checked_size
from medssl.methods.parts.boxes import boxes, checked_share
from medssl.methods.parts.contrast import check_several, cosines, similarity_picture
from medssl.methods.parts.correlation import at_least_float32, correlation, off_diagonal
from medssl.methods.parts.heads import mlp
from medssl.methods.parts.order import Rows, SliceOrder, rows
from medssl.methods.parts.views import view_seeds
from medssl.ranks import gathered
from medssl.trainable import StepOutput

EPS = 1e-4  # of the variance: the root keeps a finite slope at collapse
Weight = Annotated[float, Field(ge=0)]


class VICReg(nn.Module):
    """One network for both views; three terms take the place of negatives and of a teacher."""

    def __init__(
        self, backbone: nn.Module, augment: Callable[..., Tensor], *,
        size: Annotated[list[Count], "voxels of a view"],
        read: Annotated[list[Count] | None, "voxels of the box that views are cut from; none: size"] = None,
        crop: Annotated[list[Share], "least and greatest share of the box that a view keeps"] = (0.3, 1.0),
        whole: Annotated[bool, "resize the whole scan to the box, instead of cropping it"] = False,
        invariance: Annotated[Weight, "weight of the distance between two views"] = 25.0,
        variance: Annotated[Weight, "weight of what standard deviations lack of 1"] = 25.0,
        covariance: Annotated[Weight, "weight of squared covariances of different dimensions"] = 1.0,
        hidden: Annotated[Count, "channels inside the head"] = 512,
        width: Annotated[Count, "dimensions of the embedding"] = 512,
        order: Annotated[float, "weight of the slice-order term; 0: off"] = 0.0,
        parts: Annotated[Count, "boxes of each scan, from as many partitions, where order > 0"] = 4,
    ):  # fmt: skip
        super().__init__()
        self.backbone, self.augment = backbone, augment
        self.size = checked_size(size, backbone, "method.size")
        self.crops = boxes(self.size, read, whole, order, parts)
        self.crop_share = checked_share(crop)
        self.weights = {"invariance": invariance, "variance": variance, "covariance": covariance}
        self.head = mlp(backbone.channels[-1], hidden, width, layers=3)
        self.order = SliceOrder(backbone.channels[-1], order)

    def training_step(self, batch: dict, step: int) -> StepOutput:
        several = rows(batch)
        check_several(several.image, "has no variance")
        features = [self.features(view) for view in self.views(several)]  # apart, for the norms
        terms = vicreg_terms(*[gathered(self.head(f)) for f in features])
        terms = {name: self.weights[name] * term for name, term in terms.items()}
        order, logs = self.order(torch.cat(features), several)
        logs = {name: float(term.detach()) for name, term in terms.items()} | logs
        return StepOutput(sum(terms.values()) + order, logs)

    def views(self, several: Rows) -> list[Tensor]:
        """Two views (M, C, *size) of each box."""
        seeds = view_seeds(several.seed, 2)
        return [self.augment(several.image, s, size=self.size, crop=self.crop_share) for s in seeds]

    def features(self, view: Tensor) -> Tensor:
        """Averages (M, channels) of the last level."""
        return pool(self.backbone(view)[-1:])

    def after_step(self, step: int) -> None:
        pass

    @torch.no_grad()
    def pictures(self, batch: dict, step: int) -> list[dict]:
        """First views beside second ones, and how alike their embeddings are about their mean.

        About the mean, because the loss knows differences only: what all have in common is free.
        """
        first, second = self.views(rows(batch))
        a, b = [self.head(self.features(view)).float() for view in (first, second)]
        mean = torch.cat([a, b]).mean(0)
        title = "Cosine of two views of a crop, about the mean"
        return similarity_picture(first, second, cosines(a - mean, b - mean), title)


def vicreg_terms(z1: Tensor, z2: Tensor) -> dict[str, Tensor]:
    """The three terms of the embeddings (B, D) of two views, B >= 2, before they are weighted.

    invariance  mean squared difference over samples and dimensions
    variance    mean over dimensions and views of max(0, 1 - sqrt(variance + EPS))
    covariance  sum over views and pairs of different dimensions of squared covariances, over D
    Variances and covariances are unbiased; computed in float32 at least.
    """
    z1, z2 = at_least_float32(z1), at_least_float32(z2)
    terms = {"invariance": (z1 - z2).square().mean(), "variance": 0.0, "covariance": 0.0}
    for z in (z1, z2):
        centred, (b, d) = z - z.mean(0), z.shape
        terms["variance"] += relu(1 - (z.var(0) + EPS).sqrt()).mean() / 2
        covariance = correlation(centred, centred) * b / (b - 1)
        terms["covariance"] += off_diagonal(covariance).square().sum() / d
    return terms
