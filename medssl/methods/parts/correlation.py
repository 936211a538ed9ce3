"""Matrices of dimensions against dimensions, over the samples of a batch."""

import torch
from torch import Tensor


def correlation(z1: Tensor, z2: Tensor) -> Tensor:
    """z1^T z2 / B (D, D) of embeddings (B, D), in float32 at least, under autocast too."""
    with torch.autocast(z1.device.type, enabled=False):
        return at_least_float32(z1).T @ at_least_float32(z2) / len(z1)


def off_diagonal(matrix: Tensor) -> Tensor:
    """The D (D - 1) entries of a (D, D) matrix that are not on its diagonal."""
    return matrix[~torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)]


def at_least_float32(z: Tensor) -> Tensor:
    return z.to(torch.promote_types(z.dtype, torch.float32))
