import numpy as np
import pytest
import torch

from medssl.augment.bias import apply_bias, draw_bias, field

SIZES = [(20, 30), (12, 16, 20)]


@pytest.mark.parametrize("size", SIZES)
def test_equals_numpys_polynomial_and_monais_field(size):
    from monai.transforms import RandBiasField

    ndim = len(size)
    image = torch.rand(2, 2, *size) + 1
    c = draw_bias(torch.arange(2), ndim, largest=0.5)
    out = apply_bias(image, c, 0.5)
    evaluate = {2: np.polynomial.legendre.leggrid2d, 3: np.polynomial.legendre.leggrid3d}[ndim]
    for i in range(2):
        log = evaluate(*[np.linspace(-1, 1, n) for n in size], c[i].numpy())
        expected = 0.5 + (image[i].double().numpy() - 0.5) * np.exp(log)
        assert np.allclose(out[i], expected, atol=1e-5)
        if ndim == 3:  # in 2D, MONAI's polynomials have other degrees
            index = [k for k in np.ndindex(4, 4, 4) if sum(k) <= 3]  # in the order of its list
            coefficients = [float(c[i][k]) for k in index]
            theirs = RandBiasField()._generate_random_field(size, 3, coefficients)
            assert np.allclose(field(c, size)[i], theirs, atol=1e-6)


@pytest.mark.parametrize("ndim", [2, 3])
def test_fields_reach_the_limit_and_hardly_pass_it(ndim):
    c = draw_bias(torch.arange(200), ndim, largest=0.5, probability=0.8)
    part = (c != 0).flatten(1).any(1)
    assert 140 < part.sum() < 180 and (c.flatten(1)[:, 0] == 0).all()
    top = field(c, (33,) * ndim).abs().flatten(1).amax(1)
    assert 0.95 * np.log(1.5) < top.max() < 1.05 * np.log(1.5)
    assert top[part].median() == pytest.approx(np.log(1.5) / 2, rel=0.2)
    image = torch.rand(200, 1, *[5] * ndim)
    out = apply_bias(image, c)
    assert torch.equal(out[~part], image[~part])
    assert apply_bias(image, torch.zeros_like(c)) is image


def test_what_is_at_the_floor_stays():
    image = torch.full((1, 1, 8, 8), -2.0)
    image[..., 4:] = 1
    out = apply_bias(image, draw_bias(torch.tensor([1]), 2, largest=1.0), image.amin())
    assert (out[..., :4] == -2).all() and not (out[..., 4:] == 1).any()
