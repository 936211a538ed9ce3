"""Figures of scans: planes, predictions on truth, galleries.

Images come as prepared arrays: (X, Y, Z) along RAS, shown as a radiologist looks at them (the
patient's right on the left of the picture), or films (rows, columns), shown as they are.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medssl.reports.outlines import coloured, outlined
from medssl.reports.style import COLOURS, FAINT, INK, styled

AXES = ("RL", "AP", "SI")
LEFT = ("R", "R", "A")  # what lies on the left of the axial, coronal and sagittal picture
DASHES = (0, (2.2, 1.4))
OTHERS = FAINT  # what there are no colours left for
TITLE = 0.25  # inches


def planes(image: np.ndarray, at: Sequence[int] | None = None) -> list[np.ndarray]:
    """Axial, coronal and sagittal slice through a voxel (default: the middle), or the film itself.

    Rows run downwards: anterior or superior is up; on the left is the patient's right, in sagittal
    slices the front.
    """
    if image.ndim == 2:
        return [image]
    x, y, z = at if at is not None else [n // 2 for n in image.shape]
    return [image[::-1, ::-1, z].T, image[::-1, y, ::-1].T, image[x, ::-1, ::-1].T]


def to_ras(array: np.ndarray, codes: str) -> np.ndarray:
    """A volume with axis codes such as "LPS" turned to RAS; a film (two axes) as it is."""
    if array.ndim == 2:
        return array
    order = axis_order(codes)
    turned = [axis for axis, i in enumerate(order) if codes[i] != AXES[axis][0]]
    return np.flip(array.transpose(order), turned)


def axis_order(codes: str) -> list[int]:
    """Which axis of `codes` runs left-right, front-back and up-down."""
    return [next(i for i, code in enumerate(codes) if code in pair) for pair in AXES]


@styled
def overlay(
    image: np.ndarray, truth: np.ndarray, prediction: np.ndarray | dict[str, np.ndarray],
    classes: dict[int, str], spacing: Sequence[float] | None = None,
) -> Figure:  # fmt: skip
    """Truth (solid) and prediction (dashed) as contours in three planes, or on a film.

    The planes are those that cut most structures of the truth (or, without any, of the prediction). Of
    more classes than there are colours those with most truth in view have one, the others are grey.
    Several predictions, by their titles, are drawn below each other. `spacing` in mm gives slices their
    true proportions; none: cubic voxels.
    """
    predictions = prediction if isinstance(prediction, dict) else {"": prediction}
    marked = next((m for m in (truth, *predictions.values()) if (m > 0).any()), None)
    at = fullest(marked) if image.ndim == 3 and marked is not None else None
    pictures, truths = planes(image, at), planes(truth, at)
    told = {name: planes(labels, at) for name, labels in predictions.items()}
    colours = _colours(classes, truths, [p for panels in told.values() for p in panels])
    aspects = aspects_of(image.ndim, spacing)
    figure, lines = rows_of([p.shape for p in pictures], aspects, len(told), titled=any(told))
    for axes, (name, panels) in zip(lines, told.items(), strict=True):
        axes[0].set_title(name)
        for i, axis in enumerate(axes):
            show(axis, pictures[i], image, aspects[i], LEFT[i] if image.ndim == 3 else "")
            for k, colour in colours.items():
                _outline(axis, truths[i] == k, colour, "solid")
                _outline(axis, panels[i] == k, colour, DASHES)
            rows, columns = pictures[i].shape
            axis.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    named = {classes[k]: colour for k, colour in colours.items() if colour != OTHERS}
    if more := len(colours) - len(named):
        named[f"and {more} more"] = OTHERS
    legend(figure, named)
    return figure


def _colours(classes: dict[int, str], truths: list, predictions: list) -> dict[int, str]:
    """A colour for each class in view: always the same one where there are enough for all."""
    true, told = (
        dict(zip(*np.unique(np.concatenate([p.ravel() for p in panels]), return_counts=True),
                 strict=True))
        for panels in (truths, predictions)
    )  # fmt: skip
    seen = [k for k in classes if k in true or k in told]
    first = classes
    if len(classes) > len(COLOURS):
        largest = sorted(seen, key=lambda k: (true.get(k, 0), told.get(k, 0)), reverse=True)
        first = [k for k in seen if k in largest[: len(COLOURS)]]
    given = dict(zip(first, COLOURS, strict=False))
    return {k: given.get(k, OTHERS) for k in seen}


def _outline(axis: Axes, mask: np.ndarray, colour: str, line) -> None:
    if mask.any():
        # A rim of background closes outlines at the edge of the picture.
        rows, columns = (np.arange(-1, n + 1) for n in mask.shape)
        axis.contour(columns, rows, np.pad(mask, 1).astype(float), [0.5], colors=[colour],
                     linestyles=[line], linewidths=0.7 if colour == OTHERS else 1.4)  # fmt: skip


@styled
def gallery(
    images: Sequence[np.ndarray], captions: Sequence[str], columns: int = 4,
    masks: Sequence[np.ndarray | None] = (), classes: Mapping[int, str] = {},
) -> Figure:  # fmt: skip
    """Films, or the axial middle of volumes, side by side, each with its own grey scale.

    `masks` of the pictures, if any, are laid over them as outlines of the `classes`; of more classes than
    there are colours all together have one.
    """
    few = 0 < len(classes) <= len(COLOURS)
    columns = max(1, min(columns, len(images)))
    lines = max(1, -(-len(images) // columns))
    drawn = [planes(np.asarray(image))[0] for image in images]
    tallest = max((len(picture) / picture.shape[1] for picture in drawn), default=1.0)
    line = 1.75 * min(tallest, 1.0) + 0.23  # of pictures that are wide a lower one
    figure = Figure(figsize=(1.75 * columns, line * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    panels = zip(drawn, images, captions, masks or [None] * len(images), strict=True)
    for axis, (picture, image, caption, mask) in zip(
        axes, panels, strict=False
    ):  # the last line may be part full
        show(axis, picture, np.asarray(image), 1.0)
        if mask is not None:
            rows, across = mask.shape
            of = list(classes)
            colours = coloured(mask, of) if few else np.isin(mask, of).astype(np.uint8)
            over = np.asarray(outlined(colours, width=2).convert("RGBA"))
            axis.imshow(over, extent=(-0.5, across - 0.5, rows - 0.5, -0.5))
        axis.set_title(caption, fontsize=8)
    if few:
        handles = [Line2D([], [], color=colour, lw=3) for colour in COLOURS[: len(classes)]]
        figure.legend(handles, classes.values(), loc="outside lower left", ncols=len(COLOURS))
    return figure


def show(axis: Axes, picture: np.ndarray, whole: np.ndarray, aspect: float, left: str = "") -> None:
    """A slice in the grey scale of the whole image, and what lies on its left."""
    low, high = np.percentile(whole, [0.5, 99.7])
    axis.imshow(picture, cmap="gray", vmin=low, vmax=high, aspect=aspect)
    axis.set_axis_off()
    axis.text(0.02, 0.5, left, transform=axis.transAxes, color="white", size=8, va="center")


def legend(figure: Figure, colours: dict[str, str]) -> None:
    """What the colours stand for, and the lines of truth and prediction, below a picture."""
    handles = [Line2D([], [], color=colour, lw=3) for colour in colours.values()]
    handles += [Line2D([], [], color=INK, linestyle=style) for style in ("solid", DASHES)]
    names = [*colours, "truth", "prediction"]
    column = 0.45 + 0.065 * max(map(len, names))  # inches
    lines = -(-len(names) // max(1, int(figure.get_figwidth() / column)))
    figure.legend(handles, names, loc="upper center", bbox_to_anchor=(0.5, 0.0),
                  ncols=-(-len(names) // lines), handlelength=1.8, columnspacing=1.3)  # fmt: skip


def fullest(labels: np.ndarray) -> list[int]:
    """Along each axis the slice that cuts most structures; of several the one with the largest shares of
    them, each counted alike."""
    masks = [labels == k for k in np.unique(labels[labels > 0])]
    places = []
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        shares = np.array([m.sum(axis=others) / m.sum() for m in masks])
        places.append(int(np.lexsort((shares.sum(0), (shares > 0).sum(0)))[-1]))
    return places


def aspects_of(ndim: int, spacing: Sequence[float] | None) -> list[float]:
    """Height over width of one voxel in each of `planes`."""
    if ndim == 2:
        return [1.0 if spacing is None else spacing[0] / spacing[1]]
    x, y, z = spacing if spacing is not None else (1.0, 1.0, 1.0)
    return [y / x, z / x, z / y]


def rows_of(
    shapes: list[tuple[int, int]], aspects: list[float], n: int = 1, titled: bool = False
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of n rows of panels of the same height, as wide as their pictures; `titled` leaves room
    above each row."""
    ratios = [columns / (rows * a) for (rows, columns), a in zip(shapes, aspects, strict=True)]
    height = min(2.6, 7.4 / sum(ratios))
    figure = Figure(figsize=(height * sum(ratios), height * n))
    grid = figure.add_gridspec(n, len(shapes), width_ratios=ratios, wspace=0.02, left=0,
                               hspace=TITLE / height if titled else 0.02,
                               right=1, bottom=0.03 / n, top=1)  # fmt: skip
    return figure, [[figure.add_subplot(grid[i, j]) for j in range(len(shapes))] for i in range(n)]
