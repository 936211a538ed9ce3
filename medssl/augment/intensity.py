"""Gain, shift, gamma, noise: what differs between scanners, for a batch with one draw a sample."""

import torch
from torch import Tensor


def draw_intensity(
    generators: list[torch.Generator], *,
    gain: float = 0.0, shift: float = 0.0, gamma: float = 0.0, noise: float = 0.0,
) -> dict[str, Tensor]:  # fmt: skip
    """Per-sample parameters: gain and gamma in [1 - a, 1 + a], shift in [-a, a], noise std in [0, a]."""
    u = torch.stack([torch.rand(4, generator=g) for g in generators])
    return {
        "gain": 1 + gain * (2 * u[:, 0] - 1),
        "shift": shift * (2 * u[:, 1] - 1),
        "gamma": 1 + gamma * (2 * u[:, 2] - 1),
        "noise": noise * u[:, 3],
    }


def apply_intensity(
    image: Tensor, parameters: dict[str, Tensor], seeds: Tensor, low: float, high: float
) -> Tensor:
    """x -> clip(gain * gamma(x) + shift + noise) within [low, high], the range of prepared images.

    Gamma acts on values scaled to 0..1. Noise is drawn on the image's device from each sample's seed.
    """
    wide = (-1,) + (1,) * (image.ndim - 1)
    p = {k: v.to(image.device, image.dtype).view(wide) for k, v in parameters.items()}
    if not bool((p["gamma"] == 1).all()):
        unit = ((image - low) / (high - low)).clamp(0, 1)
        image = unit ** p["gamma"] * (high - low) + low
    image = image * p["gain"] + p["shift"]
    if bool((p["noise"] > 0).any()):
        image = image + p["noise"] * _noise(image, seeds)
    return image.clamp(low, high)


def _noise(image: Tensor, seeds: Tensor) -> Tensor:
    drawn = []
    for seed in seeds.tolist():
        g = torch.Generator(image.device).manual_seed(seed)
        drawn.append(torch.randn(image.shape[1:], generator=g, device=image.device))
    return torch.stack(drawn).to(image.dtype)
