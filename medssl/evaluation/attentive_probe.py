"""Does some place of a crop know what is asked? One learned query attends over the last level.

Attentive probing: Chen et al., "Context Autoencoder for Self-Supervised Representation Learning",
IJCV 2024; Bardes et al., "Revisiting Feature Prediction for Learning Visual Representations from
Video" (V-JEPA), TMLR 2024. With a single query, the key projection is part of the query and the
value projection part of the classifier, so that neither is a layer of its own here.
"""

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

    def forward(self, x: Tensor) -> Tensor:
        attention = (self.scale * x @ self.query).softmax(1)  # (B, P, heads)
        return self.classify((attention.transpose(1, 2) @ x).flatten(1))


def attentive_predict(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, seed: int = 0, device="cpu"
) -> np.ndarray:
    """Labels of `test` (n, P, C) from `train` (m, P, C), by full batches of AdamW.

    Channels are standardised over rows and places of `train`. The same seed gives the same answer.
    Raises UserError without training features or for features that are not finite.
    """
    train, test = checked_features(train, test, "attentive probe")
    names, number = np.unique(labels, return_inverse=True)
    if len(names) < 2 or not len(test):
        return np.full(len(test), names[0])
    x, asked = (torch.from_numpy(a).to(device) for a in standardised(train, test))
    probe = AttentiveProbe(x.shape[-1], len(names), seed).to(device)
    optimiser = torch.optim.AdamW(probe.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    truth = torch.from_numpy(number).to(device)
    for _ in range(STEPS):
        optimiser.zero_grad()
        nn.functional.cross_entropy(probe(x), truth).backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        return names[probe(asked).argmax(1).cpu().numpy()]


def places(level: Tensor, most: int = 4) -> Tensor:
    """The last level (B, C, *grid) as (B, P, C), averaged to at most `most` places along each axis."""
    grid = [min(n, most) for n in level.shape[2:]]
    pool = (
        nn.functional.adaptive_avg_pool3d if len(grid) == 3 else nn.functional.adaptive_avg_pool2d
    )
    return pool(level.float(), grid).flatten(2).transpose(1, 2)
