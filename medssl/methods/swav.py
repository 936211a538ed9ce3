"""SwAV: from one view of a crop, predict which prototypes another view of it was assigned to.

Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", NeurIPS
2020. Departures: the queue is used as far as it is filled instead of when it is full, and small views
may be cut from anywhere in the box, as large ones.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize

from medssl.backbones.base import pool
from medssl.config import Count, Share
from medssl.methods.base import checked_size
from medssl.methods.parts.boxes import boxes, checked_share
from medssl.methods.parts.contrast import check_several, checked_temperature, similarity_picture
from medssl.methods.parts.correlation import at_least_float32
from medssl.methods.parts.heads import mlp
from medssl.methods.parts.order import Rows, SliceOrder, rows
from medssl.methods.parts.sinkhorn import perplexity, sinkhorn
from medssl.methods.parts.views import view_seeds
from medssl.ranks import gathered
from medssl.trainable import StepOutput

LARGE = 2  # views that make codes
Number = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class SwAV(nn.Module):
    """Two large views make codes and are predicted from; small ones are only predicted from."""

    def __init__(
        self, backbone: nn.Module, augment: Callable[..., Tensor], *,
        size: Annotated[list[Count], "voxels of a large view"],
        read: Annotated[list[Count] | None, "voxels of the box that views are cut from; none: size"] = None,
        crop: Annotated[list[Share], "least and greatest share of the box in a large view"] = (0.3, 1.0),
        whole: Annotated[bool, "resize the whole scan to the box, instead of cropping it"] = False,
        local_views: Annotated[Number, "small views of each box; 0: none"] = 4,
        local_size: Annotated[list[Count] | None, "voxels of a small view; none: half of size"] = None,
        local_crop: Annotated[list[Share], "least and greatest share in a small view"] = (0.05, 0.3),
        temperature: Annotated[float, "divides the cosines of predictions, above 0"] = 0.1,
        prototypes: Annotated[Count, "prototypes that codes are made of"] = 128,
        frozen_steps: Annotated[Number, "first steps, in which the prototypes rest"] = 100,
        eps: Annotated[Positive, "divides the cosines of codes; smaller is nearer to one-hot"] = 0.05,
        iterations: Annotated[Count, "of Sinkhorn and Knopp's algorithm"] = 3,
        queue: Annotated[Number, "earlier embeddings of each large view kept for codes"] = 512,
        queue_from: Annotated[Number, "first step that uses the queue"] = 300,
        hidden: Annotated[Count, "channels inside the head"] = 512,
        width: Annotated[Count, "channels of embeddings and prototypes"] = 128,
        order: Annotated[float, "weight of the slice-order term; 0: off"] = 0.0,
        parts: Annotated[Count, "boxes of each scan, from as many partitions, where order > 0"] = 4,
    ):  # fmt: skip
        super().__init__()
        self.backbone, self.augment = backbone, augment
        self.size = checked_size(size, backbone, "method.size")
        small = half(self.size, backbone.divisor) if local_size is None else local_size
        self.local_size = checked_size(small, backbone, "method.local_size")
        self.crops = boxes(self.size, read, whole, order, parts)
        large = (self.size, checked_share(crop))
        small = (self.local_size, checked_share(local_crop, "method.local_crop"))
        self.cuts = [large] * LARGE + [small] * local_views
        self.temperature, self.eps = checked_temperature(temperature), eps
        self.iterations, self.frozen_steps, self.queue_from = iterations, frozen_steps, queue_from
        self.head = mlp(backbone.channels[-1], hidden, width)
        self.prototypes = nn.Parameter(normalize(torch.randn(prototypes, width), dim=-1))
        self.order = SliceOrder(backbone.channels[-1], order)
        self.register_buffer("queue", torch.zeros(LARGE, queue, width))
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))  # rows ever enqueued

    def training_step(self, batch: dict, step: int) -> StepOutput:
        several = rows(batch)
        check_several(several.image, "cannot be spread over prototypes")
        features, z = self(self.views(several))
        z = gathered(z.flatten(0, 1), views=len(z)).unflatten(0, (len(z), -1))
        codes = self.codes(z[:LARGE], step)
        self.enqueue(z[:LARGE])
        prototypes = self.prototypes.detach() if step < self.frozen_steps else self.prototypes
        loss = swapped_loss(cosines(z, prototypes), codes, self.temperature)
        order, logs = self.order(features[: LARGE * len(several.image)], several)
        logs = {"swapped": float(loss.detach()), **in_use(codes), **logs}
        return StepOutput(loss + order, logs)

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        self.prototypes.copy_(normalize(self.prototypes, dim=-1))

    def views(self, several: Rows) -> list[Tensor]:
        """Views (M, C, *size) of each box, the large ones first."""
        seeds = view_seeds(several.seed, len(self.cuts))
        return [
            self.augment(several.image, s, size=size, crop=share)
            for s, (size, share) in zip(seeds, self.cuts, strict=True)
        ]

    def forward(self, views: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Averages (V * M, channels) of the last level, and unit vectors (V, M, width), float32."""
        sizes = [group for group in (views[:LARGE], views[LARGE:]) if group]
        features = torch.cat([pool(self.backbone(torch.cat(group))[-1:]) for group in sizes])
        z = normalize(at_least_float32(self.head(features)), dim=-1)
        return features, z.view(len(views), -1, z.shape[-1])

    def codes(self, z: Tensor, step: int) -> Tensor:
        """Codes (2, M, prototypes) of the large views' embeddings (2, M, width), no gradient.

        Each view's are shared out among its own, and among its queue's from `queue_from` on.
        """
        kept = self.queue[:, : int(self.written) if step >= self.queue_from else 0]
        scores = cosines(torch.cat([z, kept], 1), self.prototypes)
        codes = [sinkhorn(of_view, self.eps, self.iterations) for of_view in scores]
        return torch.stack(codes)[:, : z.shape[1]]

    @torch.no_grad()
    def enqueue(self, z: Tensor) -> None:
        """The newest embeddings (2, M, width) replace the oldest; of too many the last stay."""
        n = self.queue.shape[1]
        if n:
            places = (self.written + torch.arange(z.shape[1], device=z.device)) % n
            self.queue[:, places[-n:]] = z[:, -n:].to(self.queue)
            self.written += z.shape[1]

    @torch.no_grad()
    def pictures(self, batch: dict, step: int) -> list[dict]:
        """How far predictions from first views overlap with codes of second ones.

        Samples whose codes share prototypes are not asked apart: these pairs are left out.
        """
        views = self.views(rows(batch))[:LARGE]
        _, z = self(views)
        codes = self.codes(z, step)[1]
        predicted = (cosines(z[0], self.prototypes) / self.temperature).softmax(-1)
        title = "Predicted prototypes of a view and the codes of another: overlap"
        picture = similarity_picture(*views, overlap(predicted, codes), title)[0]
        n = len(picture["rows"])
        asked = torch.where(overlap(codes, codes)[:n, :n] > 0.5, torch.nan, 0.0).fill_diagonal_(1)
        return [picture | {"asked": asked.cpu().numpy()}]


