"""Is a representation still alive? Figures that fall when it collapses to a point or a line."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from medssl.evaluation.probe import knn_predict

DEAD = 1e-3
# What `alarm` calls collapsed, as shares of what the untrained network had. Of the small networks in
# the tests, collapsed ones had at most 0.08 of the spread or 0.004 of the variance across a line;
# contrastive and supervised ones rose in spread, and kept 0.24 of that variance and 0.1 of the rank.
# On 39 heads, MAE after 20 steps had 0.4 of the spread and was on its way up again.
POINT, NARROW, ALONG, BLIND = 0.1, 0.05, 0.02, 0.2
SEEN = 0.3  # k-NN this far above chance before training has something to lose
LOUD = 1e3  # growth of the features' length


def health(features: Tensor) -> dict[str, float]:
    """Of features (n, d), n at least 2; empty dict for fewer, NaN where features are not finite.

    spread  mean over dimensions of the standard deviation of unit vectors times sqrt(d): 0 when
            collapsed to a point, 1 for directions drawn at random; features that are never
            negative, as a convnet's averages, share a direction and lie far below 1
    rank    effective rank, exp(entropy of the normalised singular values) of the centred features:
            1 for a line, at most min(n - 1, d)
    rankme  the same without centring, as published: Garrido et al., "RankMe: Assessing the
            Downstream Performance of Pretrained Self-Supervised Representations by Their Rank",
            ICML 2023. A shared direction counts as one large value and holds it near 1
    line    share 0..1 of the variance that lies along one direction: 1 for a line
    dead    share 0..1 of the dimensions whose standard deviation is below a thousandth of the root
            mean square over dimensions (the median would be dead itself once half of them are)
    norm    median length of the features
    """
    if len(features) < 2:
        return {}
    x = features.detach().cpu().double()
    if not torch.isfinite(x).all():
        return dict.fromkeys(("spread", "rank", "rankme", "line", "dead", "norm"), float("nan"))
    spread = normalize(x, dim=1).std(0).mean() * x.shape[1] ** 0.5
    deviation = x.std(0)
    dead = deviation <= DEAD * deviation.square().mean().sqrt()
    values = torch.linalg.svdvals(x - x.mean(0))
    energy = values.square()
    found = {
        "spread": spread,
        "rank": effective_rank(values),
        "rankme": effective_rank(torch.linalg.svdvals(x)),
        "line": energy[0] / energy.sum().clamp(min=torch.finfo(energy.dtype).tiny),
        "dead": dead.double().mean(),
        "norm": x.norm(dim=1).median(),
    }
    return {name: float(value) for name, value in found.items()}


def effective_rank(values: Tensor) -> Tensor:
    """exp(entropy) of singular values scaled to sum 1; 1 where all are zero."""
    p = values / values.sum().clamp(min=1e-300)
    return torch.exp(-torch.special.xlogy(p, p).sum())


def alignment(first: Tensor, second: Tensor) -> float:
    """Mean squared distance, 0..4, of the unit vectors of two views (n, d) of the same samples.

    0 when views of a sample agree, and also when everything is one point. Wang and Isola,
    "Understanding Contrastive Representation Learning through Alignment and Uniformity on the
    Hypersphere", ICML 2020, with their exponent 2.
    """
    first, second = (normalize(x.detach().float(), dim=1) for x in (first, second))
    return float((first - second).square().sum(1).mean())


def uniformity(features: Tensor) -> float:
    """log of the mean of exp(-2 |x - y|^2) over pairs of different unit vectors of (n, d).

    0 when all are one point, down to about -4 when spread evenly over a sphere of many dimensions
    (there |x - y|^2 is near 2). Wang and Isola, ICML 2020, with their t = 2. NaN for n below 2.
    """
    if len(features) < 2:
        return float("nan")
    distances = torch.pdist(normalize(features.detach().float(), dim=1)).square()
    return float(distances.mul(-2).exp().mean().log())


def agreement(first: Tensor, second: Tensor) -> dict[str, float]:
    """`alignment` of two views (n, d), and their `uniformity`, the mean of both views'."""
    even = (uniformity(first) + uniformity(second)) / 2
    return {"alignment": alignment(first, second), "uniformity": even}


