"""Property checks of VoCo."""

import numpy as np
import pytest
import torch

from medssl.backbones.monai3d import ResUNetEncoder
from medssl.errors import UserError
from medssl.methods.voco import (
    VoCo,
    base_cells,
    cut,
    overlap,
    paper_loss,
    random_starts,
    released_loss,
    spread_loss,
)  # fmt: skip

CASES = {
    "2d": (dict(ndim=2), [2, 3], [8, 12]),
    "3d": (dict(ndim=3), [2, 2, 1], [8, 12, 8]),
    "3d all axes": (dict(ndim=3), [2, 1, 3], [8, 8, 8]),
}


def keep(image, seeds):
    return image


def make(case: str = "3d", **options):
    torch.manual_seed(0)
    where, grid, crop = CASES[case]
    backbone = ResUNetEncoder(1, channels=[4, 8], **where)
    return VoCo(backbone, keep, grid=grid, size=crop, width=16, **options)


def batch(method, n=3):
    return {"image": torch.randn(n, 1, *method.extent), "seed": torch.arange(n) + 10}


def labels_of(method, n=400):
    starts = random_starts(torch.arange(n), 2, method.extent, method.size)
    return starts, overlap(starts, method.cells, method.size)


@pytest.mark.parametrize("case", CASES)
def test_labels_are_shares_that_sum_to_one_over_few_cells(case):
    method = make(case)
    _, labels = labels_of(method)
    free = sum(g > 1 for g in method.grid)
    assert labels.min() >= 0 and torch.allclose(labels.sum(-1), torch.ones(400, 2), atol=1e-6)
    assert (labels > 0).sum(-1).max() <= 2**free


@pytest.mark.parametrize("case", CASES)
def test_label_equals_the_count_of_voxels(case):
    method = make(case)
    index = torch.zeros(method.extent, dtype=torch.long)
    for k, start in enumerate(method.cells.tolist()):
        index[tuple(slice(s, s + c) for s, c in zip(start, method.size, strict=True))] = k
    starts, labels = labels_of(method, 20)
    for start, label in zip(
        starts.flatten(0, 1).long().tolist(), labels.flatten(0, 1), strict=True
    ):
        crop = index[tuple(slice(s, s + c) for s, c in zip(start, method.size, strict=True))]
        counted = torch.bincount(crop.flatten(), minlength=len(method.cells)) / crop.numel()
        assert torch.allclose(label, counted, atol=1e-6)


def test_labels_one_hot_on_a_cell_less_than_one_outside_and_exact_between_voxels():
    cells = base_cells((2, 2, 2), (4, 5, 6))
    assert torch.equal(overlap(cells, cells, (4, 5, 6)), torch.eye(8))
    assert overlap(torch.tensor([[-2.0, 0, 0]]), cells, (4, 5, 6)).sum() == 0.5
    halfway = overlap(torch.tensor([[1.5, 0, 0]]), cells, (4, 5, 6))
    assert halfway.max() == pytest.approx(0.625)


def test_label_order_is_cell_order_and_mirrors_with_the_grid():
    cells = base_cells((2, 2), (4, 4))
    start = torch.tensor([[1.0, 3.0]])
    swap = torch.tensor([2, 0, 3, 1])
    assert torch.equal(overlap(start, cells[swap], (4, 4)), overlap(start, cells, (4, 4))[:, swap])
    mirrored = torch.tensor([[3.0, 3.0]])  # 8 - 4 - 1 along the first axis
    mirror = torch.tensor([2, 3, 0, 1])
    assert torch.equal(overlap(mirrored, cells, (4, 4)), overlap(start, cells, (4, 4))[:, mirror])


def test_first_and_last_place_are_both_drawn():
    starts = random_starts(torch.arange(2000), 1, (12, 8), (8, 8)).reshape(-1, 2)
    assert starts[:, 0].unique().tolist() == [0, 1, 2, 3, 4] and starts[:, 1].max() == 0


def test_cut_takes_scan_by_scan():
    image = torch.arange(2 * 36).view(2, 1, 6, 6)
    starts = torch.tensor([[[0, 0], [2, 3]], [[1, 1], [3, 3]]])
    pieces = cut(image, starts, (3, 3))
    assert pieces.shape == (4, 1, 3, 3)
    assert torch.equal(pieces[1, 0], image[0, 0, 2:5, 3:6]) and torch.equal(
        pieces[2, 0], image[1, 0, 1:4, 1:4]
    )


