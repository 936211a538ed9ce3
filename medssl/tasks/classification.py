"""Classification: one class for a whole scan or film."""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from medssl.augment.compose import Augment
from medssl.backbones.base import pool
from medssl.config import Count, Fraction
from medssl.data.crops import CropSpec
from medssl.data.preprocess import resize
from medssl.tasks.mixup import mixed, other, shares
from medssl.trainable import StepOutput


class Classification(nn.Module):
    """Averages of every level of the backbone, dropout, a linear layer. Works in 2D and 3D."""

    def __init__(
        self, backbone: nn.Module, augment: Augment, classes: dict[int, str],
        value_range: tuple[float, float], *,
        size: Annotated[list[Count], "the whole scan is resized to this grid"],
        dropout: Annotated[Fraction, "before the linear layer, 0..1"] = 0.1,
        smoothing: Annotated[Fraction, "of the labels, 0..1"] = 0.0,
        balance: Annotated[bool, "weight classes inversely to their training counts"] = False,
        mixup: Annotated[float, Field(ge=0), "alpha of Beta(alpha, alpha); 0: samples unmixed"] = 0.0,
    ):  # fmt: skip
        super().__init__()
        self.backbone, self.augment, self.value_range = backbone, augment, value_range
        self.classes = classes
        self.size, self.balance, self.smoothing = tuple(size), balance, smoothing
        self.mixup = mixup
        self.crops = CropSpec(self.size, whole=True)
        self.head = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(sum(backbone.channels), len(classes))
        )
        self.register_buffer("weights", torch.ones(len(classes)))

    def set_class_counts(self, counts: list[int]) -> None:
        """Class weights from training counts, when `balance` is on; their mean is 1."""
        if self.balance:
            inverse = 1 / torch.tensor(counts, dtype=torch.float32).clamp(min=1)
            self.weights.copy_(inverse / inverse.mean())

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, C, *size)."""
        return self.head(pool(self.backbone(image)))

    def training_step(self, batch: dict, step: int) -> StepOutput:
        drawn = self.augment.draw(batch["seed"], tuple(batch["image"].shape[2:]))
        image, target = drawn.image(batch["image"], self.value_range), batch["target"]
        if not self.mixup:
            logits = self(image).float()
            loss = nn.functional.cross_entropy(
                logits, target, weight=self.weights, label_smoothing=self.smoothing
            )
        else:
            share = shares(batch["seed"], self.mixup)
            logits = self(mixed(image, share)).float()
            loss = mixed_cross_entropy(logits, target, share, self.weights, self.smoothing)
            target = torch.where(share < 0.5, other(target), target)
        right = (logits.argmax(1) == target).float().mean()
        return StepOutput(loss, {"accuracy": float(right)})

    def after_step(self, step: int) -> None:
        pass

    @torch.no_grad()
    def predict(self, image: np.ndarray) -> np.ndarray:
        """Class probabilities (classes,) of one prepared item (C, *space).

        A network in 2D takes a volume slice by slice along its last axis; the mean is returned.
        """
        if image.ndim > self.backbone.ndim + 1:
            slices = [
                self.predict(np.ascontiguousarray(image[..., z])) for z in range(image.shape[-1])
            ]
            return np.mean(slices, axis=0)
        device = next(self.parameters()).device
        fitted = torch.from_numpy(resize(image, self.size, smooth=True))[None].to(device)
        return self(fitted)[0].float().softmax(0).cpu().numpy()


def mixed_cross_entropy(
    logits: Tensor, target: Tensor, share: Tensor, weights: Tensor, smoothing: float
) -> Tensor:
    """Cross-entropy (mean by class weights) with `share` (B,) of each target and the rest of the
    next sample's; logits (B, classes), target int64 (B,). With share 1 that of `target` alone."""
    total, weight = 0.0, 0.0
    for part, wanted in ((share, target), (1 - share, other(target))):
        each = nn.functional.cross_entropy(
            logits, wanted, weight=weights, label_smoothing=smoothing, reduction="none"
        )
        total, weight = total + (part * each).sum(), weight + (part * weights[wanted]).sum()
    return total / weight
