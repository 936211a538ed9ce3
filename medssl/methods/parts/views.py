"""Several views of one sample."""

import torch
from torch import Tensor

from medssl.seeding import key


def view_seeds(seeds: Tensor, n: int) -> Tensor:
    """Seeds (n, B) of n views of each sample, a function of the sample's own seed (B,) alone."""
    drawn = [[key(seed, "view", view) for seed in seeds.tolist()] for view in range(n)]
    return torch.tensor(drawn, dtype=torch.int64, device=seeds.device)
