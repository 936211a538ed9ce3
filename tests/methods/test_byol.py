"""Property checks of BYOL."""

import numpy as np
import pytest
import torch

from medssl.augment.compose import Augment, augmenter
from medssl.backbones.monai3d import ResUNetEncoder
from medssl.errors import UserError
from medssl.methods.byol import BYOL, byol_loss
from medssl.methods.parts.order import rows

SIZES = {2: (16, 24), 3: (8, 12, 8)}


def make(ndim, channels=1, **options):
    torch.manual_seed(0)
    backbone = ResUNetEncoder(channels, channels=[4, 8], ndim=ndim)
    options = {"size": SIZES[ndim], "hidden": 16, "width": 8} | options
    return BYOL(backbone, augmenter(Augment(), (-5.0, 5.0)), **options)


def batch(ndim, b=4, channels=1, parts=0):
    g = torch.Generator().manual_seed(1)
    boxes = (b, parts) if parts else (b,)
    data = {"image": torch.randn(*boxes, channels, *SIZES[ndim], generator=g)}
    data |= {"seed": torch.arange(b) + 50, "item": torch.arange(b)}
    if parts:
        data["place"] = torch.linspace(0.1, 0.9, parts).expand(b, parts)
    return data


def test_loss_against_numpy_in_float64():
    rng = np.random.default_rng(0)
    p, z = rng.normal(size=(8, 5)), rng.normal(size=(8, 5))
    m = 4
    of_image = []
    for i in range(m):  # both directions of an image are added
        cosines = [p[j] @ z[j] / np.linalg.norm(p[j]) / np.linalg.norm(z[j]) for j in (i, m + i)]
        of_image.append(sum(2 - 2 * c for c in cosines))
    assert float(byol_loss(torch.from_numpy(p), torch.from_numpy(z))) == pytest.approx(
        np.mean(of_image), rel=1e-5
    )


def test_loss_is_0_for_agreement_8_for_opposites_and_ignores_lengths():
    p, z = torch.randn(6, 5), torch.randn(6, 5)
    assert float(byol_loss(p, 3 * p)) == pytest.approx(0, abs=1e-5)
    assert float(byol_loss(p, -p)) == pytest.approx(8, rel=1e-5)
    torch.testing.assert_close(byol_loss(7 * p, 0.1 * z), byol_loss(p, z))


def test_no_gradient_flows_into_the_target():
    p, z = torch.randn(6, 5, requires_grad=True), torch.randn(6, 5, requires_grad=True)
    byol_loss(p, z).backward()
    assert p.grad.any() and z.grad is None


@pytest.mark.parametrize("ndim", [2, 3])
def test_each_view_is_predicted_from_the_other(ndim):
    method, data = make(ndim), batch(ndim)
    for (
        p
    ) in method.teacher.parameters():  # a target of its own, so that it is told from the student
        p.data += 0.1 * torch.randn_like(p)
    out = method.training_step(data, 0)
    views = torch.cat(method.views(rows(data)))
    assert not torch.equal(views[:4], views[4:])

    def of(backbone, projector):
        return projector(backbone(views)[-1].flatten(2).mean(-1))

    predicted = method.predictor(of(method.backbone, method.projector))
    target = of(*method.teacher)
    cosine = torch.nn.functional.cosine_similarity
    directions = [cosine(predicted[:4], target[4:]), cosine(predicted[4:], target[:4])]
    wanted = sum((2 - 2 * c).mean() for c in directions)
    torch.testing.assert_close(out.loss, wanted)
    assert out.logs["cosine"] == pytest.approx(
        float(torch.cat(directions).mean().detach()), abs=1e-5
    )


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("order", [0.0, 0.5])
def test_every_trained_weight_gets_a_gradient_and_the_target_none(ndim, order):
    method = make(ndim, channels=2, order=order)
    out = method.training_step(batch(ndim, channels=2, parts=3 if order else 0), 0)
    out.loss.backward()
    # A constant added to the projection cancels in the predictor's norm.
    cancels = "projector.3.bias"
    trained = {k: p for k, p in method.named_parameters() if p.requires_grad}
    assert cancels in trained and "predictor.0.weight" in trained
    assert all(p.grad.abs().sum() > 0 for k, p in trained.items() if k != cancels)
    assert all(p.grad is None for p in method.teacher.parameters())
    assert ("ordered" in out.logs) == bool(order)


@pytest.mark.parametrize("ndim", [2, 3])
def test_target_starts_equal_and_follows_after_the_step(ndim):
    for momentum in (0.0, 0.9, 1.0):
        method, data = make(ndim, momentum=momentum), batch(ndim)
        start = {k: v.clone() for k, v in method.teacher.named_parameters()}
        assert all(torch.equal(v, start[k]) for k, v in method.student().named_parameters())
        optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], 0.1)
        method.training_step(data, 0).loss.backward()
        optimizer.step()
        assert all(torch.equal(v, start[k]) for k, v in method.teacher.named_parameters())
        method.after_step(0)
        student = dict(method.student().named_parameters())
        for name, value in method.teacher.named_parameters():
            wanted = momentum * start[name] + (1 - momentum) * student[name]
            torch.testing.assert_close(value, wanted)
        assert any(not torch.equal(student[k], v) for k, v in start.items())


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("order", [0.0, 1.0])
def test_loss_falls_on_a_batch_seen_again_and_the_answer_is_no_constant(ndim, order):
    method, data = make(ndim, order=order), batch(ndim, parts=2 if order else 0)
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], 3e-3)
    losses = []
    for step in range(30):
        out = method.training_step(data, step)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        method.after_step(step)
        losses.append(float(out.loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    [picture] = method.pictures(data, 30)
    assert picture["values"].std() > 1e-3


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_run_goes_on_from_its_state_in_the_same_bits(ndim):
    method, again, data = make(ndim), make(ndim), batch(ndim)
    for p in method.student().parameters():
        p.data += 0.1
    method.training_step(data, 0)
    method.after_step(0)
    again.load_state_dict(method.state_dict())
    assert torch.equal(method.training_step(data, 1).loss, again.training_step(data, 1).loss)


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


def test_loss_is_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = make(3).training_step(batch(3), 0)
    assert out.loss.dtype == torch.float32 and out.loss.isfinite()


def test_a_batch_of_one_image_is_refused():
    with pytest.raises(UserError, match="fit.batch_size"):
        make(3).training_step(batch(3, b=1), 0)
