"""How well scores part cases, and mean what they say: ROC, precision and recall, reliability, FROC."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medssl.reports.style import BLUE, FAINT, LINES, styled

Curves = dict[str, tuple[np.ndarray, np.ndarray]]  # by name: a binary truth, a score

CROWDED, LONG = 3, 16  # more curves, or longer names, are named beside the panel


@styled
def roc(curves: Curves) -> Figure:
    """Receiver operating characteristics; each truth holds both kinds of cases."""
    from sklearn.metrics import roc_curve

    figure, axis = _square("1 \N{MINUS SIGN} specificity", "sensitivity")
    axis.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
    for (name, (truth, scores)), colour in zip(curves.items(), LINES, strict=False):
        false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
        # Straight between thresholds: the area is the AUROC, ties included.
        if len(curves) == 1:
            axis.fill_between(false, true, color=colour, alpha=0.1, linewidth=0)
        axis.plot(false, true, color=colour, label=name, clip_on=False)
    return _named(figure, axis, curves)


@styled
def precision_recall(curves: Curves) -> Figure:
    """Precision over recall, in steps: the area is the average precision."""
    from sklearn.metrics import precision_recall_curve

    figure, axis = _square("recall (sensitivity)", "precision")
    for (name, (truth, scores)), colour in zip(curves.items(), LINES, strict=False):
        precision, recall, _ = precision_recall_curve(truth, scores)
        axis.axhline(np.mean(truth), color=colour, linewidth=0.9, linestyle=(0, (1, 2)))
        axis.step(recall, precision, where="post", color=colour, label=name, clip_on=False)
    return _named(figure, axis, curves)


@styled
def reliability(curves: Curves) -> Figure:
    """How often what is said with a probability is so, in at most ten bins of as many cases each."""
    figure, axis = _square("probability said", "share that is so")
    axis.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
    for (name, (truth, scores)), colour in zip(curves.items(), LINES, strict=False):
        order = np.argsort(scores, kind="stable")
        parts = np.array_split(order, min(10, max(1, len(order) // 10)))
        said, so = (np.array([v[i].mean() for i in parts]) for v in (scores, np.asarray(truth)))
        low, high = _wilson(so, np.array([len(i) for i in parts]))
        axis.vlines(said, low, high, color=colour, alpha=0.35, linewidth=1.2)
        axis.plot(said, so, color=colour, marker="o", markersize=3.5, label=name, clip_on=False)
    return _named(figure, axis, curves)


def _wilson(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of a share of n."""
    z = 1.96
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - half, middle + half


@styled
def froc(curves: Curves) -> Figure:
    """Free-response ROC: each curve is (false boxes a scan, sensitivity) at every threshold, rising."""
    figure, axis = _square("false boxes a scan", "sensitivity")
    axis.set(xscale="log", xlim=(1 / 12, 12), aspect="auto")
    places = [1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8]
    axis.set_xticks(places, ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    axis.minorticks_off()
    for (name, (false, found)), colour in zip(curves.items(), LINES, strict=False):
        # From the left edge on: what is found before the first false box has no place on a log axis.
        reached = np.concatenate([[0.0], found])
        start = reached[np.searchsorted(false, places[0] / 2, side="right")]
        axis.step(np.concatenate([[1e-3], false, [1e3]]), np.concatenate([[start], found, found[-1:]]),
                  where="post", color=colour, label=name)  # fmt: skip
    return _named(figure, axis, curves)


@styled
def precision_of_boxes(curves: Curves) -> Figure:
    """Each curve is (precision, recall) at every threshold, in the order of falling scores."""
    figure, axis = _square("recall (sensitivity)", "precision")
    for (name, (precision, recall)), colour in zip(curves.items(), LINES, strict=False):
        axis.plot(recall, precision, color=colour, label=name, clip_on=False)
    return _named(figure, axis, curves)


@styled
def truth_and_prediction(truth: Sequence[float], predicted: Sequence[float], name: str) -> Figure:
    """Predicted numbers over true ones."""
    figure = Figure(figsize=(3.2, 3.2), layout="constrained")
    axis = figure.add_subplot()
    ends = [min(*truth, *predicted), max(*truth, *predicted)]
    axis.plot(ends, ends, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
    axis.scatter(truth, predicted, color=BLUE, s=16, alpha=0.7, linewidths=0)
    axis.set(xlabel=f"{name}, true", ylabel=f"{name}, predicted")
    axis.set_aspect("equal", adjustable="datalim")
    return figure


def _square(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(3.0, 3.0))
    axis = figure.add_subplot()
    axis.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    return figure, axis


def _named(figure: Figure, axis: Axes, curves: Curves) -> Figure:
    beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    crowded = len(curves) > CROWDED or max(map(len, curves), default=0) > LONG
    if len(curves) > 1:
        axis.legend(handlelength=1.2, **(beside if crowded else {"loc": "best"}))
    return figure
