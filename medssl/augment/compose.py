"""The augmentation of one training run: what may vary, drawn per sample, applied per batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medssl.augment.intensity import apply_intensity, draw_intensity
from medssl.augment.spatial import apply_affine, draw_affine, draw_crop
from medssl.config import Keys


class Augment(Keys):
    """How much a sample may vary; zero switches a transform off."""

    flip: float = Field(0.0, description="probability of mirroring each axis", ge=0, le=1)
    rotate: float = Field(10.0, description="largest rotation in each plane, degrees", ge=0)
    scale: list[Annotated[float, Field(gt=0)]] = Field(
        [0.9, 1.1], description="smallest and largest magnification", min_length=2, max_length=2
    )
    shift: float = Field(0.05, description="largest shift, share of the size", ge=0)
    gain: float = Field(0.1, description="values are multiplied by 1 +- this", ge=0)
    offset: float = Field(0.1, description="and shifted by +- this, in prepared units", ge=0)
    gamma: float = Field(0.1, description="contrast curve, exponent 1 +- this", ge=0, lt=1)
    noise: float = Field(0.05, description="largest standard deviation of added noise", ge=0)

    def draw(self, seeds: Tensor, size: tuple[int, ...]) -> "Drawn":
        """What happens to each sample: a function of its seed alone."""
        generators = [torch.Generator().manual_seed(s) for s in seeds.tolist()]
        maps = draw_affine(
            generators, size, flip=self.flip, rotate=self.rotate, scale=tuple(self.scale),
            shift=self.shift,
        )  # fmt: skip
        intensity = draw_intensity(
            generators, gain=self.gain, shift=self.offset, gamma=self.gamma, noise=self.noise
        )
        return Drawn(maps, intensity, seeds)


@dataclass(frozen=True)
class Drawn:
    """Parameters of one batch; applied to images and masks alike, any number of times."""

    maps: Tensor
    intensity: dict[str, Tensor]
    seeds: Tensor

    def image(self, image: Tensor, value_range: tuple[float, float]) -> Tensor:
        """Augment (B, C, *size) whose values lie within `value_range`.

        What comes in from outside has the lowest value of its sample, as padding has.
        """
        floor = image.amin(tuple(range(1, image.ndim)), keepdim=True)
        image = apply_affine(image, self.maps, fill=floor)
        return apply_intensity(image, self.intensity, self.seeds, *value_range)

    def mask(self, mask: Tensor) -> Tensor:
        """Move integer labels (B, *size) along with the image, by nearest neighbour."""
        moved = apply_affine(mask[:, None].float(), self.maps, nearest=True)
        return moved[:, 0].to(mask.dtype)


def augmenter(augment: Augment, value_range: tuple[float, float]) -> Callable[..., Tensor]:
    """What methods are given: they choose how often, on what, and which part of it.

    `(image (B, C, *n), seeds (B,), *, size=None, crop=None, spatial=True, intensity=True)` gives
    (B, C, *size); size None: that of the image.
    crop       smallest and largest share of the volume (or area) that a sample keeps, anywhere in it
    spatial    False: voxels stay where they are; intensity False: only they move. What one draws does
               not depend on whether the other is on.
    """

    def apply(
        image: Tensor, seeds: Tensor, *, size: tuple[int, ...] | None = None,
        crop: tuple[float, float] | None = None, spatial: bool = True, intensity: bool = True,
    ) -> Tensor:  # fmt: skip
        drawn = augment.draw(seeds, tuple(image.shape[2:]))
        maps = (
            drawn.maps
            if spatial
            else torch.eye(image.ndim - 2, image.ndim - 1).expand_as(drawn.maps)
        )
        if size is not None or crop is not None:
            maps = draw_crop(maps, seeds, tuple(image.shape[2:]), size, crop)
        floor = image.amin(tuple(range(1, image.ndim)), keepdim=True)
        image = apply_affine(image, maps, fill=floor, size=size)
        if not intensity:
            return image
        return apply_intensity(image, drawn.intensity, drawn.seeds, *value_range)

    return apply
