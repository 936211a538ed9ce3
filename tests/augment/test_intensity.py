import numpy as np
import pytest
import torch

from medssl.augment.intensity import apply_intensity, apply_noise, draw_intensity, draw_noise

SIZES = [(15, 16), (5, 6, 7)]


@pytest.mark.parametrize("size", SIZES)
def test_equals_the_formula_sample_by_sample(size):
    image = torch.rand(3, 2, *size) * 2 - 1
    p = draw_intensity(torch.arange(3), gain=0.3, offset=0.2, gamma=0.4, contrast=0.5)
    out = apply_intensity(image, p, -1.0, 1.0)
    for i in range(3):
        for c in range(2):
            x = image[i, c].double().numpy()
            x = ((x + 1) / 2) ** float(p["gamma"][i]) * 2 - 1
            x = x.mean() + float(p["contrast"][i]) * (x - x.mean())
            x = x * float(p["gain"][i]) + float(p["offset"][i])
            assert np.allclose(out[i, c], x, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_gamma_equals_monais_on_images_that_fill_the_range(size):
    from monai.transforms import AdjustContrast

    image = torch.rand(2, 1, *size)
    for one in image.flatten(1):
        one[:2] = torch.tensor([0.0, 1.0])
    p = draw_intensity(torch.arange(2), gamma=0.4)
    out = apply_intensity(image, p, 0.0, 1.0)
    for x, ours, gamma in zip(image, out, p["gamma"].tolist(), strict=True):
        assert torch.allclose(ours, AdjustContrast(gamma)(x).as_tensor(), atol=1e-5)


def test_each_alone_leaves_the_others_neutral_and_samples_that_take_no_part():
    image = torch.rand(40, 1, 6, 6)
    for name in ("gamma", "contrast", "gain", "offset"):
        p = draw_intensity(torch.arange(40), **{name: 0.3}, probability=0.5)
        neutral = 0.0 if name == "offset" else 1.0
        part = p[name] != neutral
        assert 10 < part.sum() < 30
        assert all((p[n] == (n != "offset")).all() for n in p if n != name)
        out = apply_intensity(image, p, 0.0, 1.0)
        assert torch.equal(out[~part], image[~part])
        assert (out[part] != image[part]).flatten(1).any(1).all()


def test_draws_stay_in_range_and_zero_is_the_identity():
    p = draw_intensity(torch.arange(200), gain=0.3, offset=0.2, gamma=0.4, contrast=0.1)
    for name, centre, width in (
        ("gain", 1, 0.3), ("offset", 0, 0.2), ("gamma", 1, 0.4), ("contrast", 1, 0.1)
    ):  # fmt: skip
        low, high = float(p[name].min()) - centre, float(p[name].max()) - centre
        assert -width <= low < -0.9 * width and 0.9 * width < high <= width
    both = torch.corrcoef(torch.stack([p["gain"], p["offset"], p["gamma"], p["contrast"]]))
    assert (both - torch.eye(4)).abs().max() < 0.25
    image = torch.rand(2, 1, 4, 4)
    assert apply_intensity(image, draw_intensity(torch.arange(2)), 0.0, 1.0) is image
    assert apply_noise(image, draw_noise(torch.arange(2), largest=0), torch.arange(2)) is image


@pytest.mark.parametrize("size", [(80, 80), (20, 20, 20)])
def test_noise_follows_the_sample_is_gaussian_and_has_the_drawn_size(size):
    image, seeds = torch.ones(2, 2, *size), torch.tensor([4, 5])
    deviation = draw_noise(seeds, largest=0.2)
    noise = apply_noise(image, deviation, seeds) - 1
    assert torch.allclose(noise.flatten(1).std(1).double(), deviation, rtol=0.05)
    assert (noise.flatten(1).mean(1).abs() < 0.05 * deviation).all()
    unit = noise.flatten(1) / deviation[:, None]
    assert ((unit.abs() < 1).double().mean(1) - 0.6827).abs().max() < 0.02
    channels = torch.corrcoef(unit.view(4, -1))
    assert (channels - torch.eye(4)).abs().max() < 0.05  # other noise in each channel and sample
    alone = apply_noise(image[1:], deviation[1:], seeds[1:])
    assert torch.equal(alone[0] - 1, noise[1])


def test_noise_takes_part_by_probability():
    deviation = draw_noise(torch.arange(300), largest=0.2, probability=0.3)
    assert 60 < (deviation > 0).sum() < 120 and 0.18 < deviation.max() <= 0.2
    image = torch.rand(300, 1, 4, 4)
    out = apply_noise(image, deviation, torch.arange(300))
    assert torch.equal(out[deviation == 0], image[deviation == 0])
