"""The augmentation of one training run: what may vary, drawn per sample, applied per batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor

from medssl.augment.bias import apply_bias, draw_bias
from medssl.augment.blur import apply_blur, draw_blur
from medssl.augment.cutout import apply_cutout, draw_cutout
from medssl.augment.elastic import FOLDS, draw_elastic
from medssl.augment.intensity import apply_intensity, apply_noise, draw_intensity, draw_noise
from medssl.augment.resolution import apply_resolution, draw_resolution
from medssl.augment.spatial import (
    apply_spatial,
    apply_to_boxes,
    draw_affine,
    draw_crop,
    into_box,
)
from medssl.config import Count, Fraction, Keys, Share
from medssl.errors import UserError
from medssl.stopwatch import timed

Positive = Annotated[float, Field(gt=0)]
LARGE = 2**18  # voxels of a sample from which on a CPU is better off with few samples at a time


class Augment(Keys):
    """How much a sample may vary; zero switches a transform off (for crop and scale 1, 1 does).

    What happens to a sample is a function of its seed alone: not of its batch, nor of what else is on.
    """

    crop: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        [1.0, 1.0], description="smallest and largest share of the volume or area kept, anywhere "
        "inside, log-uniform", min_length=2, max_length=2,
    )  # fmt: skip
    aspect: float = Field(
        0.0, description="sides of the kept box are stretched by up to 1 + this", ge=0
    )
    flip: list[Share] = Field(
        [0.0], description="probability of mirroring each axis: one for all, or one an axis",
        min_length=1, max_length=3,
    )  # fmt: skip
    rotate: float = Field(10.0, description="largest rotation in each plane, degrees", ge=0)
    scale: list[Positive] = Field(
        [0.9, 1.1], description="smallest and largest magnification", min_length=2, max_length=2
    )
    shift: float = Field(0.05, description="largest shift, share of the size", ge=0)
    elastic: float = Field(
        0.0, description="largest displacement of a smooth field along each axis, voxels, at most "
        f"{FOLDS:g} of elastic_spacing", ge=0,
    )  # fmt: skip
    elastic_spacing: float = Field(
        32.0, description="voxels between the control points of that field, at least 2", ge=2
    )
    bias: float = Field(
        0.0, description="a smooth field brightens and darkens by up to a factor of 1 + this", ge=0
    )
    gamma: float = Field(0.1, description="contrast curve, exponent 1 +- this", ge=0, lt=1)
    contrast: float = Field(
        0.0, description="distances from the sample's mean are multiplied by 1 +- this", ge=0
    )
    gain: float = Field(0.1, description="values are multiplied by 1 +- this", ge=0)
    offset: float = Field(0.1, description="and shifted by +- this, in prepared units", ge=0)
    blur: float = Field(
        0.0, description="largest standard deviation of a Gaussian blur, voxels", ge=0
    )
    low_resolution: float = Field(
        0.0,
        description="voxels grow by a factor of up to 1 + this, averaged, then interpolated",
        ge=0,
    )
    thick_slices: bool = Field(
        False, description="low_resolution along one axis only, drawn for each sample"
    )
    noise: float = Field(0.05, description="largest standard deviation of added noise", ge=0)
    cutout: Fraction = Field(
        0.0,
        description="largest share of the volume that boxes blank with the sample's lowest value",
    )
    cutout_boxes: Count = Field(1, description="boxes that share it")
    probability: Share = Field(
        1.0,
        description="share of samples that each transform of values, bias to cutout, applies to",
    )

    @model_validator(mode="after")
    def _ranges_rise_and_nothing_folds(self):
        for name in ("crop", "scale"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(
                    f"{name} goes from {low:g} down to {high:g}; give the smaller first"
                )
        if self.elastic > FOLDS * self.elastic_spacing:
            raise ValueError(
                f"elastic={self.elastic:g} folds the image over control points "
                f"{self.elastic_spacing:g} voxels apart; at most {FOLDS * self.elastic_spacing:g}"
            )
        return self

    @timed("augment")
    def draw(
        self, seeds: Tensor, size: tuple[int, ...], *, output: tuple[int, ...] | None = None,
        crop: tuple[float, float] | None = None, spatial: bool = True, intensity: bool = True,
    ) -> "Drawn":  # fmt: skip
        """What happens to each sample of `size`: a function of its seed (B,) alone.

        output     size of what comes out, if another
        crop       in place of the one of the run
        spatial    False: no crop unless it is given here, and voxels stay where they are
        intensity  False: values stay as they are
        """
        seeds, size = seeds.cpu(), tuple(size)
        output, ndim = tuple(output or size), len(size)
        if len(self.flip) not in (1, ndim):
            cause = f"found {len(self.flip)} values for {ndim} axes"
            raise UserError("CONFIG", "augment.flip", cause, f"give one, or {ndim}")
        moved = {"flip": self.flip, "rotate": self.rotate, "scale": self.scale, "shift": self.shift}
        maps = draw_affine(seeds, size, **(moved if spatial else {}))
        share = crop or (self.crop if spatial else (1.0, 1.0))
        maps = into_box(maps, draw_crop(seeds, ndim, share=share, aspect=self.aspect), size, output)
        elastic = None
        if spatial and self.elastic:
            elastic = draw_elastic(
                seeds, output, largest=self.elastic, spacing=self.elastic_spacing
            )
        values = self._draw_intensity(seeds, ndim) if intensity else {}
        return Drawn(seeds, output, maps, elastic, values)

    def _draw_intensity(self, seeds: Tensor, ndim: int) -> dict[str, Tensor]:
        drawn, p = {}, self.probability
        if self.bias:
            drawn["bias"] = draw_bias(seeds, ndim, largest=self.bias, probability=p)
        if self.gamma or self.contrast or self.gain or self.offset:
            drawn |= draw_intensity(
                seeds, gamma=self.gamma, contrast=self.contrast, gain=self.gain,
                offset=self.offset, probability=p,
            )  # fmt: skip
        if self.blur:
            drawn["blur"] = draw_blur(seeds, ndim, largest=self.blur, probability=p)
        if self.low_resolution:
            drawn["resolution"] = draw_resolution(
                seeds,
                ndim,
                largest=1 + self.low_resolution,
                one_axis=self.thick_slices,
                probability=p,
            )
        if self.noise:
            drawn["noise"] = draw_noise(seeds, largest=self.noise, probability=p)
        if self.cutout:
            drawn["cutout"] = draw_cutout(
                seeds, ndim, largest=self.cutout, count=self.cutout_boxes, probability=p
            )
        return drawn


@dataclass(frozen=True)
class Drawn:
    """Parameters of one batch, plain tensors on the CPU, to look at and to change.

    Applied to images and masks alike, any number of times.
    maps       (B, ndim, ndim + 1), from output index to input index, see `draw_affine`
    elastic    control points, see `draw_elastic`, or None
    intensity  by the names of what is on; what is missing is not applied
    """

    seeds: Tensor
    size: tuple[int, ...]
    maps: Tensor
    elastic: Tensor | None
    intensity: dict[str, Tensor]

    @timed("augment")
    @torch.no_grad()
    def image(self, image: Tensor, value_range: tuple[float, float]) -> Tensor:
        """Augment (B, C, *n) whose values lie within `value_range` to (B, C, *size), in its type.

        What comes in from outside has the lowest value of its sample, as padding has. A NaN
        may spread to all of its sample where that is resampled or filtered, and to no other.
        No gradient comes back, and nothing is done in half precision.
        """
        with torch.autocast(image.device.type, enabled=False):
            half = image.dtype in (torch.float16, torch.bfloat16)
            moved = self._in_turn(image.float() if half else image, *value_range)
        return moved.to(image.dtype)

    def _in_turn(self, image: Tensor, low: float, high: float) -> Tensor:
        """All samples of a small batch or on a GPU; else as many as a CPU has threads, for its cache."""
        few = torch.get_num_threads()
        if not image.is_cpu or len(image) <= few or image[0].numel() < LARGE:
            return self._applied(image, low, high)
        out = image.new_empty(*image.shape[:2], *self.size)
        for turn in (slice(first, first + few) for first in range(0, len(image), few)):
            out[turn] = self._some(turn)._applied(image[turn], low, high)
        return out

    def _some(self, rows: slice) -> "Drawn":
        elastic = None if self.elastic is None else self.elastic[rows]
        values = {name: value[rows] for name, value in self.intensity.items()}
        return Drawn(self.seeds[rows], self.size, self.maps[rows], elastic, values)

    def _applied(self, image: Tensor, low: float, high: float) -> Tensor:
        """In the order in which a scan comes about: anatomy, field, values, sharpness, noise."""
        p = self.intensity
        floor = image.amin(tuple(range(2, image.ndim)), keepdim=True)
        image = apply_spatial(image, self.maps, self.elastic, size=self.size, fill=floor)
        if "bias" in p:
            image = apply_bias(image, p["bias"], floor)
        if "gain" in p:
            image = apply_intensity(image, p, low, high)
        if "blur" in p:
            image = apply_blur(image, p["blur"])
        if "resolution" in p:
            image = apply_resolution(image, p["resolution"])
        if "noise" in p:
            image = apply_noise(image, p["noise"], self.seeds)
        if "cutout" in p:
            image = apply_cutout(image, p["cutout"], floor)
        return image.clamp(low, high) if p else image

    @timed("augment")
    def mask(self, mask: Tensor) -> Tensor:
        """Move integer labels (B, *n) along with the image, by nearest neighbour, to (B, *size).

        What comes in from outside is 0, or the sample's lowest label where that is below 0 (unknown).
        """
        labels = mask[:, None].float()
        fill = labels.amin(tuple(range(1, labels.ndim)), keepdim=True).clamp(max=0)
        moved = apply_spatial(
            labels, self.maps, self.elastic, size=self.size, nearest=True, fill=fill
        )
        return moved[:, 0].to(mask.dtype)

    @timed("augment")
    def boxes(self, boxes: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Move boxes (B, n, 2 ndim) in voxels of an image of `shape` along with it, in its type."""
        return apply_to_boxes(boxes, self.maps, shape, self.size)


def augmenter(augment: Augment, value_range: tuple[float, float]) -> Callable[..., Tensor]:
    """What methods are given: they choose how often, on what, and which part of it.

    `(image (B, C, *n), seeds (B,), *, size=None, crop=None, spatial=True, intensity=True)` gives
    (B, C, *size); size None: that of the image. A new size takes in all of the image, or of the crop.
    crop       smallest and largest share of the volume (or area) that a sample keeps, anywhere in it
    spatial    False: voxels stay where they are; intensity False: only they move. What one draws does
               not depend on whether the other is on.
    """

    def apply(
        image: Tensor, seeds: Tensor, *, size: tuple[int, ...] | None = None,
        crop: tuple[float, float] | None = None, spatial: bool = True, intensity: bool = True,
    ) -> Tensor:  # fmt: skip
        drawn = augment.draw(
            seeds, tuple(image.shape[2:]), output=size, crop=crop, spatial=spatial,
            intensity=intensity,
        )  # fmt: skip
        return drawn.image(image, value_range)

    return apply
