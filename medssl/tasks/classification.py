"""One answer for a whole scan or film: a class, labels, a grade or a number."""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from medssl.augment.compose import Augment
from medssl.backbones.base import pool
from medssl.config import Count, Fraction
from medssl.data.crops import CropSpec
from medssl.data.preprocess import resize
from medssl.errors import UserError
from medssl.tasks.answers import Classes, Grades, Labels, Number
from medssl.tasks.mixup import mixed, shares
from medssl.tasks.pooling import AttentionPool
from medssl.trainable import StepOutput


class Classification(nn.Module):
    """The backbone's levels, averaged or by attention, dropout, a linear layer. Works in 2D and 3D.

    A network in 2D takes a volume slice by slice, and averages what it says of them; with `slices` it
    learns from all slices of a volume together, and attention may choose among them.
    """

    learns: ClassVar = "answers"
    answer_of: ClassVar = Classes

    def __init__(
        self, backbone: nn.Module, augment: Augment, classes: dict[int, str],
        value_range: tuple[float, float], *,
        size: Annotated[list[Count], "the whole scan is resized to this grid"],
        dropout: Annotated[Fraction, "before the linear layer, 0..1"] = 0.1,
        smoothing: Annotated[Fraction, "of the labels, 0..1"] = 0.0,
        balance: Annotated[bool, "weight classes inversely to their training counts"] = False,
        mixup: Annotated[float, Field(ge=0), "alpha of Beta(alpha, alpha); 0: samples unmixed"] = 0.0,
        pooling: Annotated[Literal["mean", "attention"], "of the places of a map, or of slices; "
                           "attention is of the coarsest level's places"] = "mean",
        slices: Annotated[int, Field(ge=0), "a network in 2D sees a volume, resized to so many slices, "
                          "as one sample; 0: each slice is a sample"] = 0,
    ):  # fmt: skip
        super().__init__()
        self.backbone, self.augment, self.value_range = backbone, augment, value_range
        self.classes = classes
        self.size, self.smoothing = tuple(size), smoothing
        self.mixup, self.balanced, self.slices = mixup, balance, slices
        self.crops = CropSpec((*self.size, slices) if slices else self.size, whole=True)
        self.answer = self.answer_of([classes[k] for k in sorted(classes)])
        for option, asked in {"balance": balance, "smoothing": smoothing}.items():
            if asked and option not in self.answer.takes:
                raise UserError(
                    "CONFIG", f"task.{option}", f"means nothing to {type(self).__name__.lower()}",
                    "leave it out",
                )  # fmt: skip
        features = sum(backbone.channels)
        if pooling == "attention" and not slices:
            features = backbone.channels[-1]
        self.attention = AttentionPool(features) if pooling == "attention" else None
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, self.answer.outputs))

    def learn_targets(self, targets: list) -> None:
        """Take from the training scans' targets what is needed before the first step."""
        self.answer.learn(targets, self.balanced)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, outputs) of images (B, C, *size), or of volumes (B, C, *size, slices)."""
        if self.slices:
            b, n = len(image), image.shape[-1]
            levels = self.backbone(image.movedim(-1, 1).flatten(0, 1))
            instances = pool(levels).unflatten(0, (b, n))
        elif self.attention:
            instances = self.backbone(image)[-1].flatten(2).transpose(1, 2)
        else:
            return self.head(pool(self.backbone(image)))
        return self.head(self.attention(instances) if self.attention else instances.mean(1))

    def training_step(self, batch: dict, step: int) -> StepOutput:
        drawn = self.augment.draw(batch["seed"], tuple(batch["image"].shape[2:]))
        image, code = drawn.image(batch["image"], self.value_range), batch["target"]
        code = self.answer.encode(code)
        if self.mixup:
            share = shares(batch["seed"], self.mixup)
            image, code = mixed(image, share), mixed(code, share)
        logits = self(image).float()
        loss = self.answer.loss(logits, code, self.smoothing)
        return StepOutput(loss, self.answer.log(logits, code))

    def after_step(self, step: int) -> None:
        pass

    @torch.no_grad()
    def predict(self, image: np.ndarray) -> np.ndarray:
        """Scores (k,) of one prepared item (C, *space): what the answer's `scores` says."""
        return self.answer.scores(self.logits(image))

    @property
    def figure(self) -> str:
        return self.answer.figure

    @property
    def chance(self) -> float | None:
        return self.answer.chance

    def validate(self, cases: Iterable[tuple]) -> float | None:
        """AUROC of held-out (prepared item, target), or what else the answer counts by; its
        temperature and thresholds are fitted to them."""
        found = [(self.logits(image), target) for image, target in cases]
        return self.answer.fit(*map(list, zip(*found, strict=True))) if found else None

    @torch.no_grad()
    def logits(self, image: np.ndarray) -> Tensor:
        """Of one prepared item: (instances, outputs), one, or a slice each."""
        size, stack = self.crops.size, [image]
        if image.ndim > len(size) + 1:
            stack = [np.ascontiguousarray(image[..., z]) for z in range(image.shape[-1])]
        like = next(self.parameters())  # its device, and its precision
        fitted = (torch.from_numpy(resize(each, size, smooth=True))[None] for each in stack)
        return torch.cat([self(each.to(like)).float() for each in fitted])


class Multilabel(Classification):
    """Several labels that may be there together; `target` names their columns."""

    answer_of: ClassVar = Labels


class Ordinal(Classification):
    """Grades in order: numbers, or names whose order `classes` gives."""

    answer_of: ClassVar = Grades


class Regression(Classification):
    """A measured number, such as age."""

    answer_of: ClassVar = Number
