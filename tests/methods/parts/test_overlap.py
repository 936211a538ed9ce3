"""The grid, random crops and their overlap, for any grid in any axes."""

import pytest
import torch

from medssl.errors import UserError
from medssl.methods.parts.overlap import base_cells, checked_grid, cut, overlap, random_starts

CASES = {
    "film": ((2, 3), (8, 12)),
    "film, one row": ((1, 4), (5, 3)),
    "flat grid of a volume": ((3, 3, 1), (4, 4, 6)),
    "last axis alone": ((1, 1, 5), (3, 4, 2)),
    "all axes": ((2, 1, 3), (8, 6, 5)),
    "three axes": ((2, 3, 2), (3, 5, 4)),
}


def drawn(case, n=200):
    grid, size = CASES[case]
    extent = tuple(g * s for g, s in zip(grid, size, strict=True))
    cells, starts = base_cells(grid, size), random_starts(torch.arange(n), 2, extent, size)
    return grid, size, extent, cells, starts, overlap(starts, cells, size)


@pytest.mark.parametrize("case", CASES)
def test_labels_are_shares_that_sum_to_one_over_few_cells(case):
    grid, _, _, cells, _, labels = drawn(case)
    free = sum(g > 1 for g in grid)
    assert labels.shape == (200, 2, len(cells)) and labels.min() >= 0
    assert torch.allclose(labels.sum(-1), torch.ones(200, 2), atol=1e-6)
    assert (labels > 0).sum(-1).max() == 2**free  # 400 draws leave no axis aligned


@pytest.mark.parametrize("case", CASES)
def test_label_equals_the_count_of_voxels(case):
    _, size, extent, cells, starts, labels = drawn(case, 20)
    index = torch.zeros(1, 1, *extent, dtype=torch.long)
    for k, start in enumerate(cells.tolist()):
        index[(0, 0, *(slice(s, s + c) for s, c in zip(start, size, strict=True)))] = k
    crops = cut(index, starts.view(1, -1, len(size)), size)
    for crop, label in zip(crops, labels.flatten(0, 1), strict=True):
        counted = torch.bincount(crop.flatten(), minlength=len(cells)) / crop.numel()
        assert torch.allclose(label, counted, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_a_cell_overlaps_itself_alone_and_order_and_mirror_follow_the_grid(case):
    grid, size, extent, cells, starts, labels = drawn(case, 20)
    n = len(cells)
    assert torch.equal(overlap(cells, cells, size), torch.eye(n))
    turn = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    assert torch.equal(overlap(starts, cells[turn], size), labels[..., turn])
    for axis in range(len(grid)):
        mirrored = starts.clone()
        mirrored[..., axis] = extent[axis] - size[axis] - starts[..., axis]
        flipped = labels.view(20, 2, *grid).flip(2 + axis).flatten(2)
        assert torch.allclose(overlap(mirrored, cells, size), flipped, atol=1e-6)


def test_less_than_one_outside_the_grid_and_exact_between_voxels():
    cells = base_cells((2, 2, 2), (4, 5, 6))
    assert overlap(torch.tensor([[-2.0, 0, 0]]), cells, (4, 5, 6)).sum() == 0.5
    between = overlap(torch.tensor([[1.5, 0, 0]]), cells, (4, 5, 6))
    assert between.max() == pytest.approx(0.625)


def test_every_place_is_drawn_alike_the_first_and_the_last_included():
    starts = random_starts(torch.arange(4000), 1, (12, 8), (8, 8)).view(-1, 2)
    assert not starts.is_floating_point() and starts[:, 1].max() == 0
    counts = starts[:, 0].bincount()
    assert len(counts) == 5 and counts.min() > 700  # 800 expected


def test_places_are_a_function_of_the_scan_s_seed():
    a = random_starts(torch.tensor([3, 4]), 3, (16, 16), (4, 4))
    b = random_starts(torch.tensor([4, 5]), 3, (16, 16), (4, 4))
    assert torch.equal(a[1], b[0]) and not torch.equal(a[0], a[1])


def test_cut_takes_scan_by_scan_with_all_channels():
    image = torch.arange(2 * 2 * 36).view(2, 2, 6, 6)
    starts = torch.tensor([[[0, 0], [2, 3]], [[1, 1], [3, 3]]])
    pieces = cut(image, starts, (3, 3))
    assert pieces.shape == (4, 2, 3, 3)
    assert torch.equal(pieces[1], image[0, :, 2:5, 3:6])
    assert torch.equal(pieces[2], image[1, :, 1:4, 1:4])


@pytest.mark.parametrize("grid", [(1, 1, 1), (2, 2), (2, 0, 2)])
def test_bad_grids_are_refused(grid):
    with pytest.raises(UserError, match="method.grid"):
        checked_grid(grid, 3)
