"""Projection and prediction heads."""

from torch import nn


def mlp(
    inputs: int, hidden: int, outputs: int, layers: int = 2, last_norm: bool = False
) -> nn.Sequential:
    """`layers` linear layers, BatchNorm and ReLU between them; features (M, inputs) to (M, outputs).

    With `last_norm`, a BatchNorm without affine at the end, as SimCLR v1's and BYOL's followers have.
    """
    parts: list[nn.Module] = []
    for layer in range(layers - 1):
        parts += [
            nn.Linear(hidden if layer else inputs, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
        ]
    parts.append(nn.Linear(hidden if layers > 1 else inputs, outputs))
    if last_norm:
        parts.append(nn.BatchNorm1d(outputs, affine=False))
    return nn.Sequential(*parts)
