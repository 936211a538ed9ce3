"""Property checks of SimCLR."""

import numpy as np
import pytest
import torch

from medssl.augment.compose import Augment, augmenter
from medssl.backbones.monai3d import ResUNetEncoder
from medssl.errors import UserError
from medssl.methods.parts.contrast import nt_xent
from medssl.methods.parts.order import rows
from medssl.methods.simclr import SimCLR

SIZES = {2: (16, 24), 3: (8, 12, 8)}
READ = {2: (18, 24), 3: (10, 12, 10)}


def make(ndim, channels=1, **options):
    torch.manual_seed(0)
    backbone = ResUNetEncoder(channels, channels=[4, 8], ndim=ndim)
    options = {"size": SIZES[ndim], "read": READ[ndim], "hidden": 16, "width": 8} | options
    return SimCLR(backbone, augmenter(Augment(), (-5.0, 5.0)), **options)


def batch(ndim, b=4, channels=1, parts=0):
    g = torch.Generator().manual_seed(1)
    boxes = (b, parts) if parts else (b,)
    data = {"image": torch.randn(*boxes, channels, *READ[ndim], generator=g)}
    data |= {"seed": torch.arange(b) + 5, "item": torch.arange(b)}
    if parts:
        data["place"] = torch.linspace(0.1, 0.9, parts).expand(b, parts)
    return data


@pytest.mark.parametrize("ndim", [2, 3])
def test_loss_is_that_of_two_views_of_each_image(ndim):
    method, data = make(ndim), batch(ndim)
    seen = []
    method.backbone.register_forward_hook(lambda m, args, out: seen.append(args[0]))
    outputs = []
    method.head.register_forward_hook(lambda m, args, out: outputs.append(out))
    loss = method.training_step(data, 0).loss
    [views], [z] = seen, outputs
    assert views.shape == (8, 1, *SIZES[ndim])
    assert not any(torch.equal(views[i], views[j]) for i in range(8) for j in range(i))
    torch.testing.assert_close(loss, nt_xent(z[:4], z[4:], 0.1)[0])
    for i in range(4):  # the same scan, whatever else is in the batch
        alone = {k: v[i : i + 1] for k, v in data.items()}
        first, second = method.views(rows(alone))
        torch.testing.assert_close(first[0], views[i])
        torch.testing.assert_close(second[0], views[4 + i])


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_collapsed_encoder_pays_the_logarithm_of_the_other_views(ndim):
    method = make(ndim)
    for p in method.backbone.parameters():
        p.data.zero_()
    out = method.training_step(batch(ndim), 0)
    assert float(out.loss.detach()) == pytest.approx(np.log(7), rel=1e-5)
    assert out.logs["matched"] == 0


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("order", [0.0, 0.5])
def test_every_trained_weight_gets_a_gradient(ndim, order):
    method = make(ndim, channels=2, order=order)
    data = batch(ndim, channels=2, parts=4 if order else 0)
    out = method.training_step(data, 0)
    out.loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())
    assert ("ordered" in out.logs) == bool(order)


@pytest.mark.parametrize("ndim", [2, 3])
def test_with_order_every_box_is_an_image_and_the_term_is_added(ndim):
    method, plain = make(ndim, order=0.5, parts=3), make(ndim)
    plain.load_state_dict(method.state_dict(), strict=False)
    data = batch(ndim, b=2, parts=3)
    assert method.crops.parts == 3 and method.crops.size == READ[ndim] and plain.crops.parts == 0
    with_order, without = method.training_step(data, 0), plain.training_step(data, 0)
    added = 0.5 * with_order.logs["order"]
    assert float(with_order.loss.detach()) == pytest.approx(
        float(without.loss.detach()) + added, rel=1e-5
    )
    with torch.no_grad():
        for p in method.backbone.parameters():
            p.zero_()
    # Six boxes, twelve views: those of the same scan are negatives too.
    assert float(method.training_step(data, 0).loss.detach()) == pytest.approx(
        np.log(11) + 0.5 * np.log(2), rel=1e-5
    )


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("order", [0.0, 1.0])
def test_loss_falls_on_a_batch_seen_again(ndim, order):
    method, data = make(ndim, order=order), batch(ndim, parts=2 if order else 0)
    optimizer = torch.optim.AdamW(method.parameters(), 3e-3)
    losses = []
    for step in range(30):
        out = method.training_step(data, step)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        losses.append(float(out.loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert out.logs["matched"] > 1 / 7


@pytest.mark.parametrize("ndim", [2, 3])
def test_pictures_are_of_the_views_and_change_nothing(ndim):
    method, data = make(ndim, channels=2).eval(), batch(ndim, b=8, channels=2)
    before = {k: v.clone() for k, v in method.state_dict().items()}
    [picture] = method.pictures(data, 0)
    assert picture["rows"][0].shape == SIZES[ndim] and len(picture["rows"]) == 6
    assert np.abs(picture["values"]).max() <= 1 + 1e-5
    first, second = method.views(rows(data))
    assert np.array_equal(picture["rows"][3], first[3, 0])
    assert np.array_equal(picture["columns"][3], second[3, 0])
    assert all(torch.equal(v, before[k]) for k, v in method.state_dict().items())


def test_loss_is_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = make(3).training_step(batch(3), 0)
    assert out.loss.dtype == torch.float32 and out.loss.isfinite()


@pytest.mark.parametrize(
    "bad, key",
    [
        ({"temperature": 0.0}, "temperature"),
        ({"crop": [0.5, 2.0]}, "crop"),
        ({"read": [8]}, "read"),
        ({"order": 1.0, "whole": True}, "whole"),
        ({"size": (9, 12, 8)}, "size"),
    ],
)
def test_bad_options_are_refused(bad, key):
    with pytest.raises(UserError, match=f"method.{key}"):
        make(3, **bad)


def test_a_batch_of_one_image_is_refused():
    with pytest.raises(UserError, match="no negatives"):
        make(3).training_step(batch(3, b=1), 0)
