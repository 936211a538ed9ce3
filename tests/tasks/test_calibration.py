import numpy as np
import pytest
import torch

from medssl.tasks.answers import Classes
from medssl.tasks.calibration import FEWEST, best_threshold


def test_a_temperature_mends_probabilities_that_are_too_sure():
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(400, 3))
    p = np.exp(honest) / np.exp(honest).sum(1, keepdims=True)
    truth = [int(rng.choice(3, p=row)) for row in p]
    answer = Classes(["a", "b", "c"])
    sure = [torch.from_numpy(4 * row)[None] for row in honest]
    answer.fit(sure, truth)
    assert float(answer.temperature) == pytest.approx(4, rel=0.2)
    assert answer.scores(sure[0]) == pytest.approx(p[0], abs=0.05)
    before = float(answer.temperature)
    untempered = np.exp(4 * honest[0]) / np.exp(4 * honest[0]).sum()
    assert answer.before(sure[0])["untempered"] == pytest.approx(untempered.max())
    answer.fit(sure[: FEWEST - 1], truth[: FEWEST - 1])  # too few to say
    assert before != 1 and float(answer.temperature) == 1


def test_the_threshold_of_two_classes_balances_sensitivity_and_specificity():
    answer = Classes(["no", "yes"])
    p = np.array([0.1] * 30 + [0.3] * 6)  # all under a half, though they can be told apart
    truth = [0] * 30 + [1] * 6
    logits = [torch.tensor([[0.0, float(np.log(q / (1 - q)))]]) for q in p]
    assert answer.fit(logits, truth) == 1
    assert answer.row(answer.scores(logits[-1]))["predicted"] == "yes"
    assert answer.row(answer.scores(logits[0]))["predicted"] == "no"
    assert Classes(["no", "yes"]).row(np.array([0.7, 0.3]))["predicted"] == "no"


def test_thresholds_by_brute_force_and_where_nothing_is_known():
    rng = np.random.default_rng(1)
    for _ in range(20):
        there = rng.random(40) < 0.3
        p = (rng.random(40) * 0.5 + 0.2 * there).round(2)

        def balance(t, p=p, there=there):
            return (p[there] >= t).mean() + (p[~there] < t).mean()

        found = best_threshold(p, there)
        assert balance(found) == pytest.approx(max(balance(t) for t in np.linspace(0, 1, 2001)))
    assert best_threshold(np.ones(40), np.ones(40, bool)) == 0.5
    assert best_threshold(np.array([0.1, 0.9]), np.array([True, False])) == 0.5
