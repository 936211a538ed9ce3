import torch
from torch import nn

from medssl.methods.parts.heads import mlp


def test_layers_shapes_and_norms():
    head = mlp(6, 8, 4, layers=3)
    kinds = [type(part) for part in head]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear]
    assert head(torch.randn(5, 6)).shape == (5, 4)
    assert mlp(6, 8, 4, layers=1)[0].in_features == 6
