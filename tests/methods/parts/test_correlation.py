"""Property checks of matrices over dimensions."""

import numpy as np
import torch

from medssl.methods.parts.correlation import correlation, off_diagonal


def test_against_numpy_and_of_view_by_view():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 7, 4))
    c = correlation(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    expected = [[np.mean(a[:, i] * b[:, j]) for j in range(4)] for i in range(4)]
    assert np.allclose(c, expected, rtol=1e-9)


def test_is_as_fine_as_float32_under_autocast():
    z = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        c = correlation(z, z)
    assert torch.equal(c, correlation(z, z)) and c.dtype == torch.float32
    assert correlation(z.bfloat16(), z.bfloat16()).dtype == torch.float32


def test_off_diagonal_has_d_times_d_minus_one_entries():
    matrix = torch.arange(25.0).view(5, 5)
    off = off_diagonal(matrix)
    assert len(off) == 20 and off.sum() == matrix.sum() - matrix.trace()
    assert len(off_diagonal(torch.eye(1))) == 0
