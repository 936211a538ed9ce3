"""Property checks of VICReg."""

import numpy as np
import pytest
import torch

from medssl.augment.compose import Augment, augmenter
from medssl.backbones.monai3d import ResUNetEncoder
from medssl.errors import UserError
from medssl.methods.parts.order import rows
from medssl.methods.vicreg import EPS, VICReg, vicreg_terms

SIZES = {2: (16, 24), 3: (8, 12, 8)}


def make(ndim, channels=1, **options):
    torch.manual_seed(0)
    backbone = ResUNetEncoder(channels, channels=[4, 8], ndim=ndim)
    options = {"size": SIZES[ndim], "hidden": 16, "width": 8} | options
    return VICReg(backbone, augmenter(Augment(), (-5.0, 5.0)), **options)


def batch(ndim, b=6, channels=1, parts=0):
    boxes = (b, parts) if parts else (b,)
    image = torch.randn(*boxes, channels, *SIZES[ndim], generator=torch.Generator().manual_seed(1))
    data = {"image": image, "seed": torch.arange(b) + 5, "item": torch.arange(b)}
    if parts:
        data["place"] = torch.linspace(0.1, 0.9, parts).expand(b, parts)
    return data


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def test_terms_against_numpy_in_float64():
    z1, z2 = normal(2, 7, 5) * torch.tensor([0.2, 0.5, 1.0, 1.5, 3.0]) + 1
    found = vicreg_terms(z1, z2)
    a, b = z1.numpy(), z2.numpy()
    distance = np.mean([np.mean((x - y) ** 2) for x, y in zip(a, b, strict=True)])
    lack = [np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + EPS)).mean() for z in (a, b)]
    common = 0.0
    for z in (a, b):
        c = np.cov(z.T)
        common += sum(c[i, j] ** 2 for i in range(5) for j in range(5) if i != j) / 5
    expected = {"invariance": distance, "variance": np.mean(lack), "covariance": common}
    assert {k: float(v) for k, v in found.items()} == pytest.approx(expected, rel=1e-5)


def test_variance_is_a_hinge_at_one_and_pushes_a_near_collapse_apart():
    z = normal(50, 4)
    z = (z - z.mean(0)) / z.std(0)
    assert vicreg_terms(z, 2 * z)["variance"] == 0
    assert float(vicreg_terms(z / 2, z)["variance"]) == pytest.approx(0.25, rel=1e-3)
    small = (1e-3 * z).requires_grad_()
    term = vicreg_terms(small, small)["variance"]
    term.backward()
    assert 0.98 < term.item() < 1 and ((small.grad * z).sum(0) < 0).all()  # falls as it spreads
    gone = torch.ones(4, 3, requires_grad=True)
    total = sum(vicreg_terms(gone, gone).values())
    total.backward()
    assert total.item() == pytest.approx(0.99, abs=1e-4) and gone.grad.isfinite().all()


def test_covariance_is_zero_for_decorrelated_dimensions_and_counts_each_pair_twice():
    hadamard = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).double()
    assert vicreg_terms(hadamard, hadamard)["covariance"] == 0
    same = hadamard[:, :1].repeat(1, 3)  # every covariance 4 / 3
    term = vicreg_terms(same, hadamard)["covariance"]
    assert float(term) == pytest.approx(6 * (4 / 3) ** 2 / 3)


def test_invariance_is_zero_for_equal_views_only():
    z = normal(6, 4)
    assert vicreg_terms(z, z)["invariance"] == 0
    assert float(vicreg_terms(z, z + 2)["invariance"]) == pytest.approx(4)


@pytest.mark.parametrize("ndim", [2, 3])
def test_step_weighs_the_terms(ndim):
    method, data = make(ndim, invariance=2.0, variance=3.0, covariance=5.0), batch(ndim)
    outputs, seen = [], []
    method.head.register_forward_hook(lambda m, args, out: outputs.append(out.detach()))
    method.backbone.register_forward_hook(lambda m, args, out: seen.append(args[0]))
    out = method.training_step(data, 0)
    terms = vicreg_terms(*outputs)
    expected = {
        "invariance": 2 * float(terms["invariance"]),
        "variance": 3 * float(terms["variance"]),
        "covariance": 5 * float(terms["covariance"]),
    }
    assert out.logs == pytest.approx(expected, rel=1e-5)
    assert out.loss.item() == pytest.approx(sum(expected.values()), rel=1e-5)
    assert seen[0].shape == (6, 1, *SIZES[ndim]) and not torch.equal(*seen)


@pytest.mark.parametrize("ndim", [2, 3])
def test_neither_the_order_of_samples_nor_that_of_views_matters(ndim):
    method, data = make(ndim), batch(ndim)
    loss = method.training_step(data, 0).loss.item()
    turn = torch.tensor([2, 0, 3, 1, 5, 4])
    turned = {k: v[turn] for k, v in data.items()}
    assert method.training_step(turned, 0).loss.item() == pytest.approx(loss, rel=1e-4)
    views = method.views
    method.views = lambda several: views(several)[::-1]
    assert method.training_step(data, 0).loss.item() == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("options", [{}, {"order": 0.5, "parts": 3}])
def test_every_trained_weight_gets_a_gradient_and_the_loss_falls(ndim, options):
    method = make(ndim, channels=2, **options)
    data = batch(ndim, channels=2, parts=options.get("parts", 0))
    optimizer, losses = torch.optim.AdamW(method.parameters(), 3e-3), []
    for step in range(30):
        out = method.training_step(data, step)
        optimizer.zero_grad()
        out.loss.backward()
        # What is added to every embedding alike does not show in any difference.
        trained = [p for n, p in method.named_parameters() if n != "head.6.bias"]
        assert step or all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
        optimizer.step()
        method.after_step(step)
        losses.append(float(out.loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
    assert ("ordered" in out.logs) == ("order" in options)
    assert method.crops.parts == options.get("parts", 0)


@pytest.mark.parametrize("ndim", [2, 3])
def test_picture_holds_cosines_about_the_mean(ndim):
    method, data = make(ndim, channels=2).eval(), batch(ndim, b=8, channels=2)
    [picture] = method.pictures(data, 0)
    first, second = method.views(rows(data))
    with torch.no_grad():
        a, b = [method.head(method.features(view)).numpy() for view in (first, second)]
    mean = np.concatenate([a, b]).mean(0)
    a, b = [(z - mean) / np.linalg.norm(z - mean, axis=1, keepdims=True) for z in (a, b)]
    assert np.allclose(picture["values"], (a @ b.T)[:6, :6], atol=1e-4)
    assert np.array_equal(picture["columns"][3], second[3, 0]) and len(picture["rows"]) == 6


def test_loss_is_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = make(3).training_step(batch(3), 0)
    assert out.loss.dtype == torch.float32 and out.loss.isfinite()


def test_a_batch_of_one_is_refused():
    with pytest.raises(UserError, match="fit.batch_size"):
        make(2).training_step(batch(2, b=1), 0)
