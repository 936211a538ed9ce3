"""Property checks of MoCo v2."""

import numpy as np
import pytest
import torch

from medssl.augment.compose import Augment, augmenter
from medssl.backbones.monai3d import ResUNetEncoder
from medssl.methods.moco import MoCo, moco_loss
from medssl.methods.parts.contrast import nt_xent
from medssl.methods.parts.order import rows

SIZES = {2: (16, 24), 3: (8, 12, 8)}


def make(ndim, channels=1, **options):
    torch.manual_seed(0)
    backbone = ResUNetEncoder(channels, channels=[4, 8], ndim=ndim)
    options = {"size": SIZES[ndim], "hidden": 16, "width": 8, "queue": 10} | options
    return MoCo(backbone, augmenter(Augment(), (-5.0, 5.0)), **options)


def batch(ndim, b=4, channels=1, first=0, parts=0):
    g = torch.Generator().manual_seed(first + 1)
    boxes = (b, parts) if parts else (b,)
    data = {"image": torch.randn(*boxes, channels, *SIZES[ndim], generator=g)}
    data |= {"seed": torch.arange(b) + 50 + first, "item": torch.arange(b) + first}
    if parts:
        data["place"] = torch.linspace(0.1, 0.9, parts).expand(b, parts)
    return data


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def expected(q, k, queue, negatives, batch_negatives, temperature):
    losses = []
    for i in range(len(q)):
        s = [q[i] @ queue[j] for j in range(len(queue)) if negatives[i, j]]
        s += [q[i] @ k[j] for j in range(len(k)) if batch_negatives and j != i]
        positive = np.exp(q[i] @ k[i] / temperature)
        negative = len(queue) * np.mean(np.exp(np.array(s) / temperature))
        losses.append(-np.log(positive / (positive + negative)))
    return np.mean(losses)


@pytest.mark.parametrize("batch_negatives", [False, True])
def test_loss_against_numpy_in_float64(batch_negatives):
    rng = np.random.default_rng(0)
    q, k, queue = (rng.normal(size=(n, 5)) for n in (4, 4, 9))
    k, queue, negatives = unit(k), unit(queue), rng.random((4, 9)) < 0.6
    ours, _ = moco_loss(*map(torch.from_numpy, (3 * q, k, queue, negatives)), batch_negatives, 0.2)
    assert float(ours) == pytest.approx(
        expected(unit(q), k, queue, negatives, batch_negatives, 0.2), rel=1e-5
    )


def test_a_queue_of_all_other_views_gives_nt_xent():
    a, b = (torch.nn.functional.normalize(torch.randn(5, 8), dim=-1) for _ in range(2))
    losses, every = [], torch.ones(1, 8, dtype=torch.bool)
    for first, second in ((a, b), (b, a)):
        for i in range(5):
            others = torch.cat([x[torch.arange(5) != i] for x in (a, b)])
            query, key = first[i : i + 1], second[i : i + 1]
            losses.append(moco_loss(query, key, others, every, False, 0.2)[0])
    torch.testing.assert_close(torch.stack(losses).mean(), nt_xent(a, b, 0.2)[0])


def test_loss_takes_queries_of_any_length_and_no_gradient_into_keys():
    q, k = torch.randn(4, 8, requires_grad=True), torch.randn(4, 8, requires_grad=True)
    queue, negatives = torch.randn(3, 8), torch.ones(4, 3, dtype=torch.bool)
    loss, matched = moco_loss(q, k, queue, negatives, True, 0.2)
    loss.backward()
    assert q.grad.any() and k.grad is None and not matched.requires_grad
    longer, _ = moco_loss(7 * q, k, queue, negatives, True, 0.2)
    torch.testing.assert_close(longer, loss)


def test_queue_holds_the_last_keys_in_order_over_uneven_batches_and_after_wrapping():
    method = make(2, queue=7, width=3)
    keys, scans = torch.randn(40, 3), torch.arange(100, 140)
    at = 0
    for n in (3, 1, 5, 7, 2, 15, 4, 1, 2):
        method.enqueue(keys[at : at + n], scans[at : at + n])
        at += n
        last = min(at, 7)
        newest = (torch.arange(at - last, at)) % 7
        assert torch.equal(method.queue[newest], keys[at - last : at])
        assert torch.equal(method.scans[newest], scans[at - last : at])
        assert (method.scans == -1).sum() == 7 - last
    assert at == 40 and method.written == 40


@pytest.mark.parametrize("ndim", [2, 3])
def test_keys_enter_the_queue_after_the_loss(ndim):
    method, data = make(ndim, momentum=1.0), batch(ndim)
    first, second = method.views(rows(data))
    keys = method.keys(second)
    out = method.training_step(data, 0)
    assert out.logs["queue"] == pytest.approx(0.4)
    assert torch.equal(method.queue[:4], keys) and not method.queue[4:].any()
    torch.testing.assert_close(keys.norm(dim=-1), torch.ones(4))
    none = torch.zeros(4, 10, dtype=torch.bool)
    queries = method.head(method.backbone(first)[-1].flatten(2).mean(-1))
    torch.testing.assert_close(out.loss, moco_loss(queries, keys, method.queue, none, True, 0.2)[0])
    out.loss.backward()  # the queue has changed since; its old values are still there


