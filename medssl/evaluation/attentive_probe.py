"""Does some place of a crop know what is asked? One learned query attends over the last level.

Attentive probing: Chen et al., "Context Autoencoder for Self-Supervised Representation Learning",
IJCV 2024; Bardes et al., "Revisiting Feature Prediction for Learning Visual Representations from
Video" (V-JEPA), TMLR 2024. With a single query, the key projection is part of the query and the
value projection part of the classifier, so that neither is a layer of its own here.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from medssl.evaluation.linear_probe import checked_features, standardised
from medssl.seeding import torch_generator

HEADS, STEPS, RATE, DECAY = 4, 300, 3e-2, 0.1


class AttentiveProbe(nn.Module):
    """Features (B, P, C) of P places to logits (B, classes)."""

    def __init__(self, channels: int, classes: int, seed: int = 0, heads: int = HEADS):
        super().__init__()
        draw = torch.randn(channels, heads, generator=torch_generator(seed, "attentive probe"))
        self.query = nn.Parameter(0.02 * draw)  # nearly an average over places to begin with
        self.scale = channels**-0.5
        self.classify = nn.Linear(channels * heads, classes)
        nn.init.zeros_(self.classify.weight)
        nn.init.zeros_(self.classify.bias)

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """`there` bool (B, P): which places a row has; none: all."""
        scores = self.scale * x @ self.query  # (B, P, heads)
        if there is not None:
            scores = scores.masked_fill(~there[..., None], -torch.inf)
        attention = scores.softmax(1)
        return self.classify((attention.transpose(1, 2) @ x).flatten(1))


def attentive_predict(
    train: Sequence[np.ndarray],
    labels: np.ndarray,
    test: Sequence[np.ndarray],
    seed: int = 0,
    device="cpu",
) -> np.ndarray:
    """Labels of `test` from `train`: a case is (P, C), of as many places as it has. Full batches of AdamW.

    Channels are standardised over cases and places of `train`. The same seed gives the same answer.
    Raises UserError without training features or for features that are not finite.
    """
    channels = (0, train[0].shape[1]) if len(train) else (0, 0)
    known, new = (np.concatenate([np.zeros(channels), *side]) for side in (train, test))
    known, new = checked_features(known, new, "attentive probe")
    names, number = np.unique(labels, return_inverse=True)
    if len(names) < 2 or not len(test):
        return np.full(len(test), names[0])
    (x, there), (asked, where) = (
        [t.to(device) for t in _padded(flat, [len(case) for case in side])]
        for flat, side in zip(standardised(known, new), (train, test), strict=True)
    )
    probe = AttentiveProbe(x.shape[-1], len(names), seed).to(device)
    optimiser = torch.optim.AdamW(probe.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    truth = torch.from_numpy(number).to(device)
    for _ in range(STEPS):
        optimiser.zero_grad()
        nn.functional.cross_entropy(probe(x, there), truth).backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        return names[probe(asked, where).argmax(1).cpu().numpy()]


def _padded(flat: np.ndarray, counts: list[int]) -> tuple[Tensor, Tensor]:
    """Rows of cases one behind the other as (cases, most places, C), and which of them are there."""
    there = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
    padded = torch.zeros(*there.shape, flat.shape[1])
    padded[there] = torch.from_numpy(flat)
    return padded, there


def places(level: Tensor, most: int = 4) -> Tensor:
    """The last level (B, C, *grid) as (B, P, C), averaged to at most `most` places along each axis."""
    grid = [min(n, most) for n in level.shape[2:]]
    pool = (
        nn.functional.adaptive_avg_pool3d if len(grid) == 3 else nn.functional.adaptive_avg_pool2d
    )
    return pool(level.float(), grid).flatten(2).transpose(1, 2)