def half(size: tuple[int, ...], divisor: tuple[int, ...]) -> tuple[int, ...]:
    """The next size from half on that a backbone takes; `size` where half is a single place."""
    small = tuple(-(-s // (2 * d)) * d for s, d in zip(size, divisor, strict=True))
    return size if small == tuple(divisor) else small


def cosines(z: Tensor, prototypes: Tensor) -> Tensor:
    """Cosines (..., K) of unit vectors (..., D) and (K, D), in float32 under autocast too."""
    with torch.autocast(z.device.type, enabled=False):
        return z @ prototypes.T


def swapped_loss(scores: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of codes and predictions, over all pairs of a code's and another view.

    scores (V, M, K) cosines of V views, those that made the codes (G, M, K) first; a code is not
    predicted from its own view. Pairs count alike: G (V - 1) of them.
    """
    log = log_softmax(scores / temperature, -1)
    entropy = -(codes[:, None] * log).sum(-1).mean(-1)  # (G, V)
    other = ~torch.eye(*entropy.shape, dtype=torch.bool, device=scores.device)
    return entropy[other].mean()


def overlap(p: Tensor, q: Tensor) -> Tensor:
    """Bhattacharyya coefficients (n, m) of distributions (n, K) and (m, K): 1 equal, 0 disjoint."""
    return p.sqrt() @ q.sqrt().T


def in_use(codes: Tensor) -> dict[str, float]:
    """Perplexity of codes (G, M, K): `prototypes` of their mean, how many are in use; `code` of a
    single one, K if it says nothing. A collapsed network has both at K: Sinkhorn spreads by force."""
    return {
        "prototypes": float(perplexity(codes.mean((0, 1)))),
        "code": float(perplexity(codes).mean()),
    }
