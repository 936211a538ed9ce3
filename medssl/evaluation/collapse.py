"""Is a representation still alive? Figures that fall when it collapses to a point or a line."""

import torch
from torch import Tensor


def health(features: Tensor) -> dict[str, float]:
    """Of features (n, d), n at least 2; empty dict for fewer, NaN where features are not finite.

    spread  mean over dimensions of the standard deviation of unit vectors times sqrt(d): 0 when
            collapsed to a point, 1 for directions drawn at random; features that are never
            negative, as a convnet's averages, share a direction and lie far below 1
    rank    effective rank, exp(entropy of the normalised singular values) of the centred features:
            1 for a line, at most d; Garrido et al., "RankMe", ICML 2023, who do not centre
    """
    if len(features) < 2:
        return {}
    x = features.detach().float().cpu()
    if not torch.isfinite(x).all():
        return {"spread": float("nan"), "rank": float("nan")}
    unit = torch.nn.functional.normalize(x, dim=1)
    spread = unit.std(0).mean() * x.shape[1] ** 0.5
    values = torch.linalg.svdvals(x - x.mean(0))
    p = values / values.sum().clamp(min=1e-12)
    rank = torch.exp(-(p * torch.log(p.clamp(min=1e-12))).sum())
    return {"spread": float(spread), "rank": float(rank)}
