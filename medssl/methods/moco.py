"""MoCo v2: a view is told from a long queue of earlier ones by a momentum encoder.

He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020; Chen, Fan,
Girshick, He, "Improved Baselines with Momentum Contrastive Learning", 2020. Departures:
- The queue starts empty instead of full of random vectors, against which a collapsed encoder would do
  well. Only what is in it counts, and stands for all of it, so that losses compare from the first
  step on: a collapsed encoder pays log(1 + queue). So that the first steps have negatives, and
  because batches of volumes are small, the keys of the batch's other boxes are negatives too
  (`batch_negatives`).
- An earlier key of the same scan is no negative: archives are far smaller than ImageNet, and it may
  show the very same place. (Boxes read together show different places, and are, as in SimCLR.)
- No shuffling of BatchNorm: it works across devices. Query and key go through different passes and
  networks; negatives from the key's own batch share its statistics, which so give nothing away;
  and the head has no norm, as published. A backbone without BatchNorm has no such leak at all.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from medssl.backbones.base import pool
from medssl.config import Count, Share
from medssl.methods.base import checked_size
from medssl.methods.parts.boxes import boxes, checked_share
from medssl.methods.parts.contrast import (
    checked_temperature,
    cosines,
    share_nearest,
    similarity_picture,
)
from medssl.methods.parts.order import Rows, SliceOrder, rows
from medssl.methods.parts.teacher import follow, teacher_of
from medssl.methods.parts.views import view_seeds
from medssl.ranks import gathered
from medssl.trainable import StepOutput

EMPTY = -1


class MoCo(nn.Module):
    """The query is trained; keys come from the teacher, which follows, and stay in the queue."""

    def __init__(
        self, backbone: nn.Module, augment: Callable[..., Tensor], *,
        size: Annotated[list[Count], "voxels of a view"],
        read: Annotated[list[Count] | None, "voxels of the box that views are cut from; none: size"] = None,
        crop: Annotated[list[Share], "least and greatest share of the box that a view keeps"] = (0.3, 1.0),
        whole: Annotated[bool, "resize the whole scan to the box, instead of cropping it"] = False,
        temperature: Annotated[float, "divides the cosines, above 0; usual 0.07 to 0.2"] = 0.2,
        momentum: Annotated[Share, "of the teacher, 0..1"] = 0.999,
        queue: Annotated[Count, "keys kept as negatives"] = 4096,
        batch_negatives: Annotated[bool, "keys of the batch's other boxes are negatives too"] = True,
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
        self.momentum, self.batch_negatives = momentum, batch_negatives
        inputs = backbone.channels[-1]
        self.head = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.order = SliceOrder(inputs, order)
        self.teacher = teacher_of(self.student())
        self.register_buffer("queue", torch.zeros(queue, width))
        self.register_buffer("scans", torch.full((queue,), EMPTY))  # whose keys they are
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))  # keys ever enqueued

    def student(self) -> nn.ModuleList:
        return nn.ModuleList([self.backbone, self.head])

    def training_step(self, batch: dict, step: int) -> StepOutput:
        several = rows(batch)
        first, second = self.views(several)
        features = pool(self.backbone(first)[-1:])
        keys, scans = gathered(self.keys(second)), gathered(several.item)
        loss, matched = moco_loss(
            gathered(self.head(features)), keys, self.queue, self.negatives(scans),
            self.batch_negatives, self.temperature,
        )  # fmt: skip
        self.enqueue(keys, scans)
        order, logs = self.order(features, several)
        filled = float((self.scans != EMPTY).float().mean())
        return StepOutput(loss + order, {"matched": float(matched), "queue": filled, **logs})

    def after_step(self, step: int) -> None:
        follow(self.teacher, self.student(), self.momentum)

    def views(self, several: Rows) -> list[Tensor]:
        """Two views (M, C, *size) of each box."""
        seeds = view_seeds(several.seed, 2)
        return [self.augment(several.image, s, size=self.size, crop=self.crop_share) for s in seeds]

    @torch.no_grad()
    def keys(self, view: Tensor) -> Tensor:
        """Unit vectors (M, width) of the teacher, float32."""
        backbone, head = self.teacher
        return normalize(head(pool(backbone(view)[-1:])).float(), dim=-1)

    def negatives(self, scans: Tensor) -> Tensor:
        """Bool (M, queue): which places of the queue hold a key, and one of another scan than (M,)."""
        return (self.scans != EMPTY) & (self.scans != scans[:, None])

    @torch.no_grad()
    def enqueue(self, keys: Tensor, scans: Tensor) -> None:
        """The newest keys replace the oldest; of more than the queue holds, the last stay."""
        n = len(self.queue)
        places = (self.written + torch.arange(len(keys), device=keys.device)) % n
        self.queue.index_copy_(
            0, places[-n:], keys[-n:].to(self.queue)
        )  # the loss was taken of a copy
        self.scans.index_copy_(0, places[-n:], scans[-n:])
        self.written += len(keys)

    @torch.no_grad()
    def pictures(self, batch: dict, step: int) -> list[dict]:
        """Queries beside keys, and how alike they are held to be."""
        first, second = self.views(rows(batch))
        queries = self.head(pool(self.backbone(first)[-1:]))
        return similarity_picture(
            first, second, cosines(queries, self.keys(second)), "Cosine of query and key of a crop"
        )


def moco_loss(
    queries: Tensor, keys: Tensor, queue: Tensor, negatives: Tensor, batch_negatives: bool,
    temperature: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """InfoNCE of queries (M, D) of any length, and the share nearest to their key; in float32.

    -log(e^(q k / t) / (e^(q k / t) + K / N * sum over the N negatives of e^(q n / t))), the mean over
    queries. Negatives n are the vectors of the queue (K, D) that `negatives` (M, K) allows and, with
    batch_negatives, the other keys (M, D); those of a full queue count as they are (K = N). 0 where
    there is none, log(1 + K) where all cosines are equal. Keys and queue, unit vectors, take no
    gradient.
    """
    with torch.autocast(queries.device.type, enabled=False):
        q, keys = normalize(queries.float(), dim=-1), keys.detach().float()
        logits = q @ torch.cat([keys, queue.float()]).T / temperature
    own = torch.eye(len(q), dtype=torch.bool, device=q.device)
    others = ~own if batch_negatives else torch.zeros_like(own)
    counted = torch.cat([others, negatives], 1)
    each = (len(queue) / counted.sum(1, keepdim=True).clamp(min=1)).log()
    positive = torch.arange(len(q), device=q.device)
    kept = counted | torch.cat([own, torch.zeros_like(negatives)], 1)
    logits = logits.masked_fill(~kept, -torch.inf)
    return cross_entropy(logits + each * counted, positive), share_nearest(logits, positive)
