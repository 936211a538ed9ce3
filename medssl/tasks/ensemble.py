"""Several models of one question, such as those of the folds: their mean, and how far they are apart."""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch

from medssl.evaluation.detection import Boxes, merged

SAME = 0.3  # IoU from which on boxes of two models are of the same thing


class Ensemble:
    """Answers as a task does, with the mean of its members' scores; one member is that task.

    What validation chose (thresholds, cleaning of classes) is averaged, too: the mean threshold, and what
    more than half of the members clean. Their temperatures have done their work before the mean.
    """

    def __init__(self, members: Sequence):
        self.members, first = list(members), members[0]
        self.backbone, self.classes = first.backbone, first.classes
        self.winners = getattr(first, "winners", None)
        self.answer = deepcopy(getattr(first, "answer", None))
        if hasattr(self.answer, "threshold"):
            self.answer.threshold.copy_(_mean(m.answer.threshold for m in self.members))
        self.threshold = None  # from which score on a box is called
        if getattr(first, "learns", "") == "boxes":
            self.threshold = float(_mean(m.threshold for m in self.members))
        self._cleaner = first
        if hasattr(first, "cleaning"):
            self._cleaner = deepcopy(first)
            self._cleaner.cleaning.copy_(_mean(m.cleaning.float() for m in self.members) > 0.5)

    def predict(self, image: np.ndarray) -> tuple[np.ndarray | Boxes, np.ndarray | None]:
        """(mean scores, standard deviation over members): of a whole scan that of each score (k,), of a
        segmentation that of the number of voxels of each class, of boxes that of each one's score; None
        for one member."""
        if self.threshold is not None:
            found = [member.predict(image) for member in self.members]
            return (found[0], None) if len(found) == 1 else merged(found, SAME)
        total, each = 0.0, []
        for member in self.members:
            scores = member.predict(image)
            total = total + scores
            each.append(scores if scores.ndim == 1 else self._counts(scores))
        spread = np.std(each, axis=0, ddof=1) if len(each) > 1 else None
        return total / len(self.members), spread

    def clean(self, labels: np.ndarray) -> np.ndarray:
        return self._cleaner.clean(labels)

    def _counts(self, scores: np.ndarray) -> np.ndarray:
        found = self.winners(scores)
        return np.array([(found == k).sum() for k in self.classes], float)


def _mean(tensors) -> torch.Tensor:
    return torch.stack(list(tensors)).mean(0)
