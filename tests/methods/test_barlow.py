"""Property checks of Barlow Twins, plain and mixed."""

import numpy as np
import pytest
import torch

from medssl.augment.compose import Augment, augmenter
from medssl.backbones.monai3d import ResUNetEncoder
from medssl.errors import UserError
from medssl.methods.barlow import (
    EPS,
    BarlowTwins,
    barlow_terms,
    draw_mix,
    mixed_loss,
    standardised,
)  # fmt: skip
from medssl.methods.parts.correlation import correlation
from medssl.methods.parts.order import rows

SIZES = {2: (16, 24), 3: (8, 12, 8)}


def make(ndim, channels=1, **options):
    torch.manual_seed(0)
    backbone = ResUNetEncoder(channels, channels=[4, 8], ndim=ndim)
    options = {"size": SIZES[ndim], "hidden": 16, "width": 8} | options
    return BarlowTwins(backbone, augmenter(Augment(), (-5.0, 5.0)), **options)


def batch(ndim, b=6, channels=1, parts=0):
    boxes = (b, parts) if parts else (b,)
    image = torch.randn(*boxes, channels, *SIZES[ndim], generator=torch.Generator().manual_seed(1))
    data = {"image": image, "seed": torch.arange(b) + 5, "item": torch.arange(b)}
    if parts:
        data["place"] = torch.linspace(0.1, 0.9, parts).expand(b, parts)
    return data


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def numpy_standardised(z):
    return (z - z.mean(0)) / np.sqrt(z.var(0) + EPS)


def numpy_correlation(a, b):
    return np.einsum("bi,bj->ij", a, b) / len(a)


def test_terms_against_numpy_in_float64():
    z1, z2 = normal(2, 9, 5) * 3 + 1
    a, b = standardised(torch.from_numpy(z1)), standardised(torch.from_numpy(z2))
    assert np.allclose(a.numpy(), numpy_standardised(z1), rtol=1e-9)
    c = numpy_correlation(numpy_standardised(z1), numpy_standardised(z2))
    agreement, redundancy = barlow_terms(correlation(a, b))
    assert float(agreement) == pytest.approx(sum((1 - c[i, i]) ** 2 for i in range(5)), rel=1e-5)
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    assert float(redundancy) == pytest.approx(sum(c[i, j] ** 2 for i, j in pairs), rel=1e-5)


def test_mixed_term_against_numpy_in_float64():
    zm, z1, z2 = [numpy_standardised(z) for z in normal(3, 6, 4)]
    a, partner = 0.3, np.array([2, 0, 1, 5, 3, 4])
    expected = 0.0
    for z in (z1, z2):
        target = a * numpy_correlation(z1, z) + (1 - a) * numpy_correlation(z2[partner], z)
        expected += ((numpy_correlation(zm, z) - target) ** 2).sum()
    given = [torch.from_numpy(z) for z in (zm, z1, z2)]
    found = mixed_loss(*given, a, torch.from_numpy(partner))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_terms_vanish_at_the_identity_and_count_what_is_off_it():
    assert barlow_terms(torch.eye(6)) == (0, 0)
    assert barlow_terms(torch.ones(6, 6)) == (0, 30)
    assert barlow_terms(torch.zeros(6, 6)) == (6, 0)
    assert barlow_terms(-torch.eye(6)) == (24, 0)  # views that disagree


def test_correlation_of_a_view_with_itself_is_one_at_any_batch_size():
    for b in (2, 3, 50):
        z = standardised(torch.from_numpy(normal(b, 4)))
        assert torch.allclose(correlation(z, z).diagonal(), torch.ones(4).double(), atol=1e-2)
    assert torch.allclose(correlation(z, z).diagonal(), torch.ones(4).double(), atol=1e-4)
    assert standardised(torch.ones(4, 3)).eq(0).all()


def test_mixed_with_all_of_one_view_asks_for_its_own_correlation():
    z1, z2, zm = [standardised(torch.from_numpy(normal(6, 4, seed=s))) for s in range(3)]
    partner = torch.tensor([3, 1, 0, 2, 5, 4])
    assert mixed_loss(z1, z1, z2, 1.0, partner) == 0
    difference = (
        correlation(zm, z1) - correlation(z1, z1),
        correlation(zm, z2) - correlation(z1, z2),
    )
    expected = sum(float(d.square().sum()) for d in difference)
    assert float(mixed_loss(zm, z1, z2, 1.0, partner)) == pytest.approx(expected)


def test_mixed_vanishes_when_the_embedding_is_linear_and_statistics_match():
    z1, z2 = [standardised(torch.from_numpy(normal(6, 4, seed=s))) for s in range(2)]
    partner = torch.tensor([3, 1, 0, 2, 5, 4])
    for a in (0.0, 0.3, 0.8):
        zm = a * z1 + (1 - a) * z2[partner]
        assert float(mixed_loss(zm, z1, z2, a, partner)) < 1e-12
        other = mixed_loss(zm, z1, z2, a, torch.arange(6))  # another partner
        assert a == 1 or float(other) > 1e-3


