"""Property checks of SwAV."""

import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from medssl.augment.compose import Augment, augmenter
from medssl.backbones.monai3d import ResUNetEncoder
from medssl.errors import UserError
from medssl.methods.parts.order import rows
from medssl.methods.parts.sinkhorn import sinkhorn
from medssl.methods.swav import SwAV, cosines, half, in_use, overlap, swapped_loss

SIZES = {2: (16, 24), 3: (16, 24, 16)}
LOCAL = {2: (8, 12), 3: (8, 12, 8)}
SMALL = {"hidden": 16, "width": 8, "prototypes": 6, "queue": 0, "frozen_steps": 0, "local_views": 2}


def make(ndim, channels=1, **options):
    torch.manual_seed(0)
    backbone = ResUNetEncoder(channels, channels=[4, 8], ndim=ndim)
    options = {"size": SIZES[ndim]} | SMALL | options
    return SwAV(backbone, augmenter(Augment(), (-5.0, 5.0)), **options)


def batch(ndim, b=4, channels=1, parts=0, first=5):
    boxes = (b, parts) if parts else (b,)
    g = torch.Generator().manual_seed(first)
    image = torch.randn(*boxes, channels, *SIZES[ndim], generator=g)
    data = {"image": image, "seed": torch.arange(b) + first, "item": torch.arange(b)}
    if parts:
        data["place"] = torch.linspace(0.1, 0.9, parts).expand(b, parts)
    return data


def unit(*shape, seed=0):
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def trained(method, steps, data, lr=3e-3):
    optimizer, outs = torch.optim.AdamW(method.parameters(), lr), []
    for step in range(steps):
        out = method.training_step(data, step)
        optimizer.zero_grad(set_to_none=True)
        out.loss.backward()
        optimizer.step()
        method.after_step(step)
        outs.append(out)
    return outs


@pytest.mark.parametrize("views", [2, 5])
def test_loss_against_numpy_in_float64(views):
    rng = np.random.default_rng(0)
    scores, codes = rng.uniform(-1, 1, (views, 3, 4)), rng.dirichlet(np.ones(4), (2, 3))
    total = 0.0
    for g in range(2):
        of_code = 0.0
        for v in range(views):
            for i in range(3):
                p = np.exp(scores[v, i] / 0.2) / np.exp(scores[v, i] / 0.2).sum()
                of_code += 0 if v == g else -(codes[g, i] * np.log(p)).sum() / 3
        total += of_code / (views - 1) / 2
    found = swapped_loss(torch.from_numpy(scores), torch.from_numpy(codes), 0.2)
    assert float(found) == pytest.approx(total, rel=1e-5)


def test_loss_is_symmetric_in_the_two_views_and_log_k_for_no_answer():
    scores, codes = unit(2, 5, 4), sinkhorn(unit(10, 4, seed=1)).view(2, 5, 4)
    loss = swapped_loss(scores, codes, 0.1)
    torch.testing.assert_close(swapped_loss(scores.flip(0), codes.flip(0), 0.1), loss)
    assert not torch.allclose(swapped_loss(scores.flip(0), codes, 0.1), loss)
    assert float(swapped_loss(scores * 0, codes, 0.1)) == pytest.approx(np.log(4), rel=1e-5)


@pytest.mark.parametrize("ndim", [2, 3])
def test_small_views_are_predicted_from_and_never_make_codes(ndim):
    method, data = make(ndim, queue=16).eval(), batch(ndim)
    seen, codes = [], []
    method.backbone.register_forward_hook(lambda m, args, out: seen.append(args[0]))
    codes_of = method.codes
    method.codes = lambda z, step: codes.append(codes_of(z, step)) or codes[-1]
    loss = method.training_step(data, 0).loss
    assert [v.shape for v in seen] == [(8, 1, *SIZES[ndim]), (8, 1, *LOCAL[ndim])]
    assert not torch.equal(seen[0][:4], seen[0][4:]) and not torch.equal(seen[1][:4], seen[1][4:])
    queue, views = method.queue.clone(), method.views

    def other_small(several):
        made = views(several)
        return made[:2] + [view + 1 + 3 * torch.rand_like(view) for view in made[2:]]

    method.views, method.queue, method.written = other_small, queue * 0, method.written * 0
    assert not torch.equal(method.training_step(data, 0).loss, loss)
    assert torch.equal(codes[0], codes[1]) and torch.equal(method.queue, queue)


