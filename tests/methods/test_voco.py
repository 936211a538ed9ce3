"""Property checks of VoCo."""

import numpy as np
import pytest
import torch

from medssl.augment.compose import Augment, augmenter
from medssl.backbones.monai3d import ResUNetEncoder
from medssl.errors import UserError
from medssl.methods.parts.overlap import base_cells, overlap, random_starts
from medssl.methods.voco import (
    VoCo,
    absolute_spread,
    left_out,
    paper_loss,
    released_loss,
    squared_spread,
    v2_loss,
)  # fmt: skip

CASES = {
    "2d": (dict(ndim=2), [2, 3], [8, 12]),
    "3d": (dict(ndim=3), [2, 2, 1], [8, 12, 8]),
    "3d all axes": (dict(ndim=3), [2, 1, 3], [8, 8, 8]),
}
V2 = {"loss": "v2", "teacher": "projector", "inter": 1.0}
PAPER = {"loss": "paper", "teacher": "none", "activation": "none"}


def keep(image, seeds, **_):
    return image


def make(case: str = "3d", augment=keep, **options):
    torch.manual_seed(0)
    where, grid, crop = CASES[case]
    backbone = ResUNetEncoder(1, channels=[4, 8], **where)
    return VoCo(backbone, augment, grid=grid, size=crop, width=16, **options)


def batch(method, n=3):
    image = torch.randn(n, 1, *method.extent, generator=torch.Generator().manual_seed(1))
    return {"image": image, "seed": torch.arange(n) + 10}


def shuffled(method):
    """The same with a teacher that differs from the student."""
    torch.manual_seed(7)
    for p in method.teacher.parameters():
        p.data += 0.1 * torch.randn_like(p)
    return method


def test_losses_against_numpy_in_float64():
    rng = np.random.default_rng(0)
    y = rng.dirichlet(np.ones(6), size=(4, 3)) * (rng.random((4, 3, 6)) < 0.5)
    s = rng.uniform(-0.1, 0.95, size=y.shape)
    each = -np.log(1 - np.abs(y - s) + 1e-6)
    a, b = torch.from_numpy(s), torch.from_numpy(y)
    positive, negative = released_loss(a, b)
    assert float(positive) == pytest.approx((y * each).sum() / y.sum(), rel=1e-5)
    assert float(negative) == pytest.approx((s[y == 0] ** 2).mean(), rel=1e-5)
    assert float(sum(paper_loss(a, b))) == pytest.approx(each.mean(), rel=1e-5)
    positive, negative = v2_loss(a, b)
    assert float(positive) == pytest.approx((y * each).sum() / y.sum(), rel=1e-5)
    assert float(negative) == pytest.approx(each[y == 0].mean(), rel=1e-5)
    q = rng.normal(size=(2, 5, 8))
    q /= np.linalg.norm(q, axis=-1, keepdims=True)
    pairs = np.array([x[i] @ x[j] for x in q for i in range(5) for j in range(i)])
    squared, absolute = squared_spread(torch.from_numpy(q)), absolute_spread(torch.from_numpy(q))
    assert float(squared) == pytest.approx((np.maximum(pairs, 0) ** 2).mean(), rel=1e-5)
    assert float(absolute) == pytest.approx(2 / (5 * 4) * np.abs(pairs).sum() / 2, rel=1e-5)


@pytest.mark.parametrize("loss", [released_loss, paper_loss, v2_loss])
def test_losses_vanish_when_the_prediction_is_right_and_are_finite_when_it_is_wrong(loss):
    y = torch.tensor([[0.7, 0.3, 0.0, 0.0]])
    assert abs(float(sum(loss(y.clone(), y)))) < 1e-5
    worst = torch.tensor([[-1.0, -1.0, 1.0, 1.0]], requires_grad=True)
    total = sum(loss(worst, y))
    total.backward()
    assert torch.isfinite(total) and torch.isfinite(worst.grad).all()
    assert (worst.grad[0, :2] < 0).all() and (worst.grad[0, 2:] > 0).all()


