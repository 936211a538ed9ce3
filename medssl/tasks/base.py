"""What a task is, and the table of those that ship."""

from collections.abc import Iterable
from typing import ClassVar, Protocol

import numpy as np

from medssl.data.crops import CropSpec
from medssl.trainable import Trainable

TASKS = {
    "segmentation": "medssl.tasks.segmentation:Segmentation",
    "detection": "medssl.tasks.detection:Detection",
    "classification": "medssl.tasks.classification:Classification",
    "multilabel": "medssl.tasks.classification:Multilabel",
    "ordinal": "medssl.tasks.classification:Ordinal",
    "regression": "medssl.tasks.classification:Regression",
}


class Task(Trainable, Protocol):
    """An `nn.Module` built as `Task(backbone, augment, classes, value_range, *, options...)`.

    learns  from what: masks, answers or boxes (`data.truths`)
    figure  what the score of `validate` is, of its last cases: Dice, AUROC, ...
    chance  what an answer has that has learnt nothing, by that figure and on these cases; None where that
            cannot be told. A task of your own may go without both
    """

    learns: ClassVar[str]
    crops: CropSpec
    classes: dict[int, str]
    figure: str
    chance: float | None

    def learn_targets(self, targets: list) -> None:
        """Where there are targets: take from those of training what is needed before the first step."""

    def predict(self, image: np.ndarray):
        """Of one prepared item (C, *space): scores (labels, *space), scores (classes,) of an answer, or
        `evaluation.detection.Boxes`."""

    def validate(self, cases: Iterable[tuple]) -> float | None:
        """How well held-out cases are answered, higher is better, None if they cannot tell; fits what is
        chosen on them. A case is (prepared item, true labels (*space) or target)."""

    def winners(self, scores: np.ndarray) -> np.ndarray:
        """Of a segmentation: the label of every voxel from scores (labels, *part of the space)."""

    def clean(self, labels: np.ndarray) -> np.ndarray:
        """Of a segmentation: labels (*space) after what needs to see all of them."""

    def labels(self, scores: np.ndarray) -> np.ndarray:
        """Of a segmentation: both."""
