"""Contrast curve, contrast, gain, offset and noise: what differs between scanners."""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from medssl.augment.samples import beside, for_some, uniform
from medssl.seeding import key

NEUTRAL = {"gamma": 1.0, "contrast": 1.0, "gain": 1.0, "offset": 0.0}


def draw_intensity(
    seeds: Tensor, *, gamma: float = 0.0, contrast: float = 0.0, gain: float = 0.0,
    offset: float = 0.0, probability: float = 1.0,
) -> dict[str, Tensor]:  # fmt: skip
    """(B,) each: gamma, contrast, gain in [1 - a, 1 + a], offset in [-a, a], uniform.

    Each takes part by itself with the probability given, and else is 1, or 0.
    """
    strength = {"gamma": gamma, "contrast": contrast, "gain": gain, "offset": offset}
    u = uniform(seeds, "intensity", 2 * len(NEUTRAL)).unflatten(1, (2, len(NEUTRAL)))
    taken, value = u[:, 0] < probability, 2 * u[:, 1] - 1
    return {
        name: neutral + strength[name] * value[:, i] * taken[:, i]
        for i, (name, neutral) in enumerate(NEUTRAL.items())
    }


def apply_intensity(
    image: Tensor, parameters: dict[str, Tensor], low: float, high: float
) -> Tensor:
    """gain (m + contrast (gamma(x) - m)) + offset for (B, C, *n), m the mean of each channel.

    Gamma acts on values within [low, high], scaled to 0..1 and clipped. Nothing else is clipped.
    """
    gamma, contrast, gain, offset = (parameters[name] for name in NEUTRAL)

    def curve(some: Tensor, rows: Tensor) -> Tensor:
        unit = (some - low).mul_(1 / (high - low)).clamp_(0, 1)
        # exp(gamma log x) takes half the time of x ** gamma; 0 stays 0.
        power = unit.log_().mul_(beside(gamma[rows], some)).exp_()
        return power.mul_(high - low).add_(low)

    def straight(some: Tensor, rows: Tensor) -> Tensor:
        c, g, b = (beside(p[rows], some) for p in (contrast, gain, offset))
        if bool((contrast[rows] != 1).any()):
            b = b + g * (1 - c) * some.mean(tuple(range(2, some.ndim)), keepdim=True)
        return torch.addcmul(b, some, g * c)

    image = for_some(image, gamma != 1, curve)
    return for_some(image, (contrast != 1) | (gain != 1) | (offset != 0), straight)


def draw_noise(seeds: Tensor, *, largest: float, probability: float = 1.0) -> Tensor:
    """Standard deviations (B,), uniform in 0..largest; 0 where there is no noise."""
    u = uniform(seeds, "noise", 2)
    return largest * u[:, 1] * (u[:, 0] < probability)


def apply_noise(image: Tensor, deviation: Tensor, seeds: Tensor) -> Tensor:
    """Add Gaussian noise to (B, C, *n), drawn on the image's device from each sample's seed.

    A CPU and a GPU draw other noise for the same seed: bringing it over would cost more than all else.
    """

    def work(some: Tensor, rows: Tensor) -> Tensor:
        noise = torch.empty_like(some, memory_format=torch.contiguous_format)
        own = seeds.cpu()[rows].tolist()
        if some.is_cpu:  # a generator draws on one core; several samples at a time keep all busy
            with ThreadPoolExecutor(torch.get_num_threads()) as pool:
                list(pool.map(_draw, noise, own))
        else:
            for row, seed in zip(noise, own, strict=True):
                _draw(row, seed)
        return noise.mul_(beside(deviation[rows], some)).add_(some)

    return for_some(image, deviation > 0, work)


def _draw(row: Tensor, seed: int) -> None:
    with torch.inference_mode(row.is_inference()):  # a thread does not know the mode of another
        row.normal_(generator=torch.Generator(row.device).manual_seed(key(seed, "augment.voxels")))