@pytest.mark.parametrize("y", [torch.zeros(2, 3), torch.full((2, 3), 0.5)])
def test_v2_takes_labels_of_a_teacher_that_sees_nothing_or_everything(y):
    s = torch.rand(2, 3, requires_grad=True)
    total = sum(v2_loss(s, y))
    total.backward()
    assert total.isfinite() and s.grad.isfinite().all()


def test_a_positive_cell_on_the_far_side_still_has_a_gradient():
    s = torch.tensor([[-0.1]], requires_grad=True)
    released_loss(s, torch.tensor([[0.95]]))[0].backward()
    assert s.grad.abs() > 0


@pytest.mark.parametrize("spread", [squared_spread, absolute_spread])
def test_regulariser_is_zero_for_orthogonal_and_one_for_equal_cells_and_reaches_all(spread):
    assert spread(torch.eye(4)[None]) == 0
    assert spread(torch.ones(1, 4, 4) / 2) == pytest.approx(1)
    bases = torch.nn.functional.normalize(torch.rand(1, 4, 8), dim=-1).requires_grad_()
    spread(bases).backward()
    assert (bases.grad.abs().sum(-1) > 0).all()


def test_dropout_takes_features_not_crops_and_is_drawn_from_seeds():
    ones = torch.ones(50, 400)
    dropped = left_out(ones, torch.arange(50), 0.2)
    assert set(dropped.unique().tolist()) == {0.0, 1.25}
    rates = (dropped == 0).float().mean(1)
    assert rates.min() > 0.1 and rates.max() < 0.3
    assert torch.equal(dropped[7], left_out(ones[:1], torch.tensor([7]), 0.2)[0])
    assert not torch.equal(dropped[0], dropped[1])


@pytest.mark.parametrize("case", CASES)
def test_v2_step_against_numpy_from_the_embedded_crops(case):
    method = shuffled(make(case, dropout=0.3, regulariser=0.5, **V2 | {"inter": 2.0}))
    seen = {}
    for name, head in (("student", method.projector), ("teacher", method.teacher[-1])):
        head.register_forward_hook(lambda _, i, o, name=name: seen.update({name: (i[0], o)}))
    out = method.training_step(batch(method), 0)
    k, n = len(method.cells), method.crops_per_scan

    def parts(name):
        x = seen[name][1].detach().double().numpy().reshape(3, k + n, -1)
        x = x / np.linalg.norm(x, axis=-1, keepdims=True)
        return x[:, :k], x[:, k:]

    def ce(y, s):
        each = -np.log(1 - np.abs(y - s) + 1e-6)
        rest = each[y == 0]
        return (y * each).sum() / y.sum() + (rest.mean() if rest.size else 0.0)

    def leaky(x):
        return np.where(x > 0, x, 0.1 * x)

    (bases, z), (q, z_teacher) = parts("student"), parts("teacher")
    starts = random_starts(batch(method)["seed"], n, method.extent, method.size)
    labels = overlap(starts, method.cells, method.size).double().numpy()
    intra = ce(labels, leaky(np.einsum("bnd,bkd->bnk", z, q)))
    across, target = np.zeros((3, n, k)), np.zeros((3, n, k))
    for i in range(3):
        j = (i + 1) % 3
        across[i] = leaky(z[i] @ bases[j].T)
        target[i] = np.maximum(z_teacher[i] @ q[j].T, 0)
    inter = 2 * ce(target, across)
    pairs = [b[i] @ b[j] for b in bases for i in range(k) for j in range(i)]
    spread = 0.5 * (np.maximum(pairs, 0) ** 2).mean()
    assert out.logs["inter"] == pytest.approx(inter, rel=1e-5)
    assert float(out.loss.detach()) == pytest.approx(intra + inter + spread, rel=1e-5)
    # The student alone misses features, and both share the backbone.
    missing, whole = (seen[name][0].detach() for name in ("student", "teacher"))
    assert torch.allclose(missing[missing != 0] * 0.7, whole[missing != 0])
    assert 0.1 < (missing == 0).float().mean() < 0.5
    assert not (method.eval().forward(*batch(method).values()).similarity == 0).any()


