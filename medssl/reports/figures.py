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
from medssl.reports.style import COLOURS, FAINT, styled

AXES = ("RL", "AP", "SI")
LEFT = ("R", "R", "A")  # what lies on the left of the axial, coronal and sagittal picture
DASHES = (0, (2.2, 1.4))


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
    image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, classes: dict[int, str],
    title: str = "", spacing: Sequence[float] | None = None,
) -> Figure:  # fmt: skip
    """Truth (solid) and prediction (dashed) as contours in three planes, or on a film.

    The planes are those with the most truth (or, without any, the most prediction), every structure
    counted alike. `spacing` in mm gives slices their true proportions; none: cubic voxels.
    """
    marked = truth if (truth > 0).any() else prediction
    at = fullest(marked) if image.ndim == 3 and (marked > 0).any() else None
    panels = [planes(a, at) for a in (image, truth, prediction)]
    aspects = aspects_of(image.ndim, spacing)
    figure, (axes,) = rows_of([p.shape for p in panels[0]], aspects)
    for i, (axis, picture, t, p) in enumerate(zip(axes, *panels, strict=True)):
        show(axis, picture, image, aspects[i], LEFT[i] if image.ndim == 3 else "")
        for j, k in enumerate(classes):
            for mask, line in ((t == k, "solid"), (p == k, DASHES)):
                if mask.any():
                    # A rim of background closes outlines at the edge of the picture.
                    rows, columns = (np.arange(-1, n + 1) for n in mask.shape)
                    style = {"colors": [COLOURS[j % len(COLOURS)]], "linestyles": [line]}
                    inside = np.pad(mask, 1).astype(float)
                    axis.contour(columns, rows, inside, [0.5], linewidths=1.4, **style)
        axis.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
    if title:
        figure.suptitle(title, y=1.04)
    legend(figure, classes, image.ndim)
    return figure


@styled
def gallery(
    images: Sequence[np.ndarray], captions: Sequence[str], columns: int = 4,
    masks: Sequence[np.ndarray | None] = (), classes: Mapping[int, str] = {},
) -> Figure:  # fmt: skip
    """Films, or the axial middle of volumes, side by side, each with its own grey scale.

    `masks` of the pictures, if any, are laid over them as outlines of the `classes`.
    """
    few = 0 < len(classes) <= len(COLOURS)  # of more, several share a colour
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
            colours = coloured(mask, list(classes))
            over = np.asarray(outlined(colours, width=2 if few else 1).convert("RGBA"))
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


def legend(figure: Figure, classes: dict[int, str], ndim: int) -> None:
    """The colours of the classes, and the lines of truth and prediction, below a picture."""
    handles = [Line2D([], [], color=COLOURS[j % len(COLOURS)], lw=3) for j in range(len(classes))]
    handles += [Line2D([], [], color=FAINT, linestyle=s) for s in ("solid", DASHES)]
    names = [*classes.values(), "truth", "prediction"]
    figure.legend(handles, names, loc="upper center", bbox_to_anchor=(0.5, 0.0),
                  ncols=min(len(names), 7 if ndim == 3 else 4), handlelength=1.8,
                  columnspacing=1.3)  # fmt: skip


def fullest(labels: np.ndarray) -> list[int]:
    """Along each axis the slice with the largest shares of the structures, each counted alike."""
    masks = [labels == k for k in np.unique(labels[labels > 0])]
    shares = []
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        shares.append(sum(m.sum(axis=others) / m.sum() for m in masks))
    return [int(np.argmax(s)) for s in shares]


def aspects_of(ndim: int, spacing: Sequence[float] | None) -> list[float]:
    """Height over width of one voxel in each of `planes`."""
    if ndim == 2:
        return [1.0 if spacing is None else spacing[0] / spacing[1]]
    x, y, z = spacing if spacing is not None else (1.0, 1.0, 1.0)
    return [y / x, z / x, z / y]


def rows_of(
    shapes: list[tuple[int, int]], aspects: list[float], n: int = 1
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of n rows of panels of the same height, as wide as their pictures."""
    ratios = [columns / (rows * a) for (rows, columns), a in zip(shapes, aspects, strict=True)]
    height = min(2.6, 7.4 / sum(ratios))
    figure = Figure(figsize=(height * sum(ratios), height * n))
    grid = figure.add_gridspec(n, len(shapes), width_ratios=ratios, wspace=0.02, hspace=0.02, left=0,
                               right=1, bottom=0.03 / n, top=1)  # fmt: skip
    return figure, [[figure.add_subplot(grid[i, j]) for j in range(len(shapes))] for i in range(n)]
