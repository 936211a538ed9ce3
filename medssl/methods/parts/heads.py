"""Projection and prediction heads."""

from torch import nn


def mlp(inputs: int, hidden: int, outputs: int, layers: int = 2) -> nn.Sequential:
    """`layers` linear layers, BatchNorm and ReLU between them; features (M, inputs) to (M, outputs)."""
    parts: list[nn.Module] = []
    for layer in range(layers - 1):
        parts += [
            nn.Linear(hidden if layer else inputs, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
        ]
    parts.append(nn.Linear(hidden if layers > 1 else inputs, outputs))
    return nn.Sequential(*parts)
