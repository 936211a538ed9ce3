import numpy as np
import pytest
import torch

from medssl.errors import UserError
from medssl.evaluation.attentive_probe import AttentiveProbe, attentive_predict, places
from medssl.evaluation.linear_probe import linear_predict


def one_place_knows(n=480, seed=0, places=16):
    """A flag marks one of many places; only there does a channel tell the class."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, places, 6)), rng.integers(0, 2, n)
    at = rng.integers(0, places, n)
    x[np.arange(n), at, 0] += 6
    x[np.arange(n), at, 1] = 2.0 * y - 1
    return x, y


def test_attends_to_the_place_that_knows_where_averages_cannot():
    x, y = one_place_knows()
    found = (attentive_predict(x[:400], y[:400], x[400:]) == y[400:]).mean()
    mean = x.mean(1)
    averaged = (linear_predict(mean[:400], y[:400], np.arange(400), mean[400:]) == y[400:]).mean()
    assert found > 0.9 and averaged < 0.75
    shuffled = np.random.default_rng(2).permutation(y[:400])
    assert (attentive_predict(x[:400], shuffled, x[400:]) == y[400:]).mean() < 0.65


def test_same_seed_same_answer_and_the_global_generator_is_left_alone():
    x, y = one_place_knows(80)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, two = AttentiveProbe(6, 2, seed=3), AttentiveProbe(6, 2, seed=3)
    assert torch.equal(one.query, two.query)
    assert not torch.equal(one.query, AttentiveProbe(6, 2, seed=4).query)
    first = attentive_predict(x, y, x, seed=3)
    torch.manual_seed(1)
    assert np.array_equal(first, attentive_predict(x, y, x, seed=3))
    torch.set_rng_state(before)


def test_is_attention_by_the_formula():
    probe = AttentiveProbe(5, 3, seed=1, heads=2)
    with torch.no_grad():
        probe.query.normal_()
        probe.classify.weight.normal_()
    x = torch.randn(4, 7, 5)
    w, u = probe.classify.weight.detach().numpy(), probe.query.detach().numpy()
    for sample, found in zip(x.numpy(), probe(x).detach().numpy(), strict=True):
        e = np.exp(sample @ u / np.sqrt(5))
        heads = [(e[:, h] / e[:, h].sum()) @ sample for h in range(2)]
        assert found == pytest.approx(w @ np.concatenate(heads), rel=1e-4, abs=1e-5)


def test_places_average_what_is_too_fine():
    level = torch.arange(2 * 8 * 4.0).view(1, 2, 8, 4)
    found = places(level, 4)
    assert found.shape == (1, 16, 2) and found[0, 0].tolist() == [2.0, 34.0]
    assert places(torch.zeros(2, 3, 2, 2, 1)).shape == (2, 4, 3)


def test_one_class_nothing_asked_and_diverged_features():
    x, y = one_place_knows(8)
    assert attentive_predict(x, np.ones(8), x).tolist() == [1] * 8
    assert len(attentive_predict(x, y, x[:0])) == 0
    with pytest.raises(UserError, match="not finite"):
        attentive_predict(x * np.nan, y, x)


def test_cases_of_fewer_places_answer_as_if_they_stood_alone():
    x, y = one_place_knows(300)
    short = [
        case[: 16 - i % 5] if i % 5 and case[:, 0].argmax() < 11 else case
        for i, case in enumerate(x)
    ]
    assert len({len(case) for case in short}) > 3
    assert (attentive_predict(short[:240], y[:240], short[240:]) == y[240:]).mean() > 0.85
    probe = AttentiveProbe(6, 2)
    with torch.no_grad():
        probe.query.normal_()
        probe.classify.weight.normal_()
    row, padded = torch.randn(1, 5, 6), torch.full((1, 9, 6), 7.0)
    padded[:, :5] = row
    there = torch.arange(9)[None] < 5
    assert torch.allclose(probe(padded, there), probe(row), atol=1e-6)
