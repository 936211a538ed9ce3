"""Small islands removed and holes filled in predicted labels, where that helped on validation cases."""

from collections.abc import Iterable

import numpy as np
from scipy import ndimage

# (only the largest component, holes filled), the simplest first: the first of the best is taken.
CHOICES = ((False, False), (True, False), (False, True), (True, True))
GAIN = 1e-4  # of mean Dice, under which nothing is done


def cleaned(labels: np.ndarray, chosen: dict[int, tuple[bool, bool]]) -> np.ndarray:
    """Labels (*space) with `chosen` done to each value: what is removed becomes background, and only
    background is filled, so that what lies inside a structure under another name stays."""
    out = labels.copy()
    for value, how in chosen.items():
        before = out == value
        after = _cleaned(before, out == 0, *how)
        out[before & ~after], out[after] = 0, value
    return out


def _cleaned(mask: np.ndarray, background: np.ndarray, largest: bool, fill: bool) -> np.ndarray:
    """One class; components are joined by faces. Only the box around it is looked at: what is beyond
    cannot be a hole."""
    if not mask.any() or not (largest or fill):
        return mask
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    inside = mask[box]
    if largest:
        parts, n = ndimage.label(inside)
        if n > 1:
            sizes = np.bincount(parts.ravel())
            sizes[0] = 0
            inside = parts == sizes.argmax()
    if fill:
        inside = inside | (ndimage.binary_fill_holes(inside) & background[box])
    out = np.zeros_like(mask)
    out[box] = inside
    return out


class Choosing:
    """Which of CHOICES each value gains most by, over cases that are shown one by one."""

    def __init__(self, values: Iterable[int]):
        self.values = list(values)
        self.dice: list[np.ndarray] = []
        self.everywhere: list[list[float]] = []  # Dice of a value that is predicted in every voxel

    def show(self, labels: np.ndarray, truth: np.ndarray) -> None:
        """Predicted and true labels (*space) of a case."""
        background, case = labels == 0, np.full((len(self.values), len(CHOICES)), np.nan)
        for row, value in enumerate(self.values):
            found, wanted = labels == value, truth == value
            for column, how in enumerate(CHOICES if found.any() else CHOICES[:1]):
                mask = _cleaned(found, background, *how)
                total = mask.sum() + wanted.sum()
                if total:
                    case[row, column:] = 2 * (mask & wanted).sum() / total
        self.dice.append(case)
        true = [int((truth == value).sum()) for value in self.values]
        self.everywhere.append([2 * n / (truth.size + n) for n in true])

    def constant(self) -> float:
        """The mean Dice, over cases and classes, of the best answer that is one class everywhere."""
        if not self.everywhere:
            return 0.0
        return float(np.mean(self.everywhere, axis=0).max() / len(self.values))

    def chosen(self) -> tuple[dict[int, tuple[bool, bool]], float | None]:
        """What to do to each value, and the mean Dice over cases and classes once it is done (None where
        no case holds a class)."""
        cases = np.stack(self.dice) if self.dice else np.full((1, len(self.values), 4), np.nan)
        known = ~np.isnan(cases)
        counts = known.sum(0)
        means = np.where(known, cases, 0).sum(0) / np.maximum(counts, 1)
        best = [int(np.argmax(row)) if row.max() > row[0] + GAIN else 0 for row in means.round(9)]
        picked = cases[:, range(len(best)), best]
        score = float(np.nanmean(picked)) if known.any() else None
        return {v: CHOICES[b] for v, b in zip(self.values, best, strict=True)}, score
