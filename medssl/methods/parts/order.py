"""Slice order: a score that rises along the body axis within a scan, learned from pairs of boxes.

Burges et al., "Learning to Rank using Gradient Descent", ICML 2005, with the box that lies higher as
the one to be ranked first. A term beside a method's own, for methods that read one box from each of
several partitions of a scan; it asks for what a contrast between scans cannot: where in the body.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from medssl.seeding import key


class Rows(NamedTuple):
    """A batch with one box a row, whether a scan was read as one box or as several.

    image float32 (M, C, *size); seed int64 (M,), different for every box; sample int64 (M,), the
    sample of the batch that a box was read from; place float32 (M,), where its centre lies along
    the slice axis, 0..1, or None where the batch does not say; item int64 (M,), the scan's number in
    the loader, or the sample's seed where the batch has no such number.
    """

    image: Tensor
    seed: Tensor
    sample: Tensor
    place: Tensor | None
    item: Tensor


def rows(batch: dict) -> Rows:
    """Rows of a batch: (B, C, *size) as it is, or (B, S, C, *size) with the S boxes of the first scan
    in front. A box's seed follows from its sample's seed and its partition."""
    image, seed = batch["image"], batch["seed"]
    item = batch.get("item", seed)
    sample = torch.arange(len(seed), device=seed.device)
    if "place" not in batch:
        return Rows(image, seed, sample, None, item)
    s = image.shape[1]
    seeds = [key(value, "box", part) for value in seed.tolist() for part in range(s)]
    return Rows(
        image.flatten(0, 1),
        torch.tensor(seeds, dtype=torch.int64, device=seed.device),
        sample.repeat_interleave(s),
        batch["place"].flatten(),
        item.repeat_interleave(s),
    )


class SliceOrder(nn.Module):
    """A linear score of each box. With weight 0 it has no weights and adds nothing."""

    def __init__(self, width: int, weight: float):
        super().__init__()
        self.weight = weight
        # No bias: it would cancel in every difference.
        self.score = nn.Linear(width, 1, bias=False) if weight else None

    def forward(self, features: Tensor, boxes: Rows) -> tuple[Tensor | float, dict[str, float]]:
        """The weighted term and its figures, of features (V * M, width) of V views of M boxes, all
        boxes of the first view in front. `ordered`: share of pairs in the right order (chance 0.5).
        """
        if self.score is None:
            return 0.0, {}
        views = len(features) // len(boxes.image)
        score = self.score(features)[:, 0]
        loss, right = order_loss(score, boxes.place.repeat(views), boxes.sample.repeat(views))
        return self.weight * loss, {"order": float(loss.detach()), "ordered": float(right)}


def order_loss(score: Tensor, place: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of -log sigmoid(score_upper - score_lower), and the share of pairs with a rising score.

    Over all pairs (n x n) of boxes of the same sample at different places; score, place, sample (n,).
    log 2 where all scores are equal. 0, and a share of 0, where there is no pair.
    """
    upper = (sample[:, None] == sample) & (place[:, None] > place)
    rise = score.float()[:, None] - score.float()
    pairs = upper.sum().clamp(min=1)
    return (softplus(-rise) * upper).sum() / pairs, ((rise > 0) & upper).sum() / pairs
