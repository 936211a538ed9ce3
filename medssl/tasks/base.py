"""What a task is, and the table of those that ship."""

from typing import Protocol

import numpy as np

from medssl.data.crops import CropSpec
from medssl.trainable import Trainable

TASKS = {
    "segmentation": "medssl.tasks.segmentation:Segmentation",
    "classification": "medssl.tasks.classification:Classification",
}


class Task(Trainable, Protocol):
    """An `nn.Module` built as `Task(backbone, augment, classes, value_range, *, options...)`."""

    crops: CropSpec
    classes: dict[int, str]

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Scores of one prepared item (C, *space): (labels, *space), or (classes,)."""

    def labels(self, scores: np.ndarray) -> np.ndarray:
        """Of a segmentation: the label of every voxel from scores (labels, *space)."""
