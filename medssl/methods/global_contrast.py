"""Global contrast: an image at the same height of another scan is no negative, or is a positive.

Chaitanya, Erdil, Karani, Konukoglu, "Contrastive learning of global and local features for medical
image segmentation with limited annotations", NeurIPS 2020, the global loss. Scans of one anatomy are
roughly aligned: each is cut along its slice axis into S partitions, and gives one slice (or, in 3D,
one box) of each. Departures: the head sees averages of the last level, not the flattened level;
views are random resized crops of a random share, not of a fixed window. The published code differs
from the paper where this does not: there the two scans of G^D may be the same one, and its batch is
partly black images. In 3D take boxes no deeper than a partition, or neighbours look alike.
"""

from collections.abc import Callable
from itertools import combinations
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from medssl.backbones.base import pool
from medssl.config import Count
from medssl.data.crops import CropSpec
from medssl.errors import UserError
from medssl.methods.base import checked_size
from medssl.methods.parts.boxes import checked_share
from medssl.methods.parts.contrast import cosines
from medssl.methods.parts.order import Rows, rows
from medssl.methods.parts.views import view_seeds
from medssl.ranks import gathered
from medssl.trainable import StepOutput

# Form: whether the image as it was read is compared too, and how many varied views are.
VIEWS = {"distinct": (True, 2), "random": (False, 2), "positive": (True, 1)}


class GlobalContrast(nn.Module):
    """Images of a batch are told apart by a projection of the encoder's last level.

    `form` is the paper's G^D- ("distinct": what lies in the same partition, of whichever scan, is no
    negative), G^R ("random": all other images are negatives, as in SimCLR) or G^D ("positive": as
    G^D-, and the same partition of another scan is a positive besides).
    """

    def __init__(
        self, backbone: nn.Module, augment: Callable[..., Tensor], *,
        size: Annotated[list[Count], "voxels of a box; two values over volumes: axial slices"],
        parts: Annotated[Count, "partitions S of a scan along its slice axis, 2 or more"] = 4,
        form: Annotated[
            Literal["distinct", "random", "positive"],
            "G^D- (same partition is no negative), G^R (SimCLR), G^D (is a positive)",
        ] = "distinct",
        temperature: Annotated[float, Field(gt=0), "cosines are divided by it"] = 0.1,
        crop: Annotated[list[float], "least and greatest share of a box that a view keeps"] = (0.3, 1.0),
        hidden: Annotated[Count, "hidden channels of the projection"] = 1024,
        width: Annotated[Count, "channels of the projection"] = 128,
    ):  # fmt: skip
        super().__init__()
        if parts < 2:
            raise UserError(
                "CONFIG", "method.parts", "one partition leaves nothing that differs in height",
                "use 2 or more, 4 as published",
            )  # fmt: skip
        self.backbone, self.augment = backbone, augment
        self.size = checked_size(size, backbone, "method.size")
        self.crops = CropSpec(self.size, parts=parts)
        self.form, self.temperature, self.share = form, temperature, checked_share(crop)
        self.head = nn.Sequential(
            nn.Linear(backbone.channels[-1], hidden, bias=False),
            nn.ReLU(),
            nn.Linear(hidden, width, bias=False),
        )

    def training_step(self, batch: dict, step: int) -> StepOutput:
        z, pairs, negatives, _ = self._compared(batch)
        loss = contrast(z, pairs, negatives, self.temperature)
        with torch.no_grad():
            cosine = cosines(z, z)
            a, b = torch.cat([pairs, pairs.flip(1)]).T
            hardest = cosine.masked_fill(~negatives, -torch.inf).amax(1)
            logs = {
                "positive": float(cosine[a, b].mean()),
                "negative": float(cosine[negatives].mean()),
                "found": float((cosine[a, b] > hardest[a]).float().mean()),
            }
        return StepOutput(loss, logs)

    def after_step(self, step: int) -> None:
        pass

    def forward(self, image: Tensor) -> Tensor:
        """Projections (M, width) of images (M, C, *size)."""
        return self.head(pool(self.backbone(image)[-1:]))

    def _compared(self, batch: dict) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Projections (V * M, width) of V views of the M = B * S boxes of all ranks, all boxes of the
        first view in front; positive pairs (P, 2) and negatives (V * M, V * M) of these rows; the
        views of this rank's boxes."""
        boxes = rows(batch)
        images = self._views(boxes)
        views = len(images) // len(boxes.image)
        batch = {name: gathered(batch[name]) for name in ("part", "seed")}
        part = batch["part"].flatten()
        if self.form == "random":
            part = torch.arange(len(part), device=part.device)  # every box is a class of its own
        negatives = part.repeat(views)[:, None] != part.repeat(views)
        pairs = self._pairs(batch, gathered(boxes.item), views)
        return gathered(self(images), views), pairs, negatives, images

    def _views(self, boxes: Rows) -> Tensor:
        as_read, varied = VIEWS[self.form]
        views = [boxes.image] if as_read else []
        for seeds in view_seeds(boxes.seed, varied):
            views.append(self.augment(boxes.image, seeds, crop=self.share))
        return torch.cat(views)

    def _pairs(self, batch: dict, item: Tensor, views: int) -> Tensor:
        """Rows (P, 2) that show the same; item (B * S,)."""
        (b, s), seed = batch["part"].shape, batch["seed"]
        box, item = torch.arange(b * s, device=seed.device).view(b, s), item.view(b, s)[:, 0]
        if self.form == "positive":  # box x_i with its view a_i, x_j of another scan with a_j
            i, j = box.flatten(), box[others(item, seed, 1)[:, 0]].flatten()
            pairs = [(i, i + b * s), (j, j + b * s), (i, j), (i + b * s, j + b * s)]
        else:
            rows_of = [box.flatten() + view * b * s for view in range(views)]
            pairs = list(combinations(rows_of, 2))
        return torch.cat([torch.stack(pair, 1) for pair in pairs])

    @torch.no_grad()
    def pictures(self, batch: dict, step: int) -> list[dict]:
        """How alike the boxes of the first two scans are to their views, partition by partition."""
        z, pairs, negatives, images = self._compared(batch)
        asked = torch.full(negatives.shape, torch.nan, device=z.device)
        asked[negatives] = 0
        asked[pairs[:, 0], pairs[:, 1]] = asked[pairs[:, 1], pairs[:, 0]] = 1
        b, s = batch["part"].shape
        shown = min(b, 2) * s
        of_all = len(z) // (len(images) // (b * s))  # boxes of all ranks, this one's in front
        compared = (slice(0, shown), slice(of_all, of_all + shown))
        return [
            {
                "kind": "similarity",
                "rows": [image[0].cpu().numpy() for image in images[:shown]],
                "columns": [image[0].cpu().numpy() for image in images[b * s : b * s + shown]],
                "values": cosines(z, z)[compared].cpu().numpy(),
                "asked": asked[compared].cpu().numpy(),
                "title": "cosine of boxes, one of each partition, in two views",
            }
        ]


