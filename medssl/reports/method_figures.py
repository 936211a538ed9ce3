"""Figures of pretraining methods: what goes in, what the method asks, what it answers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke

from medssl.reports.figures import aspects_of, gallery, planes, show
from medssl.reports.style import BLUE, FAINT, ORANGE, styled

DIVERGING = LinearSegmentedColormap.from_list("alike", [BLUE, "white", ORANGE])


def method_picture(picture: dict) -> Figure:
    """The figure for what a method's `pictures` gave: its `kind` says which."""
    options = {k: v for k, v in picture.items() if k != "kind"}
    return KINDS[picture["kind"]][0](**options)


@styled
def reconstruction(
    input: np.ndarray, masked: np.ndarray, output: np.ndarray,
    spacing: Sequence[float] | None = None,
) -> Figure:  # fmt: skip
    """Input, what was left visible, and the reconstruction; a row for each plane."""
    rows = list(zip(*[planes(a) for a in (input, masked, output)], strict=True))
    aspects = aspects_of(input.ndim, spacing)
    heights = [r[0].shape[0] / r[0].shape[1] * a for r, a in zip(rows, aspects, strict=True)]
    width, gap, head = 1.8, 0.05, 0.25
    size = (3 * width + 2 * gap, width * sum(heights) + gap * (len(rows) - 1) + head)
    figure = Figure(figsize=size)
    grid = figure.add_gridspec(
        len(rows), 3, height_ratios=heights, left=0, right=1, bottom=0, top=1 - head / size[1],
        wspace=gap / width, hspace=gap / (width * float(np.mean(heights))),
    )  # fmt: skip
    for i, pictures in enumerate(rows):
        for j, picture in enumerate(pictures):
            axis = figure.add_subplot(grid[i, j])
            show(axis, picture, input, aspects[i])
            if i == 0:
                axis.set_title(("input", "visible", "reconstruction")[j])
    return figure


@styled
def overlap(
    image: np.ndarray | None, grid: Sequence[int], crop: Sequence[int], start: Sequence[int],
    predicted: np.ndarray, true: np.ndarray,
) -> Figure:  # fmt: skip
    """The grid of base crops laid over the scan, one random crop, and its overlap with every cell.

    grid             cells along each axis; crop: their size, start: first voxel of the random crop
    predicted, true  (cells,) in C order

    Volumes are shown in the axial plane through the crop's centre; cells behind one another along
    the third axis are told apart in the bars. Without an image there are only bars.
    """
    figure = Figure(figsize=(7.0 if image is not None else 4.4, 2.6), layout="constrained")
    if image is None:
        right = figure.add_subplot()
    else:
        left, right = figure.subplots(1, 2, width_ratios=[1, 1.7])
        _grid_and_crop(left, image, grid, crop, start)
    places = np.arange(len(true))
    right.bar(places - 0.2, true, 0.4, color=FAINT, label="true")
    right.bar(places + 0.2, predicted, 0.4, color=ORANGE, label="predicted")
    names = [" ".join(map(str, np.unravel_index(i, tuple(grid)))) for i in places]
    right.set_xticks(places, names, rotation=0 if len(places) <= 9 else 90)
    right.set_xlabel(f"cell ({' '.join('xyz') if len(grid) == 3 else 'row column'})")
    right.set_ylabel("overlap, share of the crop")
    right.grid(axis="x", visible=False)
    right.margins(x=0.02)
    right.set_ylim(min(0, float(np.min(predicted)) * 1.1), None)
    right.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)
    return figure