@pytest.mark.parametrize("ndim", [2, 3])
def test_step_is_the_swapped_loss_of_codes_from_large_views(ndim):
    method, data = make(ndim, temperature=0.3, eps=0.2, iterations=2, prototypes=5), batch(ndim)
    outputs = []
    method.head.register_forward_hook(lambda m, args, out: outputs.append(out.detach()))
    out = method.training_step(data, 0)
    z = normalize(outputs[0].view(4, 4, 8), dim=-1)
    scores = z @ method.prototypes.detach().T
    codes = torch.stack([sinkhorn(of_view, 0.2, 2) for of_view in scores[:2]])
    expected = swapped_loss(scores, codes, 0.3)
    assert out.logs == pytest.approx({"swapped": float(expected), **in_use(codes)}, rel=1e-4)
    assert float(out.loss.detach()) == pytest.approx(float(expected), rel=1e-4)


def test_codes_take_no_gradient():
    method = make(2, queue=8, queue_from=0)
    z = unit(2, 4, 8).requires_grad_()
    assert not method.codes(z, 0).requires_grad and not method.codes(z, 9).requires_grad
    method.enqueue(z)
    assert not method.queue.requires_grad


def test_queue_holds_the_last_embeddings_of_each_view_after_uneven_batches():
    method, history = make(2, queue=7), torch.zeros(2, 0, 8)
    for i, b in enumerate((3, 2, 3, 1, 9, 2, 7, 5)):
        z = unit(2, b, 8, seed=i)
        method.enqueue(z)
        history = torch.cat([history, z], 1)
        kept = method.queue[:, : int(method.written)]
        assert kept.shape[1] == min(7, history.shape[1])
        for view in range(2):
            held = sorted(kept[view].tolist())
            assert held == sorted(history[view, -7:].tolist())
    assert int(method.written) == 32


def test_codes_are_shared_out_over_the_queue_of_their_view_from_a_step_on():
    method = make(2, queue=10, queue_from=3)
    old, z = unit(2, 6, 8, seed=1), unit(2, 4, 8, seed=2)
    method.enqueue(old)
    c = method.prototypes.detach()
    alone = torch.stack([sinkhorn(z[view] @ c.T) for view in range(2)])
    shared = [sinkhorn(torch.cat([z[view], old[view]]) @ c.T)[:4] for view in range(2)]
    torch.testing.assert_close(method.codes(z, 2), alone)
    torch.testing.assert_close(method.codes(z, 3), torch.stack(shared))
    assert not torch.allclose(method.codes(z, 3), alone, atol=1e-3)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_step_uses_the_queue_as_it_was_and_fills_it_but_looking_does_not(ndim):
    method = make(ndim, queue=6, queue_from=0)
    given, codes_of = [], method.codes
    method.codes = lambda z, step: given.append((z, int(method.written))) or codes_of(z, step)
    for i in range(2):
        method.training_step(batch(ndim, first=20 * i), i)
    assert [written for _, written in given] == [0, 4] and int(method.written) == 8
    held = torch.cat([given[0][0], given[1][0]], 1)[:, -6:]
    assert sorted(method.queue[1].tolist()) == sorted(held[1].tolist())
    before = copy.deepcopy(method.state_dict())
    method.eval().pictures(batch(ndim), 5)
    assert all(torch.equal(v, before[k]) for k, v in method.state_dict().items())


@pytest.mark.parametrize("ndim", [2, 3])
def test_resumed_is_the_same_as_never_stopped(ndim):
    a = make(ndim, queue=6, queue_from=1)
    trained(a, 3, batch(ndim))
    b = make(ndim, queue=6, queue_from=1)
    b.load_state_dict(a.state_dict())
    assert torch.equal(b.queue, a.queue) and b.queue.abs().sum() > 0
    data = batch(ndim, first=40)
    assert torch.equal(a.training_step(data, 3).loss, b.training_step(data, 3).loss)


def test_prototypes_rest_until_the_step_and_keep_unit_norm():
    method, data = make(2, frozen_steps=2), batch(2)
    start = method.prototypes.detach().clone()
    optimizer = torch.optim.AdamW(method.parameters(), 1e-2, weight_decay=0.1)
    for step in range(4):
        optimizer.zero_grad(set_to_none=True)
        method.training_step(data, step).loss.backward()
        assert (method.prototypes.grad is None) == (step < 2)
        optimizer.step()
        norm = method.prototypes.norm(dim=-1)
        assert step < 2 or not torch.allclose(norm, torch.ones(6), atol=1e-4)
        method.after_step(step)
        torch.testing.assert_close(method.prototypes.norm(dim=-1), torch.ones(6))
        assert torch.allclose(method.prototypes, start, atol=1e-6) == (step < 2)


