"""Attention over instances: which slices of a volume, or places of a map, an answer rests on."""

import torch
from torch import Tensor, nn


class AttentionPool(nn.Module):
    """A weighted mean of instances (B, n, features) to (B, features), weights learnt from them.

    Gated attention of Ilse, Tomczak, Welling, "Attention-based Deep Multiple Instance Learning", ICML
    2018.
    """

    def __init__(self, features: int, hidden: int = 64):
        super().__init__()
        self.content, self.gate = nn.Linear(features, hidden), nn.Linear(features, hidden)
        self.weight = nn.Linear(hidden, 1)

    def shares(self, instances: Tensor) -> Tensor:
        """How much each instance counts: (B, n), adding up to 1."""
        found = self.weight(self.content(instances).tanh() * self.gate(instances).sigmoid())
        return found[..., 0].softmax(1)

    def forward(self, instances: Tensor) -> Tensor:
        return torch.einsum("bn,bnf->bf", self.shares(instances), instances)
