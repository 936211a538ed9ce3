"""What a probe asks about: boxes of scans, the right answer, and whose they are."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from medssl.evaluation.windows import Window
from medssl.seeding import generator

Box = tuple[str, Sequence[int], Sequence[int]]  # a scan's id, first voxels, last voxels + 1


@dataclass(frozen=True)
class Cases:
    """boxes of every case (features are averaged over them), answers (n,) and patients (n,)."""

    boxes: list[list[Box]]
    answers: np.ndarray
    patients: np.ndarray

    @property
    def chance(self) -> float:
        """What always giving the most frequent answer gets."""
        return float(np.unique(self.answers, return_counts=True)[1].max() / len(self.answers))


def structures(
    scans: Iterable[tuple[str, str]], points: Callable[[str], np.ndarray], values: Sequence[int],
    size: Sequence[int], per_class: int, seed: int,
) -> Cases:  # fmt: skip
    """Which structure lies at the centre? `per_class` boxes of `size` for each structure and scan.

    scans   (id, patient); a scan's number in it is part of what is drawn
    points  labelled voxels of a scan, rows of (value, *index); values: those asked about
    """
    boxes, answers, patients = [], [], []
    for n, (scan, patient) in enumerate(scans):
        found = points(scan)
        draw = generator(seed, "probe", n)
        for value in np.unique(found[:, 0]):
            rows = found[found[:, 0] == value]
            order = draw.permutation(len(rows))[:per_class]
            if value not in values:
                continue
            for row in rows[order]:
                low = [int(c) - s // 2 for c, s in zip(row[1:], size, strict=True)]
                high = [lo + s for lo, s in zip(low, size, strict=True)]
                boxes.append([(scan, low, high)])
                answers.append(int(value))
                patients.append(patient)
    return Cases(boxes, np.array(answers, int), np.array(patients))


def whole_scans(
    scans: Iterable[tuple[str, str]],
    answers: dict[str, int],
    cover: Callable[[str, int], list[Window]],
) -> Cases:
    """Which class is the scan of? `cover(id, number)` gives the windows that show it."""
    scans = [(scan, patient) for scan, patient in scans if scan in answers]
    return Cases(
        [[(scan, w.low, w.high) for w in cover(scan, n)] for n, (scan, _) in enumerate(scans)],
        np.array([answers[scan] for scan, _ in scans], int),
        np.array([patient for _, patient in scans]),
    )
