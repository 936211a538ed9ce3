"""Segmentation: a class for every voxel, Dice and cross-entropy, sliding-window prediction."""

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import one_hot

from medssl.augment.compose import Augment
from medssl.backbones.decoder import UNetDecoder
from medssl.config import Count, Fraction, Share
from medssl.data.crops import CropSpec
from medssl.tasks.mixup import mixed, shares
from medssl.trainable import StepOutput


class Segmentation(nn.Module):
    """A U-Net-type decoder on any backbone. Works in 2D and 3D."""

    def __init__(
        self, backbone: nn.Module, augment: Augment, classes: dict[int, str],
        value_range: tuple[float, float], *,
        size: Annotated[list[Count], "voxels of a training crop and of the prediction window"],
        foreground: Annotated[Share, "share of crops centred on a labelled voxel"] = 0.67,
        width: Annotated[Count, "channels of the decoder at full resolution"] = 8,
        overlap: Annotated[Fraction, "of neighbouring prediction windows, 0..1"] = 0.5,
        mixup: Annotated[float, Field(ge=0), "alpha of Beta(alpha, alpha); 0: samples unmixed"] = 0.0,
    ):  # fmt: skip
        super().__init__()
        from monai.losses import DiceCELoss

        self.backbone, self.augment, self.value_range = backbone, augment, value_range
        self.classes = dict(sorted(classes.items()))
        self.values = np.array([0, *self.classes])  # the label of every output channel
        self.size, self.overlap, self.mixup = tuple(size), overlap, mixup
        self.crops = CropSpec(self.size, foreground=foreground, mask=True)
        self.decoder = UNetDecoder(backbone, len(self.values), width)
        # Statistics over the whole batch: a class absent from one crop is no error of that crop.
        self.loss = DiceCELoss(
            softmax=True, to_onehot_y=not mixup, include_background=False, batch=True,
            smooth_nr=1e-5, smooth_dr=1e-5,
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, classes, *space) of images of any size."""
        image, size = self._padded(image)
        logits = self.decoder(self.backbone(image), image)
        return logits[(..., *(slice(n) for n in size))]

    def training_step(self, batch: dict, step: int) -> StepOutput:
        drawn = self.augment.draw(batch["seed"], tuple(batch["image"].shape[2:]))
        image, mask = drawn.image(batch["image"], self.value_range), drawn.mask(batch["mask"])
        target = self._channels(mask)[:, None]
        if self.mixup:
            share = shares(batch["seed"], self.mixup)
            target = one_hot(target[:, 0], len(self.values)).movedim(-1, 1).to(image.dtype)
            image, target = mixed(image, share), mixed(target, share)
        return StepOutput(self.loss(self(image).float(), target))

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

        device = next(self.parameters()).device
        logits = sliding_window_inference(
            torch.from_numpy(image)[None].to(device), self.size, 1, self, self.overlap,
            mode="gaussian", padding_mode="constant", cval=float(image.min()),
        )  # fmt: skip
        return logits[0].float().softmax(0).cpu().numpy()

    def labels(self, scores: np.ndarray) -> np.ndarray:
        """The label of every voxel from class scores (classes, *space)."""
        return self.values[scores.argmax(0)]

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