def knn_known(
    features: Tensor, known: dict[str, list], groups: list, k: int = 5
) -> dict[str, float]:
    """How well neighbours of other patients tell what is known without labels.

    features  (n, d)
    known     by name, a value a sample: `{"position": quarters(places), "modality": [...]}`; a
              sample whose value is None or "" is left out
    groups    the patient of every sample, whose own samples are never its neighbours

    Gives `knn_<name>`, the share of right answers 0..1, and `chance_<name>`, the share of the most
    frequent value. Names with one value, or one patient, are left out; NaN for features that are
    not finite.
    """
    x, groups = features.detach().float().cpu().numpy(), np.asarray(groups)
    found = {}
    for name, values in known.items():
        there = np.array([v is not None and v != "" for v in values], bool)
        values = np.array([str(v) for v in values])[there]
        names, number = np.unique(values, return_inverse=True)
        if len(names) < 2 or len(np.unique(groups[there])) < 2:
            continue
        found[f"knn_{name}"] = _left_out(x[there], number, groups[there], k)
        found[f"chance_{name}"] = float(np.bincount(number).max() / len(number))
    return found


def quarters(places) -> list[int]:
    """0 to 3 from places along an axis given as shares 0..1."""
    return [min(int(4 * float(p)), 3) for p in places]


def _left_out(x: np.ndarray, labels: np.ndarray, groups: np.ndarray, k: int) -> float:
    if not np.isfinite(x).all():
        return float("nan")
    right = np.zeros(len(x))
    for group in np.unique(groups):
        asked = groups == group
        right[asked] = knn_predict(x[~asked], labels[~asked], x[asked], k) == labels[asked]
    return float(right.mean())


def alarm(history: list[dict[str, float]]) -> str:
    """What has collapsed since the first measurement, and what to try; "" for nothing.

    history  what `health`, and where they are logged `knn_known`, gave, oldest first; the first
             from the untrained network. Figures are compared with the run's own first ones, as
             networks differ by far more than training changes them.

    A network that is trained to a few classes does narrow its features; to be called a line they
    must have lost nearly all of what they had.
    """
    if len(history) < 2:
        return ""
    seen = next(
        filter(None, (look(history) for look in (_diverged, _point, _line, _dead, _blind))), ""
    )
    return f"{seen}; {WAYS_OUT}" if seen else ""


WAYS_OUT = (
    "try a lower optim.lr, a longer optim.warmup, a larger fit.batch_size; look at pictures/ whether "
    "augment.* leaves something to see, and at `medssl qc` for duplicates"
)


def _diverged(history: list[dict]) -> str:
    first, last = history[0].get("norm", np.nan), history[-1].get("norm", 0.0)
    if any(np.isnan(v) for k, v in history[-1].items() if not k.startswith("chance_")):
        return "features are not finite numbers: training has diverged"
    if last > LOUD * first:
        return f"features have grown from a length of {first:.3g} to {last:.3g}: training diverges"
    return ""


def _point(history: list[dict]) -> str:
    first, last = (h.get("spread", np.nan) for h in (history[0], history[-1]))
    if last < POINT * first:
        return (
            f"features of all scans are nearly one point: spread {last:.2g}, untrained {first:.2g}"
        )
    return ""


def _line(history: list[dict]) -> str:
    first, last = history[0], history[-1]
    ranks = [h.get("rank", np.nan) for h in (first, last)]
    across = [1 - h.get("line", np.nan) for h in (first, last)]
    if ranks[1] - 1 < NARROW * (ranks[0] - 1) or across[1] < ALONG * across[0]:
        return (
            f"features lie on a line, or nearly: effective rank {ranks[1]:.1f}, untrained "
            f"{ranks[0]:.1f}; {1 - across[1]:.1%} of their variance is along one direction"
        )
    return ""


def _dead(history: list[dict]) -> str:
    first, last = (h.get("dead", np.nan) for h in (history[0], history[-1]))
    if last > 0.5 and last > first + 0.25:
        return f"{last:.0%} of the features' dimensions no longer vary, untrained {first:.0%}"
    return ""


def _blind(history: list[dict]) -> str:
    """Three times in a row: with few watched samples, once or twice may be luck."""
    for key, start in history[0].items():
        if not key.startswith("knn_"):
            continue
        name = key.removeprefix("knn_")
        chance = history[0].get(f"chance_{name}", np.nan)
        later = [h.get(key, np.nan) for h in history[1:]][-3:]
        if start - chance < SEEN or len(later) < 3:
            continue
        if all(v - chance < BLIND * (start - chance) for v in later):
            return (
                f"neighbours no longer tell {name}: {later[-1]:.2f} right, untrained {start:.2f}, "
                f"chance {chance:.2f}"
            )
    return ""