def _grid_and_crop(axis: Axes, image: np.ndarray, grid, crop, start) -> None:
    """One slice with the edges of the cells, their numbers, and the crop's outline."""
    if image.ndim == 3:
        z = min(max(int(start[2] + crop[2] // 2), 0), image.shape[2] - 1)
        picture, across, down = image[:, :, z].T, 0, 1
    else:
        picture, across, down = image, 1, 0
    show(axis, picture, image, 1.0)
    if image.ndim == 3:  # the patient's right on the left, anterior up
        axis.invert_xaxis()
        axis.invert_yaxis()
    for i in range(1, grid[across]):
        axis.axvline(i * crop[across] - 0.5, color="white", linewidth=0.8, alpha=0.8)
    for i in range(1, grid[down]):
        axis.axhline(i * crop[down] - 0.5, color="white", linewidth=0.8, alpha=0.8)
    for cell in np.ndindex(*grid[:2]):
        x, y = (cell[k] * crop[k] + crop[k] * 0.5 for k in (across, down))
        number = axis.text(x, y, f"{cell[0]} {cell[1]}", color="white", size=7, ha="center")
        number.set_path_effects([Stroke(linewidth=1.5, foreground="black"), Normal()])
    corner = (start[across] - 0.5, start[down] - 0.5)
    outline = {"fill": False, "edgecolor": ORANGE, "linewidth": 2, "clip_on": False}
    axis.add_patch(Rectangle(corner, crop[across], crop[down], **outline))
    axis.set_title("base cells and a random crop")


@styled
def similarity(
    rows: Sequence[np.ndarray], columns: Sequence[np.ndarray], values: np.ndarray,
    asked: np.ndarray, title: str = "",
) -> Figure:  # fmt: skip
    """How alike the network finds pairs, with what the method asks of them.

    rows, columns  what is compared: films, or volumes of which the axial middle is drawn; either
                   may be empty where what is compared has no picture
    values         (n, m) similarities, drawn in blue (below 0) and orange (above)
    asked          (n, m): 1 should be alike (framed), 0 should differ, nan left out (struck out)
    """
    n, m = values.shape
    cell = min(0.62, 6.0 / max(n, m))
    left, top = (cell if len(rows) else 0.0), (cell if len(columns) else 0.0)
    bar, head = 0.55, 0.3
    width, height = left + m * cell + bar, top + n * cell + head
    figure = Figure(figsize=(width, height))

    def panel(x: float, y: float, w: float, h: float) -> Axes:
        """An axis at inches from the left and the top."""
        return figure.add_axes((x / width, 1 - (y + h) / height, w / width, h / height))

    main = panel(left, head + top, m * cell, n * cell)
    limit = max(float(np.nanmax(np.abs(values))), 1e-6)
    shown = main.imshow(values, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
    main.set_xticks([])
    main.set_yticks([])
    main.grid(False)
    for i, j in np.ndindex(n, m):
        if np.isnan(asked[i, j]):
            main.plot([j - 0.4, j + 0.4], [i + 0.4, i - 0.4], color=FAINT, linewidth=0.8)
        elif asked[i, j] == 1:
            main.add_patch(Rectangle((j - 0.45, i - 0.45), 0.9, 0.9, fill=False, linewidth=1.6))
    for i, picture in enumerate(rows):
        _thumbnail(panel(0, head + top + i * cell, cell * 0.94, cell * 0.94), picture)
    for j, picture in enumerate(columns):
        _thumbnail(panel(left + j * cell, head, cell * 0.94, cell * 0.94), picture)
    scale = panel(left + m * cell + 0.08, head + top, 0.1, n * cell)
    figure.colorbar(shown, cax=scale)
    figure.text(0, 1, title or "framed: should be alike", va="top", size=9)
    return figure


def _thumbnail(axis: Axes, picture: np.ndarray) -> None:
    show(axis, planes(np.asarray(picture))[0], np.asarray(picture), 1.0)
    axis.set_aspect("auto")


# How a picture is drawn, and what is written under it.
KINDS = {
    "reconstruction": (reconstruction, "Input, what was left visible, and the reconstruction."),
    "overlap": (
        overlap, "A random crop on the base grid, and its true and predicted overlap with every cell.",
    ),
    "similarity": (
        similarity, "How alike the network finds pairs; framed: should be alike, struck out: not asked.",
    ),
    "gallery": (gallery, "What the method saw and answered."),
}  # fmt: skip


def caption(path: Path) -> str:
    """What is written under a picture that `medssl pretrain` kept; its name ends with its kind."""
    return KINDS[path.stem.rpartition("-")[2]][1]
