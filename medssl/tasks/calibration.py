"""How sure an answer may be, fitted on validation cases: a temperature for its probabilities (Guo et al., "On
Calibration of Modern Neural Networks", ICML 2017) and thresholds that balance sensitivity and specificity.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

FEWEST = 10  # validation cases under which nothing is fitted to them
COLDEST, HOTTEST = 0.2, 10.0


def surprise(truth: np.ndarray):
    """The cost of probabilities (n, classes) where class numbers (n,) are true: mean -log."""
    return lambda p: -np.log(p[range(len(p)), truth]).mean()


def fit_temperature(answer: nn.Module, logits: list[Tensor], cost) -> None:
    """Set `answer.temperature` to what makes `cost` (of scores (n, k)) least; 1 for few cases."""
    answer.temperature.fill_(1.0)
    if len(logits) < FEWEST:
        return

    def at(log_t: float) -> float:
        answer.temperature.fill_(float(np.exp(log_t)))
        p = np.stack([answer.scores(each) for each in logits]).astype(float)
        return float(cost(p.clip(1e-7, 1 - 1e-7)))

    ends = np.log([COLDEST, HOTTEST])
    found = minimize_scalar(at, bounds=ends, method="bounded", options={"xatol": 0.01})
    answer.temperature.fill_(float(np.exp(found.x)) if found.fun < at(0.0) else 1.0)


def best_threshold(p: np.ndarray, there: np.ndarray) -> float:
    """Where sensitivity and specificity together are largest, next to 0.5 among equals; 0.5 for few
    cases or one class."""
    if len(p) < FEWEST or there.all() or not there.any():
        return 0.5
    values = np.unique(p)
    places = np.unique(np.concatenate([[0.5], (values[1:] + values[:-1]) / 2]))
    above = p[None] >= places[:, None]
    gain = above[:, there].mean(1) - above[:, ~there].mean(1)
    best = places[gain >= gain.max() - 1e-9]
    return float(best[np.abs(best - 0.5).argmin()])
