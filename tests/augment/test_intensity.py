import torch

from medssl.augment.intensity import apply_intensity, draw_intensity


def seeded(*seeds):
    return [torch.Generator().manual_seed(s) for s in seeds]


def test_equals_the_formula_sample_by_sample():
    image = torch.rand(3, 1, 5, 6) * 2 - 1
    p = draw_intensity(seeded(1, 2, 3), gain=0.3, shift=0.2, gamma=0.4)
    out = apply_intensity(image, p, torch.tensor([1, 2, 3]), -1.0, 1.0)
    for i in range(3):
        unit = ((image[i] + 1) / 2) ** p["gamma"][i]
        expected = ((unit * 2 - 1) * p["gain"][i] + p["shift"][i]).clamp(-1, 1)
        assert torch.allclose(out[i], expected, atol=1e-6)


def test_draws_stay_in_range_and_zero_is_the_identity():
    p = draw_intensity(seeded(*range(200)), gain=0.3, shift=0.2, gamma=0.4, noise=0.1)
    assert 0.7 <= p["gain"].min() < 0.75 and 1.25 < p["gain"].max() <= 1.3
    assert p["noise"].min() >= 0 and p["noise"].max() <= 0.1
    image = torch.rand(2, 1, 4, 4)
    same = apply_intensity(image, draw_intensity(seeded(0, 1)), torch.tensor([0, 1]), 0.0, 1.0)
    assert torch.equal(same, image)


def test_noise_follows_the_sample_and_has_the_drawn_size():
    image = torch.zeros(2, 1, 40, 40, 10)
    p = draw_intensity(seeded(4, 5), noise=0.2)
    out = apply_intensity(image, p, torch.tensor([4, 5]), -5.0, 5.0)
    assert torch.allclose(out.std((1, 2, 3, 4)), p["noise"], rtol=0.05)
    alone = apply_intensity(
        image[1:], {k: v[1:] for k, v in p.items()}, torch.tensor([5]), -5.0, 5.0
    )
    assert torch.equal(alone[0], out[1])
