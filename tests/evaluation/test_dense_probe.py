import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from medssl.errors import UserError
from medssl.evaluation.dense_probe import (
    DenseProbe,
    dense_loss,
    features_at,
    fit_dense,
    sample_voxels,
    whitening,
)


def levels_of(size, channels=(3, 5), strides=(2, 4)):
    torch.manual_seed(0)
    return [
        torch.randn(1, c, *(n // s for n in size)) for c, s in zip(channels, strides, strict=True)
    ]


@pytest.mark.parametrize("size", [(8, 12), (8, 4, 12)])
def test_interpolated_answers_are_answers_from_interpolated_features(size):
    levels = levels_of(size)
    probe = DenseProbe(torch.randn(4, 8), torch.randn(4))
    answers = probe(levels, size)[0].flatten(1).T
    places = torch.from_numpy(np.argwhere(np.ones(size, bool)))
    features = features_at(levels, places, size)
    assert torch.allclose(answers, features @ probe.weight.T + probe.bias, atol=1e-5)
    mode = "trilinear" if len(size) == 3 else "bilinear"
    whole = torch.cat([interpolate(x, size, mode=mode) for x in levels], 1)[0].flatten(1).T
    assert torch.allclose(features, whole, atol=1e-5)


def test_a_sample_stands_for_the_whole_scan():
    mask = np.zeros((30, 20, 10), int)
    mask[3:8, 3:8, 3:8], mask[20:22, 10:12, 5:7] = 1, 2
    asked = np.ones(mask.shape, bool)
    asked[:, :, 9] = False
    draw = np.random.default_rng(0)
    places, classes, weights = sample_voxels(mask, asked, 100, draw)
    assert np.array_equal(mask[tuple(places.T)], classes) and asked[tuple(places.T)].all()
    assert len(np.unique(places, axis=0)) == len(places)
    for k in range(3):
        assert weights[classes == k].sum() == pytest.approx((asked & (mask == k)).sum())
    assert np.bincount(classes).tolist() == [50, 25, 8]  # of class 2 there are no more
    near = weights[classes == 0].min()
    assert (weights[classes == 0] == near).sum() == 25  # background close to structures
    none = sample_voxels(np.zeros((4, 4), int), np.ones((4, 4), bool), 8, draw)
    assert len(none[0]) == 4 and none[2].sum() == 16
    assert len(sample_voxels(mask, np.zeros_like(asked), 100, draw)[0]) == 0


def test_loss_is_that_of_the_formula():
    rng = np.random.default_rng(0)
    z, y, w = rng.normal(size=(50, 4)), rng.integers(0, 3, 50), rng.uniform(0.5, 30, 50)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)  # class 3 has no voxel
    entropy = -(w * np.log(p[np.arange(50), y])).sum() / w.sum()
    dice = [2 * (w * p[:, k] * (y == k)).sum() / (w * (p[:, k] + (y == k))).sum() for k in (1, 2)]
    found = dense_loss(*(torch.from_numpy(a) for a in (z, y, w)))
    assert float(found) == pytest.approx(entropy + 1 - np.mean(dice), rel=1e-5)
    empty = dense_loss(torch.from_numpy(z), torch.zeros(50, dtype=torch.long), torch.from_numpy(w))
    assert float(empty) == pytest.approx(-(w * np.log(p[:, 0])).sum() / w.sum(), rel=1e-5)


def test_cross_entropy_and_dice_both_have_a_gradient():
    torch.manual_seed(0)
    z, y, w = torch.randn(20, 3, dtype=torch.float64), torch.arange(20) % 3, torch.rand(20).double()
    z.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: dense_loss(z, y, w + 0.1), z)


def test_whitened_features_are_uncorrelated_and_dead_ones_stay_out():
    torch.manual_seed(0)
    x = torch.randn(500, 6) @ torch.randn(6, 6)
    x[:, 2] = 1.5
    x = x - x.mean(0)
    y = x @ whitening(x)
    covariance = y.T @ y / len(y)
    assert torch.isfinite(y).all()
    assert torch.allclose(torch.linalg.eigvalsh(covariance)[1:], torch.ones(5), atol=1e-2)


def test_finds_what_features_hold_whatever_their_scale_and_not_what_they_do_not():
    torch.manual_seed(0)
    y = (torch.rand(3000) < 0.1).long() + (torch.rand(3000) < 0.05).long()
    told = torch.cat([torch.randn(3000, 4), torch.eye(3)[y] + 0.2 * torch.randn(3000, 3)], 1)
    alike = told @ torch.randn(7, 7) * 10.0 ** torch.arange(-3, 4) + 100 * torch.rand(7)
    w = torch.ones(3000)
    for x in (told, alike):
        probe = fit_dense(x[:2000], y[:2000], w[:2000], 3)
        answer = (x[2000:] @ probe.weight.T + probe.bias).argmax(1)
        assert (answer == y[2000:])[y[2000:] > 0].float().mean() > 0.9
        again = fit_dense(x[:2000], y[:2000], w[:2000], 3)
        assert torch.equal(probe.weight, again.weight)
    blind = fit_dense(told[:2000, :4], y[:2000], w[:2000], 3)
    answer = (told[2000:, :4] @ blind.weight.T + blind.bias).argmax(1)
    hits = ((answer == y[2000:]) & (answer > 0)).sum() * 2.0
    assert hits / ((answer > 0).sum() + (y[2000:] > 0).sum()) < 0.3


def test_no_features_and_diverged_features_are_refused():
    y = torch.zeros(4, dtype=torch.long)
    for x in (torch.zeros(0, 2), torch.full((4, 2), torch.nan)):
        with pytest.raises(UserError, match="not finite"):
            fit_dense(x, y[: len(x)], torch.ones(len(x)), 2)
