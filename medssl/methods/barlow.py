"""Barlow Twins: every embedded dimension agrees between two views, and no two say the same.

Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", ICML 2021; with
`mix` above 0, Bandara et al., "Guarding Barlow Twins Against Overfitting with Mixed Samples", 2023.
Embeddings are divided by the biased standard deviation (sum over B, not B - 1), so that a dimension's
correlation with itself is 1 at any batch size. Targets of the mixed term take gradients, as published.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medssl import ranks
from medssl.backbones.base import pool
from medssl.config import Count, Share
from medssl.methods.base import checked_size
from medssl.methods.parts.boxes import boxes, checked_share
from medssl.methods.parts.contrast import check_several
from medssl.methods.parts.correlation import at_least_float32, correlation, off_diagonal
from medssl.methods.parts.heads import mlp
from medssl.methods.parts.order import Rows, SliceOrder, rows
from medssl.methods.parts.views import view_seeds
from medssl.ranks import gathered
from medssl.seeding import torch_generator
from medssl.trainable import StepOutput

EPS = 1e-5  # of the variance: a dimension that is constant in the batch becomes 0
SHOWN = 24
Weight = Annotated[float, Field(ge=0)]


class BarlowTwins(nn.Module):
    """The correlation of two views' embeddings, over the batch, is drawn to the identity.

    A batch of B boxes can tell at most B - 1 dimensions apart: take large batches or a small width.
    """

    def __init__(
        self, backbone: nn.Module, augment: Callable[..., Tensor], *,
        size: Annotated[list[Count], "voxels of a view"],
        read: Annotated[list[Count] | None, "voxels of the box that views are cut from; none: size"] = None,
        crop: Annotated[list[Share], "least and greatest share of the box that a view keeps"] = (0.3, 1.0),
        whole: Annotated[bool, "resize the whole scan to the box, instead of cropping it"] = False,
        redundancy: Annotated[Weight, "weight of what different dimensions have in common"] = 0.005,
        mix: Annotated[Weight, "weight of the mixed samples' term, times redundancy; 0: off"] = 0.0,
        hidden: Annotated[Count, "channels inside the head"] = 512,
        width: Annotated[Count, "dimensions of the embedding"] = 512,
        order: Annotated[float, "weight of the slice-order term; 0: off"] = 0.0,
        parts: Annotated[Count, "boxes of each scan, from as many partitions, where order > 0"] = 4,
    ):  # fmt: skip
        super().__init__()
        self.backbone, self.augment = backbone, augment
        self.size = checked_size(size, backbone, "method.size")
        self.crops = boxes(self.size, read, whole, order, parts)
        self.crop_share, self.redundancy, self.mix = checked_share(crop), redundancy, mix
        self.head = mlp(backbone.channels[-1], hidden, width, layers=3)
        self.order = SliceOrder(backbone.channels[-1], order)

    def training_step(self, batch: dict, step: int) -> StepOutput:
        several = rows(batch)
        check_several(several.image, "has no correlations")
        views = self.views(several)
        features = [self.features(view) for view in views]  # apart: norms see one view at a time
        z1, z2 = [standardised(gathered(self.head(f))) for f in features]
        agreement, redundancy = barlow_terms(correlation(z1, z2))
        terms = {"agreement": agreement, "redundancy": self.redundancy * redundancy}
        if self.mix:
            share, partner = draw_mix(gathered(several.seed))
            of_own = partner[list(ranks.share(len(partner)))]
            mixed = share * views[0] + (1 - share) * gathered(views[1])[of_own]
            zm = standardised(gathered(self.head(self.features(mixed))))
            scale = self.mix * self.redundancy
            terms["mixed"] = scale * mixed_loss(zm, z1, z2, share, partner)
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
        """The question itself: how the first dimensions of one view correlate with those of the other."""
        z1, z2 = [standardised(self.head(self.features(v))) for v in self.views(rows(batch))]
        values = correlation(z1[:, :SHOWN], z2[:, :SHOWN])
        return [
            {
                "kind": "similarity",
                "rows": [],
                "columns": [],
                "values": values.cpu().numpy(),
                "asked": torch.eye(len(values)).numpy(),
                "title": f"Correlation of the first {len(values)} dimensions between two views",
            }
        ]


def standardised(z: Tensor) -> Tensor:
    """Embeddings (B, D) to mean 0 and biased variance 1 over the batch, B >= 2; in float32 at least."""
    z = at_least_float32(z)
    z = z - z.mean(0)
    return z / (z.square().mean(0) + EPS).sqrt()


def barlow_terms(c: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of (1 - C_ii)^2 and of C_ij^2, i != j, of a cross-correlation (D, D)."""
    return (1 - c.diagonal()).square().sum(), off_diagonal(c).square().sum()


def draw_mix(seeds: Tensor) -> tuple[float, Tensor]:
    """Share a ~ Beta(1, 1) of the first view and whose second view (B,) each sample is mixed with.

    A function of which seeds (B,) there are: reordering the batch reorders the pairs with it.
    """
    g = torch_generator(0, "mix", *sorted(seeds.tolist()))
    rank = seeds.cpu().argsort()
    partner = torch.empty_like(rank)
    partner[rank] = rank[torch.randperm(len(rank), generator=g)]
    return float(torch.rand((), generator=g)), partner.to(seeds.device)  # Beta(1, 1) is uniform


def mixed_loss(zm: Tensor, z1: Tensor, z2: Tensor, share: float, partner: Tensor) -> Tensor:
    """Sum of squared differences between what the mixed samples' embeddings correlate like, with
    either view, and what the same mixture of embeddings would.

    zm of share x1 + (1 - share) x2[partner]; all embeddings (B, D) standardised.
    """
    asked = share * z1 + (1 - share) * z2[partner]
    return sum((correlation(zm, z) - correlation(asked, z)).square().sum() for z in (z1, z2))
