"""What is predicted of each scan, beside what is true of it: voxels, boxes, or answers of whole scans."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from medssl.data.located import as_in_files, moved
from medssl.data.manifest import Manifest
from medssl.data.packed import pack, unpack
from medssl.data.preprocess import restore
from medssl.data.store import Store
from medssl.data.truths import Truths
from medssl.evaluation.detection import Boxes, as_boxes, hits
from medssl.evaluation.metrics import segmentation_scores
from medssl.evaluation.volumes import truth_sizes
from medssl.progress import say, track


@dataclass
class Scoring:
    """Scores a model on items of a store.

    tolerance  of the normalised surface distance, mm
    iou        overlap from which on a box counts as found; none: as the task has it
    lesions    separate parts of each class are counted too
    shown      so many cases are to be drawn
    drawn_by   what puts cases in the order of which both ends and the middle are drawn: "score" or "truth"
    """

    task: Any
    truths: Truths
    manifest: Manifest
    items: pd.DataFrame
    tolerance: float
    iou: float | None
    lesions: bool
    shown: int
    drawn_by: str
    found: dict[str, Any] = field(default_factory=dict, init=False)  # what is drawn, by item

    @property
    def store(self) -> Store:
        return self.truths.store

    def cases(self) -> pd.DataFrame:
        """The rows of all items, each with its id and patient."""
        return pd.DataFrame(
            [
                {"id": item, "patient": self.items.at[item, "patient"], **row}
                for item in track(list(self.items.index), "evaluate", unit="scans")
                for row in self.rows(item)
            ]
        )

    def rows(self, item: str) -> list[dict]:
        """What is told of one item: its rows of the table of cases."""
        raise NotImplementedError

    def examples(self, cases: pd.DataFrame) -> list[dict]:
        """Some of the cases, as `reports.chain` draws them. A scan with text in its pixels is none: a name
        would be passed on with it."""
        if not self.shown:
            return []
        burned, every = self.store.burned_in, self.ranked(cases)
        ranked = [row for row in every if not burned[row[0]]]
        if marked := len(every) - len(ranked):
            say(f"remark: {marked} scans with text in their pixels are scored, and not drawn")
        if ranked and self.drawn_by == "truth":
            size = truth_sizes(cases)
            # Without truth, whether a case is ranked depends on the model.
            ranked = sorted(
                filter(lambda row: size[row[0]], ranked), key=lambda row: (size[row[0]], row[0])
            )
        n = min(self.shown, len(ranked))
        places = np.unique(np.linspace(0, len(ranked) - 1, n).round().astype(int))
        return [self._drawn(*ranked[place]) for place in places]

    def ranked(self, cases: pd.DataFrame) -> list[tuple[str, str, Callable[[], tuple]]]:
        """(id, caption, function that gives truth and prediction) of each case, from best to worst."""
        return []

    def _drawn(self, item: str, caption: str, pair: Callable[[], tuple]) -> dict:
        truth, prediction = pair()
        return {
            "id": item, "caption": caption, "image": self.store.read(item)[0], "truth": truth,
            "prediction": prediction, "classes": self.task.classes, "spacing": self.store.spacing(item),
        }  # fmt: skip


class Voxels(Scoring):
    """Dice and surface distances of every case and class, on the scan's own grid.

    The labels that were found as prepared are kept packed, if some are to be drawn: which ones is known
    when all have been scored.
    """

    def rows(self, item: str) -> list[dict]:
        self.store.check_unchanged(self.manifest, item)
        scan = self.manifest.volume(item)
        truth = self.manifest.mask(item, scan)
        scores = self.task.predict(self.store.read(item))
        if self.shown:
            labels = self.task.winners(scores)
            self.found[item] = pack(labels[None].astype(np.min_scalar_type(labels.max())))
        grid, orientation = self.store.grid(item), self.store.recipe.orientation
        found = restore(scores, grid, orientation, scan, self.task.winners, self.task.clean)
        return segmentation_scores(
            found.array[0], truth.array[0].astype(np.int64), self.task.classes, scan.spacing,
            self.tolerance, self.lesions,
        )  # fmt: skip

    def ranked(self, cases: pd.DataFrame) -> list[tuple[str, str, Callable[[], tuple]]]:
        dice = cases.groupby("id")["dice"].mean().dropna().sort_values(ascending=False)
        legend = "Truth solid, prediction dashed."
        return [
            (item, f"mean Dice {mean:z.3f}. {legend}", lambda item=item: self._pair(item))
            for item, mean in dice.items()
        ]

    def _pair(self, item: str) -> tuple[np.ndarray, np.ndarray]:
        labels = unpack(self.found[item])[0].astype(np.int64)
        return self.store.read_mask(item)[0], self.task.clean(labels)


class BoxesOfScans(Scoring):
    """A row a true, a found and an ignored box, in voxels of the scan as it was."""

    def rows(self, item: str) -> list[dict]:
        least = self.task.least_iou if self.iou is None else self.iou
        self.found[item] = self.task.predict(self.store.read(item))
        to_scan = np.linalg.inv(self.store.affine(item, of_scan=True)) @ self.store.affine(item)
        truth = as_boxes(self.truths.targets[item])
        told = {"truth": truth, "found": self.found[item], "ignored": truth.ignored}
        rows = [
            {"box": kind, **row, "iou": least}
            for kind, boxes in told.items()
            for row in boxes.rows(self.task.classes, as_in_files(moved(boxes.box, to_scan)))
        ]
        return rows or [{"box": "empty", "class": "", "iou": least}]

    def ranked(self, cases: pd.DataFrame) -> list[tuple[str, str, Callable[[], tuple]]]:
        """By the F1 of what is called in cases with a true box."""
        least, rows = float(cases["iou"].iloc[0]) if len(cases) else 0.0, []
        for item in cases.loc[cases["box"] == "truth", "id"].unique():
            truth = as_boxes(self.truths.targets[item])
            called = self.found[item].above(float(self.task.threshold))
            counted = [hits(called, truth, label, least)[1] for label in self.task.classes]
            caption, f1, right = _called(truth, called, np.concatenate(counted))
            rows.append(((-f1, -right, item), caption, truth, called))
        rows.sort(key=lambda row: row[0])
        return [
            (key[-1], caption, lambda pair=(truth, called): pair)
            for key, caption, truth, called in rows
        ]


def _called(truth: Boxes, called: Boxes, counted: np.ndarray) -> tuple[str, float, int]:
    """How well boxes were called, in words, as F1, and how many are right; `counted` says of each that is
    not to be ignored whether it is."""
    right, false = int(counted.sum()), int((~counted).sum())
    words = f"{right} of {len(truth.box)} found, {false} false"
    if beside := len(called.box) - len(counted):
        words += f", {beside} where it is to be ignored"
    words += ". Truth solid, what was called dashed, with its score."
    return words, 2 * right / (len(counted) + len(truth.box)), right


class WholeScans(Scoring):
    """Truth, prediction and scores of every case."""

    def rows(self, item: str) -> list[dict]:
        answer, logits = self.task.answer, self.task.logits(self.store.read(item))
        told = answer.row(answer.scores(logits))
        if hasattr(answer, "before"):
            told |= answer.before(logits)
        return [{**answer.truth(self.truths.targets[item]), **told}]


SCORING = {"masks": Voxels, "answers": WholeScans, "boxes": BoxesOfScans}
