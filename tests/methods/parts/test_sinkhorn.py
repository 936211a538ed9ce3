"""Property checks of the codes."""

import numpy as np
import pytest
import torch

from medssl.methods.parts.sinkhorn import perplexity, sinkhorn


def numpy_sinkhorn(scores, eps, iterations):
    """Prototypes in rows, as the paper has it: masses 1 / K and 1 / N in turn, N codes in the end."""
    q = np.exp(scores.T / eps)
    q /= q.sum()
    k, n = q.shape
    for _ in range(iterations):
        q = q / q.sum(1, keepdims=True) / k
        q = q / q.sum(0, keepdims=True) / n
    return (q * n).T


@pytest.mark.parametrize("n, k", [(7, 5), (4, 9), (6, 6)])
def test_against_numpy_in_float64(n, k):
    scores = np.random.default_rng(0).uniform(-1, 1, (n, k))
    expected = numpy_sinkhorn(scores, 0.05, 3)
    assert np.allclose(sinkhorn(torch.from_numpy(scores)).numpy(), expected, rtol=1e-9)
    assert np.allclose(sinkhorn(torch.from_numpy(scores).float()).numpy(), expected, rtol=1e-4)
    other = numpy_sinkhorn(scores, 0.3, 7)
    assert np.allclose(sinkhorn(torch.from_numpy(scores), 0.3, 7).numpy(), other, rtol=1e-9)


@pytest.mark.parametrize("n, k", [(8, 4), (4, 8)])
def test_rows_sum_to_one_and_columns_hold_equal_mass(n, k):
    scores = torch.rand(n, k, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(sinkhorn(scores).sum(1), torch.ones(n, dtype=torch.float64))
    columns = sinkhorn(scores, iterations=500).sum(0)
    assert torch.allclose(columns, torch.full((k,), n / k, dtype=torch.float64), rtol=1e-4)


def test_large_scores_of_any_precision_are_no_trouble():
    scores = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    for given in (scores * 1e4, scores * 1e4 + 1e5, scores.half() * 1e3):
        codes = sinkhorn(given)
        assert codes.dtype == torch.float32 and codes.isfinite().all()
        assert torch.allclose(codes.sum(1), torch.ones(6))


def test_codes_take_no_gradient_and_follow_their_samples():
    scores = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert not sinkhorn(scores).requires_grad
    turn = torch.tensor([3, 0, 5, 1, 2, 4])
    assert torch.allclose(sinkhorn(scores)[turn], sinkhorn(scores[turn]), atol=1e-6)


def test_alike_samples_get_uniform_codes_and_distinct_ones_their_own():
    assert torch.allclose(sinkhorn(torch.ones(5, 1) * torch.rand(1, 3)), torch.full((5, 3), 1 / 3))
    assert torch.allclose(sinkhorn(torch.eye(4)), torch.eye(4), atol=1e-6)


def test_perplexity_counts():
    assert perplexity(torch.eye(3)[0]) == 1
    assert perplexity(torch.full((2, 8), 1 / 8)).tolist() == pytest.approx([8, 8])
