"""Pictures of boxes: true and found ones on films, or in planes of volumes that bring most into view."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from medssl.evaluation.detection import Boxes
from medssl.reports.figures import (
    AXES,
    DASHES,
    LEFT,
    aspects_of,
    axis_order,
    legend,
    planes,
    rows_of,
    show,
)
from medssl.reports.style import COLOURS, styled

VIEWS = 3  # sets of three planes at most


@styled
def boxes_overlay(
    image: np.ndarray, truth: Boxes, prediction: Boxes, classes: dict[int, str],
    spacing: Sequence[float] | None = None,
) -> Figure:  # fmt: skip
    """True boxes (solid) and found ones (dashed, with their scores) on a film, or in the planes of
    `views`, a row of three for each."""
    d = image.ndim
    places = views(truth, prediction, image.shape)[0] if d == 3 else [None]
    aspects = aspects_of(d, spacing)
    figure, rows = rows_of([p.shape for p in planes(image)], aspects, len(places))
    for at, axes in zip(places, rows, strict=True):
        for i, (axis, picture) in enumerate(zip(axes, planes(image, at), strict=True)):
            show(axis, picture, image, aspects[i], LEFT[i] if d == 3 else "")
            for boxes, line in ((truth, "solid"), (prediction, DASHES)):
                for k, (box, label) in enumerate(zip(boxes.box, boxes.label, strict=True)):
                    if (where := _in_plane(box, image.shape, at, i)) is None:
                        continue
                    colour = COLOURS[list(classes).index(int(label)) % len(COLOURS)]
                    column, row, width, height = where
                    axis.add_patch(Rectangle((column, row), width, height, fill=False, edgecolor=colour,
                                             linestyle=line, linewidth=1.4))  # fmt: skip
                    if boxes.score is not None:
                        axis.annotate(
                            f"{boxes.score[k]:.2f}", (column, row), (0, 2), textcoords="offset points",
                            color=colour, size=7,
                        )  # fmt: skip
            axis.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
    legend(figure, dict(zip(classes.values(), cycle(COLOURS), strict=False)))
    return figure


def views(
    truth: Boxes, prediction: Boxes, shape: Sequence[int]
) -> tuple[list[list[int]], np.ndarray, np.ndarray]:
    """Up to VIEWS voxels whose three planes bring boxes into view, and which true and which found ones are.

    One voxel after the other: of the middles of all boxes that whose planes cut most true boxes which
    are not in view yet, and of equal ones most found boxes.
    """
    box, n = np.concatenate([truth.box, prediction.box]), len(truth.box)
    middles = (box[:, :3] + box[:, 3:]) / 2
    middles = np.clip(middles, 0, np.array(shape) - 1).astype(int)
    at = middles[:, None] + 0.5
    cut = ((box[:, :3] <= at) & (at <= box[:, 3:])).any(2)  # by the planes of each middle, each box
    seen, chosen = np.zeros(len(box), bool), []
    while len(chosen) < VIEWS and not seen.all():
        new = cut & ~seen
        best = max(range(len(box)), key=lambda k: (new[k, :n].sum(), new[k].sum()))
        chosen.append(middles[best].tolist())
        seen |= cut[best]
    return chosen or [[size // 2 for size in shape]], seen[:n], seen[n:]


def boxes_to_ras(boxes: Boxes, shape: Sequence[int], codes: str) -> Boxes:
    """Boxes of an array of `shape` as `to_ras` turns it."""
    d = len(shape)
    if d == 2:
        return boxes
    low, high = boxes.box[:, :d].copy(), boxes.box[:, d:].copy()
    order = axis_order(codes)
    for axis, i in enumerate(order):
        if codes[i] != AXES[axis][0]:
            low[:, i], high[:, i] = shape[i] - boxes.box[:, d + i], shape[i] - boxes.box[:, i]
    return replace(boxes, box=np.hstack([low[:, order], high[:, order]]))


def _in_plane(box: np.ndarray, shape: Sequence[int], at: Sequence[int] | None, panel: int):
    """(column, row, width, height) of a box in one of `planes`, None if it does not reach there."""
    d = len(shape)
    low, high = box[:d], box[d:]
    if d == 2:
        return low[1] - 0.5, low[0] - 0.5, high[1] - low[1], high[0] - low[0]
    through = 2 - panel  # the axis that the plane cuts: up, front-back, left-right
    if not low[through] <= at[through] + 0.5 <= high[through]:
        return None
    column, row = (axis for axis in range(3) if axis != through)
    # Planes show every axis from its far end.
    return (
        shape[column] - high[column] - 0.5, shape[row] - high[row] - 0.5,
        high[column] - low[column], high[row] - low[row],
    )  # fmt: skip