def others(item: Tensor, seed: Tensor, n: int) -> Tensor:
    """For each sample (B,) the places (B, n) of the next `n` other scans of the batch, in the order of
    the samples' seeds (B,), round it: how the batch itself is ordered changes no pair.

    item int64 (B,), which scan a sample is of: a scan that occurs twice is never its own other.
    Raises UserError when the batch holds fewer than n other scans.
    """
    items, order = item.tolist(), seed.argsort(stable=True).tolist()
    found: dict[int, list[int]] = {}
    for rank, place in enumerate(order):
        following: dict[int, int] = {}
        for other in [*order[rank + 1 :], *order[:rank]]:
            if items[other] != items[place]:
                following.setdefault(items[other], other)
        if len(following) < n:
            raise UserError(
                "CONFIG", "fit.batch_size",
                f"a batch of {len(items)} holds {1 + len(following)} different scans, and this form "
                f"compares a scan with {n} other",
                f"use fit.batch_size={2 * n + 1} or more, and {n + 1} scans at least",
            )  # fmt: skip
        found[place] = list(following.values())[:n]
    return torch.tensor([found[place] for place in range(len(items))], device=item.device)


def contrast(embeddings: Tensor, pairs: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """1/|P| sum over positive pairs (a, b) of l(a, b) + l(b, a), with s = cosine / temperature and

        l(a, b) = -log( e^s_ab / (e^s_ab + sum_{n in negatives of a} e^s_an) )

    embeddings (N, D), of any norm; pairs int64 (P, 2), rows that show the same; negatives bool
    (N, N), row a True at the negatives of a, one at least. 2 log(1 + |negatives|) if all are alike.
    """
    s = cosines(embeddings, embeddings) / temperature
    log_sum = s.masked_fill(~negatives, -torch.inf).logsumexp(1)
    a, b = torch.cat([pairs, pairs.flip(1)]).T
    return softplus(log_sum[a] - s[a, b]).sum() / len(pairs)