@pytest.mark.parametrize("ndim", [2, 3])
def test_neither_the_order_of_samples_nor_that_of_large_views_matters(ndim):
    method, data = make(ndim), batch(ndim)
    loss = float(method.training_step(data, 0).loss.detach())
    turn = torch.tensor([2, 0, 3, 1])
    turned = {k: v[turn] for k, v in data.items()}
    again = float(method.training_step(turned, 0).loss.detach())
    assert again == pytest.approx(loss, rel=1e-4)
    views = method.views
    method.views = lambda several: [views(several)[i] for i in (1, 0, 3, 2)]
    swapped = float(method.training_step(data, 0).loss.detach())
    assert swapped == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize(
    "ndim, options",
    [(2, {}), (3, {}), (2, {"order": 0.5, "parts": 2}), (3, {"order": 0.5, "parts": 2}),
     (3, {"local_views": 0}), (2, {"queue": 6, "queue_from": 5})],
)  # fmt: skip
def test_every_trained_weight_gets_a_gradient_and_the_loss_falls(ndim, options):
    method = make(ndim, channels=2, **options)
    data = batch(ndim, channels=2, parts=options.get("parts", 0))
    method.training_step(data, 0).loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())
    method = make(ndim, channels=2, **options)
    outs = trained(method, 30, data)
    assert outs[-1].loss < 0.85 * outs[0].loss and outs[-1].logs["code"] < 4
    assert ("ordered" in outs[0].logs) == ("order" in options)
    assert method.crops.parts == options.get("parts", 0)


@pytest.mark.parametrize("ndim", [2, 3])
def test_order_is_asked_of_large_views(ndim):
    method, data = make(ndim, order=0.5, parts=2), batch(ndim, b=2, parts=2)
    given = []
    method.order.register_forward_hook(lambda m, args, out: given.append(args[0].detach()))
    out = method.training_step(data, 0)
    features, _ = method(method.views(rows(data)))
    torch.testing.assert_close(given[0], features[:8].detach())
    added = float(out.loss.detach()) - out.logs["swapped"]
    assert added == pytest.approx(0.5 * out.logs["order"], rel=1e-3)


@pytest.mark.parametrize("ndim", [2, 3])
def test_picture_shows_predictions_against_codes_and_asks_for_the_codes(ndim):
    method, data = make(ndim, channels=2).eval(), batch(ndim, b=8, channels=2)
    [picture] = method.pictures(data, 0)
    first, second = method.views(rows(data))[:2]
    assert np.array_equal(picture["rows"][3], first[3, 0])
    assert np.array_equal(picture["columns"][3], second[3, 0])
    with torch.no_grad():
        _, z = method([first, second])
    codes = sinkhorn(z[1] @ method.prototypes.detach().T)
    p = (z[0] @ method.prototypes.detach().T / 0.1).softmax(-1)
    assert np.allclose(picture["values"], overlap(p, codes)[:6, :6], atol=1e-4)
    shared = overlap(codes, codes)[:6, :6].numpy() > 0.5
    np.fill_diagonal(shared, False)
    assert np.array_equal(np.isnan(picture["asked"]), shared)
    assert np.array_equal(picture["asked"][~shared], np.eye(6)[~shared])
    assert picture["values"].min() >= 0 and picture["values"].max() < 1.001


def test_overlap_is_one_for_equal_and_zero_for_disjoint():
    p = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.1, 0.9], [0.0, 0.5, 0.5, 0.0]])
    expected = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.05**0.5], [0.5, 0.05**0.5, 1.0]])
    torch.testing.assert_close(overlap(p, p), expected)


def test_prototypes_in_use_are_counted():
    codes = torch.eye(4)[[0, 1, 1, 0]].expand(2, 4, 4)
    assert in_use(codes) == pytest.approx({"prototypes": 2, "code": 1})
    assert in_use(torch.full((2, 3, 5), 0.2)) == pytest.approx({"prototypes": 5, "code": 5})


def test_half_is_what_the_backbone_takes():
    assert half((64, 48, 32), (8, 8, 8)) == (32, 24, 16)
    assert half((24, 40), (8, 8)) == (16, 24)
    assert half((16, 16), (8, 8)) == (16, 16)  # half would be a single place


def test_loss_is_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        method = make(3, queue=8, queue_from=0)
        method.training_step(batch(3), 0)
        out = method.training_step(batch(3), 1)
    assert out.loss.dtype == torch.float32 and out.loss.isfinite()


def test_cosines_are_as_fine_as_float32_under_autocast():
    z, c = unit(2, 4, 8), unit(6, 8, seed=1)
    exact = np.einsum("vmd,kd->vmk", z.double(), c.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.allclose(cosines(z, c), exact, atol=1e-6)


@pytest.mark.parametrize(
    "bad, key", [({"temperature": 0.0}, "temperature"), ({"local_size": [9, 12]}, "local_size")]
)
def test_bad_options_are_refused(bad, key):
    with pytest.raises(UserError, match=f"method.{key}"):
        make(2, **bad)


def test_a_batch_of_one_is_refused():
    with pytest.raises(UserError, match="fit.batch_size"):
        make(2).training_step(batch(2, b=1), 0)