@pytest.mark.parametrize("ndim", [2, 3])
def test_keys_are_the_teachers_and_of_another_view_than_the_queries(ndim):
    method, data = make(ndim), batch(ndim)
    first, second = method.views(rows(data))
    assert not any(torch.equal(a, b) for a in first for b in second)
    backbone, head = method.teacher
    for p in method.teacher.parameters():
        p.data += 0.1 * torch.randn_like(p)
    keys = torch.nn.functional.normalize(head(backbone(second)[-1].flatten(2).mean(-1)), dim=-1)
    torch.testing.assert_close(method.keys(second), keys)
    method.training_step(data, 0)
    torch.testing.assert_close(method.queue[:4], keys)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_collapsed_encoder_pays_the_logarithm_of_the_queue_from_the_first_step_on(ndim):
    method = make(ndim)
    for p in method.parameters():
        p.data.fill_(0.01)
    for p in method.backbone.parameters():
        p.data.zero_()
    method.teacher.load_state_dict(method.student().state_dict())
    counts = []
    for step in range(5):  # four new scans each time; the queue holds ten
        out = method.training_step(batch(ndim, first=4 * step), step)
        counts.append(float(out.loss.detach().exp()))
        assert out.logs["matched"] == 0
    assert counts == pytest.approx([11] * 5, rel=1e-4)


def test_keys_of_the_same_scan_are_no_negatives():
    method, data = make(3), batch(3)
    method.training_step(data, 0)
    allowed = method.negatives(rows(data).item)
    assert torch.equal(allowed[:, :4], ~torch.eye(4, dtype=torch.bool)) and not allowed[:, 4:].any()
    assert method.negatives(rows(batch(3, first=20)).item)[:, :4].all()
    # With all places of the queue spoiled that are not allowed, nothing changes.
    spoiled = make(3)
    spoiled.load_state_dict(method.state_dict())
    data = {k: v[:1] for k, v in data.items()}
    spoiled.queue = torch.where(spoiled.negatives(rows(data).item)[0][:, None], method.queue, 99.0)
    assert torch.equal(spoiled.training_step(data, 1).loss, method.training_step(data, 1).loss)


def test_without_negatives_of_the_batch_only_the_queue_counts():
    method = make(3, batch_negatives=False)
    assert method.training_step(batch(3), 0).loss == 0
    assert method.training_step(batch(3, first=4), 1).loss > 0


@pytest.mark.parametrize("ndim", [2, 3])
def test_teacher_starts_equal_takes_no_gradient_and_follows_after_the_step(ndim):
    for momentum in (0.0, 0.9):
        method, data = make(ndim, momentum=momentum), batch(ndim)
        start = {k: v.clone() for k, v in method.teacher.state_dict().items()}
        assert all(torch.equal(v, start[k]) for k, v in method.student().state_dict().items())
        optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], 0.1)
        method.training_step(data, 0).loss.backward()
        optimizer.step()
        assert all(p.grad is None for p in method.teacher.parameters())
        assert all(torch.equal(v, start[k]) for k, v in method.teacher.state_dict().items())
        method.after_step(0)
        student = method.student().state_dict()
        for name, value in method.teacher.state_dict().items():
            wanted = momentum * start[name] + (1 - momentum) * student[name]
            torch.testing.assert_close(value, wanted)
        assert not torch.equal(student["1.0.weight"], start["1.0.weight"])


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("order", [0.0, 0.5])
def test_every_trained_weight_gets_a_gradient(ndim, order):
    method = make(ndim, channels=2, order=order)
    out = method.training_step(batch(ndim, channels=2, parts=3 if order else 0), 0)
    out.loss.backward()
    trained = [p for p in method.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
    assert len(trained) == len(list(method.student().parameters())) + bool(order)
    assert ("ordered" in out.logs) == bool(order)


@pytest.mark.parametrize("order", [0.0, 1.0])
@pytest.mark.parametrize("ndim", [2, 3])
def test_loss_falls_on_a_batch_seen_again(ndim, order):
    method, data = make(ndim, momentum=0.9, order=order), batch(ndim, parts=2 if order else 0)
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], 3e-3)
    losses = []
    for step in range(40):
        out = method.training_step(data, step)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        method.after_step(step)
        losses.append(float(out.loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    assert out.logs["matched"] > 0.25


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_run_goes_on_from_its_state_in_the_same_bits(ndim):
    method, again = make(ndim), make(ndim)
    for step in range(4):
        method.training_step(batch(ndim, b=3, first=3 * step), step)
        method.after_step(step)
    again.load_state_dict(method.state_dict())
    for step in range(4, 7):
        data = batch(ndim, b=3, first=3 * step)
        assert torch.equal(
            method.training_step(data, step).loss, again.training_step(data, step).loss
        )
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in method.state_dict().items())


@pytest.mark.parametrize("ndim", [2, 3])
def test_pictures_are_of_the_views_and_change_nothing(ndim):
    method, data = make(ndim, channels=2).eval(), batch(ndim, b=8, channels=2)
    before = {k: v.clone() for k, v in method.state_dict().items()}
    [picture] = method.pictures(data, 0)
    assert picture["rows"][0].shape == SIZES[ndim] and len(picture["columns"]) == 6
    assert np.abs(picture["values"]).max() <= 1 + 1e-5
    first, second = method.views(rows(data))
    assert np.array_equal(picture["rows"][3], first[3, 0])
    assert np.array_equal(picture["columns"][3], second[3, 0])
    assert all(torch.equal(v, before[k]) for k, v in method.state_dict().items())


def test_loss_and_queue_are_float32_under_autocast():
    method = make(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        method.training_step(batch(3), 0)
        out = method.training_step(batch(3, first=4), 1)
    assert out.loss.dtype == method.queue.dtype == torch.float32 and out.loss > 0
    q, k = torch.randn(4, 8), torch.nn.functional.normalize(torch.randn(4, 8), dim=-1)
    arguments = (q, k, torch.randn(3, 8), torch.ones(4, 3, dtype=torch.bool), True, 0.2)
    plain = moco_loss(*arguments)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(moco_loss(*arguments)[0], plain)
