"""NT-Xent and what else methods with negatives share."""

import numpy as np
import pytest
import torch

from medssl.errors import UserError
from medssl.methods.parts.contrast import (
    check_several,
    checked_temperature,
    cosines,
    nt_xent,
    share_nearest,
    similarity_picture,
)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def expected_nt_xent(a, b, temperature):
    z = unit(np.concatenate([a, b]))
    m, losses = len(a), []
    for i in range(2 * m):
        weight = [np.exp(z[i] @ z[j] / temperature) for j in range(2 * m)]
        positive = weight[(i + m) % (2 * m)]
        losses.append(-np.log(positive / sum(w for j, w in enumerate(weight) if j != i)))
    return np.mean(losses)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("m", [2, 7])
def test_nt_xent_against_numpy_in_float64(m, temperature):
    rng = np.random.default_rng(m)
    a, b = 3 * rng.normal(size=(m, 5)), rng.normal(size=(m, 5))
    ours, _ = nt_xent(torch.from_numpy(a), torch.from_numpy(b), temperature)
    assert float(ours) == pytest.approx(expected_nt_xent(a, b, temperature), rel=1e-5)


def test_equal_similarities_give_the_logarithm_of_the_others():
    for m in (2, 5):
        same = torch.ones(m, 3)
        loss, matched = nt_xent(same, same, 0.1)
        assert float(loss) == pytest.approx(np.log(2 * m - 1), rel=1e-6)
        assert matched == 0


def test_nt_xent_does_not_depend_on_order_length_or_which_view_is_first():
    a, b = torch.randn(6, 4), torch.randn(6, 4)
    loss, matched = nt_xent(a, b, 0.2)
    shuffled = torch.randperm(6)
    lengths = torch.rand(6, 1) * 9 + 0.1
    for other in ((a[shuffled], b[shuffled]), (a * lengths, b), (b, a)):
        torch.testing.assert_close(nt_xent(*other, 0.2), (loss, matched))
    assert nt_xent(a, b.roll(1, 0), 0.2)[0] != loss  # others are paired


def test_views_that_agree_lower_the_loss_and_are_matched():
    a, noise = torch.randn(6, 16), torch.randn(6, 16)
    losses = [float(nt_xent(a, a + s * noise, 0.1)[0]) for s in (0.1, 0.5, 2.0)]
    assert losses == sorted(losses) and losses[0] < losses[2] / 2
    assert nt_xent(a, a + 0.1 * noise, 0.1)[1] == 1


def test_gradient_pulls_the_positive_and_pushes_the_negatives():
    a, b = torch.randn(4, 8, requires_grad=True), torch.randn(4, 8, requires_grad=True)
    loss, matched = nt_xent(a, b, 0.5)
    loss.backward()
    assert not matched.requires_grad
    assert a.grad.any() and b.grad.any()
    stepped = nt_xent(a - 0.1 * a.grad, b - 0.1 * b.grad, 0.5)[0]
    assert stepped < loss


def test_half_precision_is_compared_in_float32():
    a, b = torch.randn(4, 8), torch.randn(4, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = nt_xent(a, b, 0.1)
        similarity = cosines(a, b)
    assert torch.equal(loss, nt_xent(a, b, 0.1)[0]) and loss.dtype == torch.float32
    assert torch.equal(similarity, cosines(a, b))


def test_share_nearest_counts_rows_whose_positive_is_strictly_above():
    logits = torch.tensor([[3.0, 1, 2], [1, 1, 0], [0, 5, -torch.inf], [0, 5, 9]])
    assert share_nearest(logits, torch.tensor([0, 1, 1, 1])) == 0.5


def test_cosines():
    a, b = np.random.default_rng(0).normal(size=(2, 3, 5))
    np.testing.assert_allclose(
        cosines(torch.from_numpy(a), torch.from_numpy(b)), unit(a) @ unit(b).T, rtol=1e-5
    )


@pytest.mark.parametrize("ndim", [2, 3])
def test_picture_shows_six_at_most_and_asks_for_the_identity(ndim):
    views = torch.randn(2, 9, 2, *(4, 5, 6)[:ndim])
    [picture] = similarity_picture(views[0], views[1], torch.randn(9, 9), "title")
    assert picture["kind"] == "similarity" and picture["title"] == "title"
    assert len(picture["rows"]) == len(picture["columns"]) == 6
    assert np.array_equal(picture["rows"][5], views[0, 5, 0])
    assert np.array_equal(picture["columns"][5], views[1, 5, 0])
    assert picture["values"].shape == (6, 6) and np.array_equal(picture["asked"], np.eye(6))


def test_bad_temperatures_and_batches_of_one_are_refused():
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(UserError, match="method.temperature"):
            checked_temperature(bad)
    with pytest.raises(UserError, match="fit.batch_size"):
        check_several(torch.ones(1, 1, 4, 4), "has no negatives")
    check_several(torch.ones(2, 1, 4, 4), "has no negatives")
