"""Segmentation: a class for every voxel, Dice and cross-entropy, sliding-window prediction."""

import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate, one_hot

from medssl.augment.compose import Augment
from medssl.backbones.decoder import UNetDecoder
from medssl.config import Count, Fraction, Share
from medssl.data.crops import CropSpec
from medssl.errors import UserError
from medssl.tasks.cleaning import Choosing, cleaned
from medssl.tasks.losses import MEANING, Loss, segmentation_loss
from medssl.tasks.mixup import mixed, shares
from medssl.trainable import StepOutput

SCATTERED = 0.05  # Dice up to which next to nothing lies where it should


class Segmentation(nn.Module):
    """A U-Net-type decoder on any backbone. Works in 2D and 3D."""

    learns: ClassVar = "masks"
    figure: ClassVar = "mean Dice"
    chance: float = SCATTERED

    def __init__(
        self, backbone: nn.Module, augment: Augment, classes: dict[int, str],
        value_range: tuple[float, float], *,
        size: Annotated[list[Count], "voxels of a training crop and of the prediction window"],
        foreground: Annotated[Share, "share of crops centred on a labelled voxel"] = 0.67,
        width: Annotated[Count, "channels of the decoder at full resolution"] = 8,
        overlap: Annotated[Fraction, "of neighbouring prediction windows, 0..1"] = 0.5,
        mixup: Annotated[float, Field(ge=0), "alpha of Beta(alpha, alpha); 0: samples unmixed"] = 0.0,
        loss: Annotated[Loss, MEANING] = "dice_ce",
        deep: Annotated[int, Field(ge=0), "how many coarser maps of the decoder learn the classes too, "
                        "each with half the weight of the one before"] = 0,
        flips: Annotated[Sequence[int], "axes (0, 1, 2): predictions of the scan mirrored along each, "
                         "and along several, are averaged"] = (),
    ):  # fmt: skip
        super().__init__()
        self.backbone, self.augment, self.value_range = backbone, augment, value_range
        self.classes = dict(sorted(classes.items()))
        self.values = np.array([0, *self.classes])  # the label of every output channel
        self.size, self.overlap, self.mixup = tuple(size), overlap, mixup
        self.crops = CropSpec(
            self.size, foreground=foreground, mask=True, labels=tuple(self.classes)
        )
        self.decoder = UNetDecoder(backbone, len(self.values), width, deep)
        self.loss = segmentation_loss(loss, soft=mixup > 0)
        self.mirrored = _mirrored(flips, backbone.ndim)
        # (largest component only, holes filled) of each class: chosen on validation cases
        self.register_buffer("cleaning", torch.zeros(len(self.classes), 2, dtype=torch.bool))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, classes, *space) of images of any size."""
        image, size = self._padded(image)
        logits = self.decoder(self.backbone(image), image)
        return _first(logits, size)

    def _maps(self, image: Tensor) -> list[Tensor]:
        """The same, and logits of the coarser maps that learn too."""
        padded, size = self._padded(image)
        shares = [n / whole for n, whole in zip(size, padded.shape[2:], strict=True)]
        maps = self.decoder.deeply(self.backbone(padded), padded)
        return [
            _first(x, [math.ceil(k * f) for k, f in zip(x.shape[2:], shares, strict=True)])
            for x in maps
        ]

    def training_step(self, batch: dict, step: int) -> StepOutput:
        drawn = self.augment.draw(batch["seed"], tuple(batch["image"].shape[2:]))
        image, mask = drawn.image(batch["image"], self.value_range), drawn.mask(batch["mask"])
        target = self._channels(mask)[:, None]
        if self.mixup:
            share = shares(batch["seed"], self.mixup)
            target = one_hot(target[:, 0], len(self.values)).movedim(-1, 1).to(image.dtype)
            image, target = mixed(image, share), mixed(target, share)
        maps = self._maps(image)
        weights = [0.5**depth for depth in range(len(maps))]
        losses = [
            weight * self.loss(logits.float(), _at(target, logits.shape[2:]))
            for weight, logits in zip(weights, maps, strict=True)
        ]
        return StepOutput(sum(losses) / sum(weights))

    def after_step(self, step: int) -> None:
        pass

    @torch.no_grad()
    def predict(self, image: np.ndarray) -> np.ndarray:
        """Probabilities (1 + classes, *space) of one prepared item (C, *space), background first.

        A network in 2D takes a volume slice by slice along its last axis.
        """
        if image.ndim > self.backbone.ndim + 1:
            slices = [
                self.predict(np.ascontiguousarray(image[..., z])) for z in range(image.shape[-1])
            ]
            return np.stack(slices, -1)
        from monai.inferers import sliding_window_inference

        given, found = torch.from_numpy(image)[None], 0.0
        given = given.to(next(self.parameters()))  # its device, and its precision
        for axes in self.mirrored:
            logits = sliding_window_inference(
                given.flip(axes), self.size, 1, self, self.overlap,
                mode="gaussian", padding_mode="constant", cval=float(image.min()),
            )  # fmt: skip
            found = found + logits.float().softmax(1).flip(axes)[0]
        return (found / len(self.mirrored)).cpu().numpy()

    def labels(self, scores: np.ndarray) -> np.ndarray:
        """The label of every voxel from class scores (classes, *space), cleaned as was best before."""
        return self.clean(self.winners(scores))

    def winners(self, scores: np.ndarray) -> np.ndarray:
        """The label of the highest score of every voxel."""
        return self.values[scores.argmax(0)]

    def clean(self, labels: np.ndarray) -> np.ndarray:
        """Labels (*space) without the islands, and with the holes, that validation cases told of."""
        how = zip(self.classes, self.cleaning.tolist(), strict=True)
        chosen = {value: tuple(each) for value, each in how if any(each)}
        return cleaned(labels, chosen) if chosen else labels

    def validate(self, cases: Iterable[tuple[np.ndarray, np.ndarray]]) -> float | None:
        """Mean Dice over classes and cases of (prepared item, true labels (*space)), cleaned in the way
        that is best for them, which `labels` follows from then on. None if they hold no class."""
        choosing = Choosing(self.classes)
        for image, truth in cases:
            choosing.show(self.winners(self.predict(image)), truth)
        chosen, score = choosing.chosen()
        self.cleaning.copy_(torch.tensor([chosen[value] for value in self.classes]))
        self.chance = max(SCATTERED, choosing.constant())
        return score

    def _channels(self, mask: Tensor) -> Tensor:
        """Labels as numbers of output channels; a label that is no class is background."""
        values = torch.as_tensor(self.values, device=mask.device)
        channel = torch.bucketize(mask, values).clamp(max=len(values) - 1)
        return torch.where(values[channel] == mask, channel, 0)

    def _padded(self, image: Tensor) -> tuple[Tensor, Sequence[int]]:
        size, divisor = image.shape[2:], self.backbone.divisor
        extra = [math.ceil(n / d) * d - n for n, d in zip(size, divisor, strict=True)]
        if any(extra):
            pad = [p for e in reversed(extra) for p in (0, e)]
            image = nn.functional.pad(image, pad, value=float(image.amin()))
        return image, size


def _first(x: Tensor, size: Sequence[int]) -> Tensor:
    """The first `size` places of the spatial axes."""
    return x[(..., *(slice(n) for n in size))]


def _at(target: Tensor, size: Sequence[int]) -> Tensor:
    """Class numbers or shares (B, any, *space) at the resolution of a coarser map."""
    if target.shape[2:] == size:
        return target
    return interpolate(target.float(), size, mode="nearest").to(target.dtype)


def _mirrored(flips: Sequence[int], ndim: int) -> list[list[int]]:
    """The axes of a batch to mirror for each prediction, none first. Raises UserError."""
    if any(axis not in range(ndim) for axis in flips) or len(set(flips)) < len(flips):
        raise UserError(
            "CONFIG", "task.flips", f"found {list(flips)}, the backbone has {ndim} axes",
            f"name axes, each once, of {', '.join(map(str, range(ndim)))}",
        )  # fmt: skip
    axes = [axis + 2 for axis in flips]
    return [list(some) for n in range(len(axes) + 1) for some in combinations(axes, n)]