@pytest.mark.parametrize("options", [{}, V2, PAPER, {"teacher": "projector"}, {"inter": 1.0}])
def test_targets_take_no_gradient(options):
    """Of what places a crop in its own grid only the crop is moved, unless the form says both."""
    crops = []

    def spy(image, seeds, **_):
        crops.append(image.detach().requires_grad_())
        return crops[-1]

    method = make(augment=spy, **options)
    # Without batch norm no crop's features depend on another crop.
    linear = torch.nn.Linear(12, 16)
    linear.width = 16
    method.projector = linear
    k = len(method.cells)
    placed = method(*batch(method).values())
    first, second = (
        torch.autograd.grad(placed.similarity[0].square().sum(), crops, retain_graph=True),
        None,
    )
    moved = first[0].flatten(1).abs().sum(1).view(3, -1) > 0
    symmetric = method.loss != "v2" and method.teacher is not None
    assert moved[0, k:].all() and bool(moved[0, :k].any()) == symmetric and not moved[1:].any()
    if placed.target is None:
        assert not options.get("inter")
        return
    assert not placed.target.requires_grad
    (second,) = torch.autograd.grad(placed.across[0].square().sum(), crops)
    moved = second.flatten(1).abs().sum(1).view(3, -1) > 0
    assert moved[0, k:].all() and moved[1, :k].all()  # the grid of the next scan, by the student
    assert not moved[0, :k].any() and not moved[1, k:].any() and not moved[2].any()


def test_the_last_scan_is_placed_in_the_grid_of_the_first():
    method = shuffled(make(**V2)).eval()
    data = batch(method)
    turn = torch.tensor([1, 2, 0])
    a = method(data["image"], data["seed"])
    b = method(data["image"][turn], data["seed"][turn])
    assert torch.allclose(a.across[turn], b.across, atol=1e-5)
    assert not torch.allclose(a.across, a.similarity, atol=1e-3)


def test_one_scan_has_no_term_between_scans():
    method = make(**V2)
    out = method.training_step(batch(method, 1), 0)
    assert "inter" not in out.logs and out.loss.isfinite()
    assert "inter" in method.training_step(batch(method, 2), 0).logs


def equal(a, b):
    return all(torch.equal(s, t) for s, t in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("teacher", ["network", "projector"])
def test_teacher_starts_as_the_student_and_follows_after_the_step_only(teacher):
    method = make(teacher=teacher)
    student = torch.nn.ModuleList([method.backbone, method.projector][teacher == "projector" :])
    assert equal(method.teacher, student)
    shuffled(method)
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], 0.1)
    old = [t.clone() for t in method.teacher.parameters()]
    method.training_step(batch(method), 0).loss.backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    optimizer.step()
    assert all(torch.equal(t, o) for t, o in zip(method.teacher.parameters(), old, strict=True))
    method.after_step(0)
    for t, o, s in zip(method.teacher.parameters(), old, student.parameters(), strict=True):
        assert torch.allclose(t, 0.9 * o + 0.1 * s, atol=1e-6)
    method.momentum = 0.0
    method.after_step(1)
    assert equal(method.teacher, student)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("options", [{}, {"teacher": "none"}, {"dropout": 0.2, **V2}])
def test_every_trained_weight_gets_a_gradient(case, options):
    method = make(case, **options)
    method.training_step(batch(method), 0).loss.backward()
    trained = {n: p for n, p in method.named_parameters() if p.requires_grad}
    # A bias before a norm without affine has none by construction.
    silent = [n for n, p in trained.items() if p.grad is None or p.grad.abs().sum() == 0]
    assert all(n.endswith("bias") for n in silent), silent


@pytest.mark.parametrize("options", [{}, V2])
def test_reordering_scans_reorders_only_the_answers(options):
    method = make(**options).eval()
    data = batch(method)
    turn = torch.tensor([2, 0, 1])
    a = method(data["image"], data["seed"])
    b = method(data["image"][turn], data["seed"][turn])
    for x, y in zip(a[:3], b[:3], strict=True):
        assert torch.allclose(x[turn], y, atol=1e-5)


def turned(image, seeds, **_):
    """Half round, which also fits crops with sides of different length."""
    return torch.rot90(image, 2, (-2, -1))


