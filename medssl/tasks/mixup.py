"""Mixup: train on sums of two samples of a batch, with labels summed alike.

Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018.
"""

import torch
from torch import Tensor

from medssl.seeding import generator


def shares(seeds: Tensor, alpha: float) -> Tensor:
    """How much of itself each sample keeps: (B,) from Beta(alpha, alpha), by the samples' seeds."""
    drawn = [generator(seed, "mixup").beta(alpha, alpha) for seed in seeds.tolist()]
    return torch.tensor(drawn, dtype=torch.float32, device=seeds.device)


def other(x: Tensor) -> Tensor:
    """What each sample of a batch (B, ...) is mixed with: the next one, the last with the first."""
    return x.roll(-1, 0)


def mixed(x: Tensor, share: Tensor) -> Tensor:
    """share x + (1 - share) other(x), for x float (B, ...) and share (B,)."""
    share = share.to(x).view(-1, *[1] * (x.ndim - 1))
    return share * x + (1 - share) * other(x)
