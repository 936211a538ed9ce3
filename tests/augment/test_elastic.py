import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from medssl.augment.elastic import FOLDS, displacement, draw_elastic, spline


def test_the_spline_equals_scipys():
    n, cells = 17, 4
    knots = np.arange(-3, cells + 4) * n / cells - 0.5  # the axis runs from -0.5 to n - 0.5
    reference = BSpline.design_matrix(np.arange(n), knots, 3).toarray()
    assert np.allclose(spline(n, cells + 3).numpy(), reference, atol=1e-12)


@pytest.mark.parametrize("size", [(40, 56), (24, 32, 40)])
def test_displacements_reach_the_limit_never_pass_it_and_never_fold(size):
    seeds = torch.arange(20)
    control = draw_elastic(seeds, size, largest=100.0, spacing=8.0)  # held where it would fold
    assert control.abs().max() <= FOLDS * 8 and control.abs().max() > 0.9 * FOLDS * 8
    field = displacement(control, size)
    assert field.shape == (20, len(size), *size)
    assert field.abs().max() <= FOLDS * 8
    assert field.abs().amax(tuple(range(1, field.ndim))).min() < 0.5 * FOLDS * 8  # samples differ
    steps = [torch.diff(field, dim=2 + a) for a in range(len(size))]
    inner = (slice(None), slice(None), *[slice(0, n - 1) for n in size])
    jacobian = torch.stack([s[inner] for s in steps], 2).movedim((1, 2), (-2, -1))
    assert (torch.linalg.det(jacobian + torch.eye(len(size))) > 0).all()
    assert draw_elastic(seeds, size, largest=0.5, spacing=8.0).abs().max() <= 0.5


def test_one_control_point_moves_only_its_neighbourhood_along_its_axis():
    control = draw_elastic(torch.tensor([0]), (64, 64), largest=0, spacing=8)
    assert control.shape == (1, 2, 11, 11) and (control == 0).all()
    control[0, 1, 5, 5] = 1
    field = displacement(control, (64, 64))
    assert (field[0, 0] == 0).all()
    moved = field[0, 1].nonzero()
    assert moved.min() == 16 and moved.max() == 47  # two distances to each side
    assert field[0, 1].max() == pytest.approx((2 / 3) ** 2, rel=0.02)
