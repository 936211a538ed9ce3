"""Soft assignments that use every prototype alike.

Cuturi, "Sinkhorn Distances", NeurIPS 2013, with few iterations as in Caron et al., NeurIPS 2020.
"""

import torch
from torch import Tensor


@torch.no_grad()
def sinkhorn(scores: Tensor, eps: float = 0.05, iterations: int = 3) -> Tensor:
    """Codes (N, K) of scores (N, K): every row sums to 1, every column to N / K as near as the
    iterations bring it.

    exp(scores / eps) with columns and rows scaled in turn, rows last. Computed as logarithms in
    float32 (or finer, where the scores are), so that no score is too large. `eps`, above 0: the
    smaller, the nearer a code to one-hot. No gradient.
    """
    log = scores.to(torch.promote_types(scores.dtype, torch.float32)) / eps
    for _ in range(iterations):
        log = log - log.logsumexp(0, keepdim=True)
        log = log - log.logsumexp(1, keepdim=True)
    return log.exp()


def perplexity(share: Tensor) -> Tensor:
    """exp of the entropy of distributions (..., K): 1 if one-hot, K if uniform."""
    return torch.special.entr(share).sum(-1).exp()