def test_losses_against_numpy_in_float64():
    rng = np.random.default_rng(0)
    y = rng.dirichlet(np.ones(6), size=(4, 3)) * (rng.random((4, 3, 6)) < 0.5)
    s = rng.uniform(-0.1, 0.95, size=y.shape)
    positive, negative = released_loss(torch.from_numpy(s), torch.from_numpy(y))
    expected = (-y * np.log(1 - np.abs(y - s) + 1e-6)).sum() / y.sum()
    assert float(positive) == pytest.approx(expected, rel=1e-5)
    assert float(negative) == pytest.approx((s[y == 0] ** 2).mean(), rel=1e-5)
    parts = paper_loss(torch.from_numpy(s), torch.from_numpy(y))
    assert float(sum(parts)) == pytest.approx(-np.log(1 - np.abs(y - s) + 1e-6).mean(), rel=1e-5)


@pytest.mark.parametrize("loss", [released_loss, paper_loss])
def test_losses_vanish_when_the_prediction_is_right_and_are_finite_when_it_is_wrong(loss):
    y = torch.tensor([[0.7, 0.3, 0.0, 0.0]])
    assert abs(float(sum(loss(y.clone(), y)))) < 1e-5
    worst = torch.tensor([[-1.0, -1.0, 1.0, 1.0]], requires_grad=True)
    total = sum(loss(worst, y))
    total.backward()
    assert torch.isfinite(total) and torch.isfinite(worst.grad).all()


def test_a_positive_cell_on_the_far_side_still_has_a_gradient():
    s = torch.tensor([[-0.1]], requires_grad=True)
    released_loss(s, torch.tensor([[0.95]]))[0].backward()
    assert s.grad.abs() > 0


def test_regulariser_is_zero_for_orthogonal_and_one_for_equal_cells_and_reaches_all():
    assert spread_loss(torch.eye(4)[None]) == 0
    assert spread_loss(torch.ones(1, 4, 4) / 2) == pytest.approx(1)
    bases = torch.nn.functional.normalize(torch.rand(1, 4, 8), dim=-1).requires_grad_()
    spread_loss(bases).backward()
    assert (bases.grad.abs().sum(-1) > 0).all()


def test_teacher_starts_as_the_student_and_follows_after_the_step_only():
    method = make()
    backbone, projector = method.teacher
    pairs = [(backbone, method.backbone), (projector, method.projector)]

    def equal():
        return all(
            torch.equal(t, s)
            for a, b in pairs
            for t, s in zip(a.parameters(), b.parameters(), strict=True)
        )

    assert equal()
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], 0.1)
    method.training_step(batch(method), 0).loss.backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    old = [t.clone() for t in method.teacher.parameters()]
    optimizer.step()
    method.after_step(0)
    students = [*method.backbone.parameters(), *method.projector.parameters()]
    for t, o, s in zip(method.teacher.parameters(), old, students, strict=True):
        assert torch.allclose(t, 0.9 * o + 0.1 * s, atol=1e-6)
    method.momentum = 0.0
    method.after_step(1)
    assert equal()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("teacher", [True, False])
def test_every_trained_weight_gets_a_gradient(case, teacher):
    method = make(case, teacher=teacher)
    method.training_step(batch(method), 0).loss.backward()
    trained = {n: p for n, p in method.named_parameters() if p.requires_grad}
    # A bias before a norm without affine has none by construction.
    silent = [n for n, p in trained.items() if p.grad is None or p.grad.abs().sum() == 0]
    assert all(n.endswith("bias") for n in silent), silent


def test_reordering_scans_reorders_only_the_answers():
    method = make(crops_per_scan=2).eval()
    data = batch(method)
    turn = torch.tensor([2, 0, 1])
    a = method(data["image"], data["seed"])
    b = method(data["image"][turn], data["seed"][turn])
    for x, y in zip(a, b, strict=True):
        assert torch.allclose(x[turn], y, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"loss": "paper", "teacher": False, "activation": "none"}])
def test_loss_falls_and_crops_find_their_cells_on_a_batch_seen_again(options):
    method = make(**options)
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
    assert float(out.loss) < 0.7 * first
    assert out.logs["placed"] > 0.5  # chance is 0.25; near ties between cells remain


def test_pictures_show_the_crop_whose_overlap_is_given():
    method = make()
    picture = method.pictures(batch(method), 0)[0]
    again = overlap(torch.tensor(picture["start"]), method.cells, method.size)
    assert np.allclose(again.numpy(), picture["true"]) and picture["predicted"].shape == (4,)


def test_bad_grids_and_crops_are_refused():
    backbone = ResUNetEncoder(1, channels=[4, 8], ndim=3)
    with pytest.raises(UserError, match="method.grid"):
        VoCo(backbone, keep, grid=[1, 1, 1], size=[8, 8, 8])
    with pytest.raises(UserError, match="method.size"):
        VoCo(backbone, keep, grid=[2, 2, 1], size=[7, 8, 8])
