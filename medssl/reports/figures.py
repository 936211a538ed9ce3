"""Figures for reports: small, set like a journal's, legible without colour vision.

Figures are matplotlib `Figure` objects without global state. Images come as prepared arrays: (X, Y,
Z) along RAS, shown as a radiologist looks at them (the patient's right on the left of the picture),
or (rows, columns).
"""

import io
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

INK, FAINT, BLUE, ORANGE = "#1b2733", "#9aa7b3", "#0f6fb5", "#d8641c"
COLOURS = ["#e69f00", "#56b4e9", "#00b383", "#f0e442", "#cc79a7", "#d55e00", "#7aa6ff", "#b9d532"]
STYLE = {
    "font.family": "sans-serif", "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9,
    "axes.edgecolor": FAINT, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8, "axes.grid": True,
    "grid.color": "#e4e9ee", "grid.linewidth": 0.7, "axes.axisbelow": True, "figure.facecolor": "white",
    "legend.frameon": False, "text.color": INK, "lines.linewidth": 1.6,
}  # fmt: skip
PLANES = ("axial", "coronal", "sagittal")


def as_png(figure: Figure, dpi: int = 150) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi, bbox_inches="tight")
    return out.getvalue()


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Run a drawing function under this module's style."""

    def drawn(*arguments, **options) -> Figure:
        with mpl.rc_context(STYLE):
            return draw(*arguments, **options)

    drawn.__doc__, drawn.__name__ = draw.__doc__, draw.__name__
    return drawn


def planes(image: np.ndarray, at: tuple[int, ...] | None = None) -> list[np.ndarray]:
    """Axial, coronal and sagittal slice through a voxel (default: the middle), or the film itself.

    Rows run downwards: anterior or superior is up, the patient's right is on the left.
    """
    if image.ndim == 2:
        return [image]
    x, y, z = at or tuple(n // 2 for n in image.shape)
    return [image[::-1, ::-1, z].T, image[::-1, y, ::-1].T, image[x, ::-1, ::-1].T]


@styled
def loss_curve(rows: list[dict], keys: list[str]) -> Figure:
    """Figures of a metrics log over steps; scores (validation, ...) on an axis of their own."""
    keys = [k for k in keys if any(r.get(k) is not None for r in rows)]
    figure = Figure(figsize=(5.2, 2.5))
    left = figure.add_subplot()
    axes = {"loss": left}
    for key, colour in zip(keys, [BLUE, ORANGE, "#00866b"], strict=False):
        axis = (
            left
            if key == "loss"
            else axes.setdefault("score", left.twinx() if len(keys) > 1 else left)
        )
        points = [(r["step"], r[key]) for r in rows if r.get(key) is not None]
        steps, values = map(np.array, zip(*points, strict=True))
        if len(values) > 40:
            axis.plot(steps, values, color=colour, alpha=0.2, linewidth=0.8)
            width = max(len(values) // 40, 3)
            values = np.convolve(
                np.pad(values, (width // 2, width - 1 - width // 2), "edge"),
                np.ones(width) / width,
                "valid",
            )
            axis.plot(steps, values, color=colour)
        else:
            axis.plot(steps, values, color=colour, marker="o", markersize=3.5)
        axis.set_ylabel(key, color=colour)
        axis.grid(axis is left)
    left.set_xlabel("step")
    return figure


@styled
def dots_with_intervals(rows: list[dict]) -> Figure:
    """Estimates with their intervals, a line each: dicts of name, estimate, low, high."""
    figure = Figure(figsize=(5.6, 0.5 + 0.27 * len(rows)))
    axis = figure.add_subplot()
    places = np.arange(len(rows))[::-1]
    for y, row in zip(places, rows, strict=True):
        overall = "mean" in row["name"] or len(rows) <= 4
        colour = BLUE if overall else INK
        axis.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2 if overall else 1.3)
        axis.plot(row["estimate"], y, "o", color=colour, markersize=6 if overall else 4.5)
    axis.set_yticks(places, [r["name"] for r in rows])
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.grid(axis="y", visible=False)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    return figure


@styled
def roc(truth: np.ndarray, scores: np.ndarray) -> Figure:
    """Receiver operating characteristic of a binary score."""
    from sklearn.metrics import roc_curve

    figure = Figure(figsize=(2.9, 2.9))
    axis = figure.add_subplot()
    if 0 < truth.sum() < len(truth):
        false, true, _ = roc_curve(truth, scores)
        axis.fill_between(false, true, step="post", color=BLUE, alpha=0.1, linewidth=0)
        axis.plot(false, true, color=BLUE, drawstyle="steps-post")
    axis.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    axis.set(
        xlabel="1 - specificity",
        ylabel="sensitivity",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
        aspect="equal",
    )
    return figure


@styled
def overlay(image, truth, prediction, classes: dict[int, str], title: str = "") -> Figure:
    """Truth (solid) and prediction (dashed) as contours in three planes, or on a film."""
    at = None
    if image.ndim == 3 and (truth > 0).any():
        # Every structure counts alike, or the largest would choose the planes alone.
        middles = [np.median(np.argwhere(truth == k), axis=0) for k in np.unique(truth[truth > 0])]
        at = tuple(int(n) for n in np.mean(middles, axis=0))
    panels = [planes(a, at) for a in (image, truth, prediction)]
    figure, axes = _row([p.shape for p in panels[0]])
    for axis, picture, t, p in zip(axes, *panels, strict=True):
        _show(axis, picture, image)
        for i, k in enumerate(classes):
            colour = COLOURS[i % len(COLOURS)]
            for mask, line, width in ((t == k, "solid", 1.5), (p == k, (0, (2.2, 1.4)), 1.5)):
                if mask.any():
                    axis.contour(mask, [0.5], colors=[colour], linestyles=[line], linewidths=width)
    if title:
        figure.suptitle(title, y=1.02)
    handles = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], linewidth=3) for i in range(len(classes))
    ]
    handles += [Line2D([], [], color=FAINT, linestyle=s) for s in ("solid", (0, (2.2, 1.4)))]
    names = [*classes.values(), "truth", "prediction"]
    figure.legend(handles, names, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=min(len(names), 7),
                  fontsize=8, handlelength=1.6, columnspacing=1.2)  # fmt: skip
    return figure


