import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from medssl.augment.blur import NARROW, apply_blur, draw_blur

SIZES = [(20, 30), (12, 16, 20)]


@pytest.mark.parametrize("largest", [0.7, 2.0, 4.0])
@pytest.mark.parametrize("size", SIZES)
def test_equals_scipys_with_its_weights_made_to_sum_to_one(size, largest):
    image = torch.randn(3, 2, *size)
    sigma = draw_blur(torch.arange(3), len(size), largest=largest)
    assert (sigma.max() > NARROW) == (largest > NARROW)
    out = apply_blur(image, sigma)
    for x, ours, s in zip(image.double().numpy(), out.numpy(), sigma.numpy(), strict=True):
        how = {"sigma": s, "mode": "constant", "truncate": 8}
        weight = gaussian_filter(np.ones(size), **how)
        for channel, found in zip(x, ours, strict=True):
            assert np.allclose(found, gaussian_filter(channel, **how) / weight, atol=1e-5)


@pytest.mark.parametrize("size", [(30, 40), (24, 24, 24)])
def test_equals_monais_inside(size):
    from monai.networks.layers import GaussianFilter

    image = torch.randn(2, 1, *size)
    sigma = 1 + draw_blur(torch.arange(2), len(size), largest=0.5)
    out = apply_blur(image, sigma)
    for x, ours, s in zip(image, out, sigma.tolist(), strict=True):
        theirs = GaussianFilter(len(size), s, truncated=6, approx="sampled")(x[None])[0]
        inside = (slice(None), *[slice(10, -10)] * len(size))
        assert torch.allclose(ours[inside], theirs[inside], atol=1e-4)


def test_widths_differ_by_axis_take_part_by_probability_and_zero_does_nothing():
    sigma = draw_blur(torch.arange(300), 3, largest=2.0, probability=0.4)
    part = (sigma > 0).any(1)
    assert 90 < part.sum() < 150 and ((sigma > 0).all(1) == part).all()
    assert 1.9 < sigma.max() <= 2 and not torch.equal(sigma[:, 0], sigma[:, 1])
    image = torch.rand(2, 1, 9, 9)
    assert apply_blur(image, torch.zeros(2, 2)) is image
    sigma = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    out = apply_blur(image, sigma)
    assert torch.equal(out[1], image[1]) and not torch.allclose(out[0], image[0])
    assert torch.allclose(out.mean(2)[0], apply_blur(image, sigma).mean(2)[0])
    row = torch.zeros(1, 1, 9, 9)
    row[..., 4, :] = torch.arange(9.0)
    blurred = apply_blur(row, torch.tensor([[1.0, 0.0]]))  # along the first axis only
    assert torch.allclose(blurred[0, 0, 4] / blurred[0, 0, 4, 8], torch.arange(9.0) / 8, atol=1e-6)


def test_a_sample_is_the_same_bits_beside_any_other():
    image, sigma = torch.randn(2, 1, 12, 14, 16), torch.tensor([[1.0, 0.5, 1.5], [1.0, 3.0, 0.0]])
    together = apply_blur(image, sigma)
    for k in range(2):
        assert torch.equal(together[k], apply_blur(image[k : k + 1], sigma[k : k + 1])[0])