@pytest.mark.parametrize("vary", [augmenter(Augment(flip=1.0), (-5.0, 5.0)), turned])
@pytest.mark.parametrize("case", ["2d", "3d"])
def test_labels_do_not_depend_on_how_crops_vary(case, vary):
    varied = make(case, vary)
    data = batch(varied)
    a, b = varied(*data.values()), make(case)(*data.values())
    assert torch.equal(a.labels, b.labels) and not torch.equal(a.similarity, b.similarity)


def test_each_crop_varies_on_its_own():
    seen = []

    def spy(image, seeds, **_):
        seen.extend(seeds.tolist())
        return image

    method = make(augment=spy, **V2)
    method.training_step(batch(method), 0)
    assert len(set(seen)) == len(seen) == 3 * (len(method.cells) + method.crops_per_scan)


@pytest.mark.parametrize("options", [{}, V2, PAPER])
def test_half_precision_leaves_cosines_and_losses_in_full(options):
    method = make(**options)
    with torch.autocast("cpu", torch.bfloat16):
        placed = method(*batch(method).values())
        out = method.training_step(batch(method), 0)
    found = [x for x in placed if x is not None]
    assert all(x.dtype == torch.float32 for x in found) and out.loss.dtype == torch.float32
    assert not torch.equal(placed.similarity, placed.similarity.bfloat16().float())


@pytest.mark.parametrize("options", [{}, PAPER, V2 | {"dropout": 0.2}])
def test_loss_falls_and_crops_find_their_cells_on_a_batch_seen_again(options):
    method = make(crops_per_scan=4, **options)
    data = batch(method, 4)
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], 3e-3)
    first = None
    for step in range(60):
        out = method.training_step(data, step)
        first = first or float(out.loss.detach())
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        method.after_step(step)
    assert float(out.loss.detach()) < 0.7 * first
    assert out.logs["placed"] > 0.5  # chance is 0.25; near ties between cells remain


@pytest.mark.parametrize("case", CASES)
def test_crops_are_the_cells_in_their_order_then_the_random_ones_scan_by_scan(case):
    seen = []
    method = make(case, augment=lambda image, seeds, **_: seen.append(image) or image)
    data = batch(method)
    placed = method(*data.values())
    crops = seen[0].view(3, -1, *seen[0].shape[1:])
    starts = random_starts(data["seed"], method.crops_per_scan, method.extent, method.size)
    for b in range(3):
        for m, start in enumerate([*method.cells.tolist(), *starts[b].tolist()]):
            box = (slice(None), *(slice(s, s + c) for s, c in zip(start, method.size, strict=True)))
            assert torch.equal(crops[b, m], data["image"][b][box])
    assert torch.equal(placed.labels, overlap(starts, method.cells, method.size))


def test_nothing_is_left_out_when_not_training():
    data = batch(make())
    a, b = (make(dropout=p, **V2).eval()(*data.values()) for p in (0.5, 0.0))
    assert torch.equal(a.similarity, b.similarity)


@pytest.mark.parametrize("whole", [True, False])
def test_the_loader_reads_the_whole_grid(whole):
    method = make("2d", whole=whole)
    assert method.crops.size == method.extent == (16, 36) and method.crops.whole is whole


def test_pictures_show_the_crop_whose_overlap_is_given():
    method = make()
    picture = method.pictures(batch(method), 0)[0]
    again = overlap(torch.tensor(picture["start"]), method.cells, method.size)
    assert np.allclose(again.numpy(), picture["true"]) and picture["predicted"].shape == (4,)


def test_bad_options_are_refused_and_a_grid_is_found():
    backbone = ResUNetEncoder(1, channels=[4, 8], ndim=3)
    with pytest.raises(UserError, match="method.grid"):
        VoCo(backbone, keep, grid=[1, 1, 1], size=[8, 8, 8])
    with pytest.raises(UserError, match="method.size"):
        VoCo(backbone, keep, grid=[2, 2, 1], size=[7, 8, 8])
    with pytest.raises(UserError, match="method.inter"):
        VoCo(backbone, keep, size=[8, 8, 8], inter=1.0, teacher="none")
    assert torch.equal(VoCo(backbone, keep, size=[8, 8, 8]).cells, base_cells((2, 2, 1), (8, 8, 8)))