def method_picture(picture: dict) -> Figure:
    """The figure for what a method's `pictures` gave: its `kind` says which."""
    options = {k: v for k, v in picture.items() if k != "kind"}
    return {"reconstruction": reconstruction, "overlap": overlap}[picture["kind"]](**options)


@styled
def reconstruction(input: np.ndarray, masked: np.ndarray, output: np.ndarray) -> Figure:
    """Input, what was left visible, and the reconstruction; a row for each plane."""
    rows = list(zip(*[planes(a) for a in (input, masked, output)], strict=True))
    heights = [r[0].shape[0] / r[0].shape[1] for r in rows]
    figure = Figure(figsize=(6.0, 2.0 * sum(heights) + 0.3))
    axes = figure.subplots(
        len(rows),
        3,
        squeeze=False,
        gridspec_kw={"height_ratios": heights, "wspace": 0.03, "hspace": 0.03},
    )
    for line, pictures in zip(axes, rows, strict=True):
        for axis, picture in zip(line, pictures, strict=True):
            _show(axis, picture, input)
    for axis, title in zip(axes[0], ("input", "visible", "reconstruction"), strict=True):
        axis.set_title(title)
    return figure


@styled
def overlap(image, grid, crop, start, predicted: np.ndarray, true: np.ndarray) -> Figure:
    """The grid laid over the scan, one random crop, and its overlap with every cell.

    Volumes are shown in the axial plane through the crop's centre; cells behind one another along
    the third axis are told apart in the bars.
    """
    figure = Figure(figsize=(7.0, 2.9))
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1, 1.6], "wspace": 0.28})
    if image.ndim == 3:
        z = int(start[2] + crop[2] // 2)
        picture = image[:, :, z].T  # array axes kept, so that cells are where their indices say
    else:
        picture = image.T
    left.imshow(
        picture, cmap="gray", vmin=image.min(), vmax=np.percentile(image, 99.5), origin="lower"
    )
    for axis, n in enumerate(grid[:2]):
        for i in range(1, n):
            (left.axvline if axis == 0 else left.axhline)(
                i * crop[axis] - 0.5, color="white", linewidth=0.8, alpha=0.8
            )
    left.add_patch(
        Rectangle(
            (start[0] - 0.5, start[1] - 0.5),
            crop[0],
            crop[1],
            fill=False,
            edgecolor=ORANGE,
            linewidth=2,
        )
    )
    left.set_axis_off()
    left.set_title("base grid and a random crop")
    places = np.arange(len(true))
    right.bar(places - 0.2, true, 0.4, color=FAINT, label="true overlap")
    right.bar(places + 0.2, predicted, 0.4, color=ORANGE, label="predicted")
    names = ["".join(map(str, np.unravel_index(i, grid))) for i in places]
    right.set_xticks(places, names, rotation=0 if len(places) <= 16 else 90)
    right.set(xlabel="cell", ylabel="share of the crop")
    right.grid(axis="x", visible=False)
    right.set_ylim(top=1.25 * max(true.max(), predicted.max()))
    right.legend(loc="upper right", ncols=2, fontsize=8)
    return figure


def _show(axis, picture: np.ndarray, whole: np.ndarray) -> None:
    axis.imshow(
        picture, cmap="gray", vmin=np.percentile(whole, 0.5), vmax=np.percentile(whole, 99.7)
    )
    axis.set_axis_off()


def _row(shapes: list[tuple[int, int]]):
    """A row of panels of the same height, as wide as their pictures."""
    ratios = [columns / rows for rows, columns in shapes]
    height = min(2.6, 8.2 / sum(ratios))
    figure = Figure(figsize=(height * sum(ratios), height))
    axes = figure.subplots(
        1, len(shapes), gridspec_kw={"width_ratios": ratios, "wspace": 0.02}, squeeze=False
    )
    figure.subplots_adjust(0, 0.04, 1, 1)
    return figure, axes[0]