def test_gradients_flow_through_the_mixed_targets():
    z1 = standardised(torch.from_numpy(normal(6, 4))).requires_grad_()
    z2, zm = [standardised(torch.from_numpy(normal(6, 4, seed=s))) for s in (1, 2)]
    partner = torch.tensor([3, 1, 0, 2, 5, 4])
    mixed_loss(zm, z1, z2, 0.3, partner).backward()
    step = torch.zeros_like(z1)
    step[2, 1] = 1e-6
    with torch.no_grad():
        up, down = [mixed_loss(zm, z1 + s * step, z2, 0.3, partner) for s in (1, -1)]
    assert float(z1.grad[2, 1]) == pytest.approx(float(up - down) / 2e-6, rel=1e-4)


def test_mixing_is_drawn_from_the_seeds_and_follows_their_order():
    seeds = torch.tensor([11, 7, 23, 5])
    share, partner = draw_mix(seeds)
    again = draw_mix(seeds)
    assert share == again[0] and torch.equal(partner, again[1])
    turn = torch.tensor([2, 0, 3, 1])
    share_t, partner_t = draw_mix(seeds[turn])
    assert share_t == share and torch.equal(seeds[turn][partner_t], seeds[partner][turn])
    drawn = [draw_mix(torch.arange(3) + 10 * i) for i in range(300)]
    assert len({tuple(p.tolist()) for _, p in drawn}) == 6  # every permutation
    shares = np.array([s for s, _ in drawn])
    assert shares.min() < 0.05 and shares.max() > 0.95 and abs(shares.mean() - 0.5) < 0.06


@pytest.mark.parametrize("ndim", [2, 3])
def test_step_puts_the_terms_together(ndim):
    method, data = make(ndim, redundancy=0.1, mix=2.0), batch(ndim)
    seen, outputs = [], []
    method.backbone.register_forward_hook(lambda m, args, out: seen.append(args[0]))
    method.head.register_forward_hook(lambda m, args, out: outputs.append(out.detach()))
    out = method.training_step(data, 0)
    share, partner = draw_mix(data["seed"])
    first, second, mixed = seen
    torch.testing.assert_close(mixed, share * first + (1 - share) * second[partner])
    assert not torch.equal(first, second)
    z1, z2, zm = [standardised(z) for z in outputs]
    agreement, redundancy = barlow_terms(correlation(z1, z2))
    term = 2.0 * 0.1 * mixed_loss(zm, z1, z2, share, partner)
    logs = {"agreement": agreement, "redundancy": 0.1 * redundancy, "mixed": term}
    assert out.logs == pytest.approx({k: float(v) for k, v in logs.items()}, rel=1e-5)
    assert out.loss.item() == pytest.approx(sum(out.logs.values()), rel=1e-5)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("mix", [0.0, 1.0])
def test_neither_the_order_of_samples_nor_that_of_views_matters(ndim, mix):
    method, data = make(ndim, mix=mix), batch(ndim)
    loss = method.training_step(data, 0).loss.item()
    turn = torch.tensor([2, 0, 3, 1, 5, 4])
    turned = {k: v[turn] for k, v in data.items()}
    assert method.training_step(turned, 0).loss.item() == pytest.approx(loss, rel=1e-4)
    views = method.views
    method.views = lambda several: views(several)[::-1]
    if not mix:
        assert method.training_step(data, 0).loss.item() == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize(
    "ndim, options",
    [(2, {}), (3, {}), (2, {"mix": 1.0}), (3, {"mix": 1.0}), (3, {"order": 0.5, "parts": 3})],
)
def test_every_trained_weight_gets_a_gradient_and_the_loss_falls(ndim, options):
    method = make(ndim, channels=2, **options)
    data = batch(ndim, channels=2, parts=options.get("parts", 0))
    optimizer, losses = torch.optim.AdamW(method.parameters(), 3e-3), []
    for step in range(30):
        out = method.training_step(data, step)
        optimizer.zero_grad()
        out.loss.backward()
        # What is added to an embedding falls out of its correlations.
        trained = [p for n, p in method.named_parameters() if n != "head.6.bias"]
        assert step or all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
        optimizer.step()
        method.after_step(step)
        losses.append(float(out.loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
    assert ("ordered" in out.logs) == ("order" in options)
    assert method.crops.parts == options.get("parts", 0)


@pytest.mark.parametrize("ndim", [2, 3])
def test_picture_is_the_correlation_asked_to_be_the_identity(ndim):
    method, data = make(ndim, channels=2, width=30).eval(), batch(ndim, channels=2)
    [picture] = method.pictures(data, 0)
    with torch.no_grad():
        z1, z2 = [method.head(method.features(view)).numpy() for view in method.views(rows(data))]
    expected = numpy_correlation(numpy_standardised(z1), numpy_standardised(z2))
    assert np.allclose(picture["values"], expected[:24, :24], atol=1e-4)
    assert np.array_equal(picture["asked"], np.eye(24)) and picture["rows"] == []


def test_loss_is_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = make(3, mix=1.0).training_step(batch(3), 0)
    assert out.loss.dtype == torch.float32 and out.loss.isfinite()


def test_a_batch_of_one_is_refused():
    with pytest.raises(UserError, match="fit.batch_size"):
        make(2).training_step(batch(2, b=1), 0)
