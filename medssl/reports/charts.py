"""Charts of numbers: learning curves, estimates with intervals, paired cases."""

from collections.abc import Sequence
from textwrap import fill, wrap

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from medssl.evaluation.volumes import limits_of_agreement
from medssl.reports.style import BLUE, FAINT, INK, LINES, ORANGE, SOFT, styled

SMOOTHED = 40  # a log with more points than this is drawn smoothed, the raw values behind it
BINS = 24
NARROW = 16  # letters of a line beside an axis
WIDEST = 80  # letters of a line in a forest plot: of a heading, and of a name half of it
LINE = 0.75  # height of a further line, in rows
SLOPES = 40  # more pairs than this are drawn as points instead of lines


@styled
def loss_curve(
    rows: list[dict], keys: Sequence[str], from_zero: Sequence[str] = (), validated: str = ""
) -> Figure:
    """Figures of a metrics log over steps, one panel a key that was ever logged.

    rows hold `step` and figures; a figure may be missing or None (not finite) at any step. Panels
    of `from_zero` start at 0, so that a flicker of a small figure does not look like a change. What
    the figure `validation` is, `validated` says.
    """
    logged = {k: sum(r.get(k) is not None for r in rows) for k in keys}
    most = max(logged.values(), default=0)
    keys = [k for k in keys if logged[k] > 1 or logged[k] == most > 0]  # one dot is no curve
    if not keys:
        return _nothing("nothing logged yet")
    heights = [2.0] + [1.1] * (len(keys) - 1)
    figure = Figure(figsize=(5.6, 0.5 + sum(heights)), layout="constrained")
    axes = figure.subplots(
        len(keys), sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    for i, (axis, key) in enumerate(zip(axes, keys, strict=True)):
        points = [(r["step"], r[key]) for r in rows if r.get(key) is not None]
        steps, values = (np.array(v, float) for v in zip(*points, strict=True))
        colour = LINES[i % len(LINES)]
        if len(values) > SMOOTHED:
            axis.plot(steps, values, color=colour, alpha=0.22, linewidth=0.8)
            axis.plot(steps, _smooth(values), color=colour)
        else:
            axis.plot(steps, values, color=colour, marker="o", markersize=3.5)
        validation = key == "validation" and validated
        axis.set_ylabel(fill(f"validation {validated}", NARROW) if validation else key)
        if key in from_zero:
            axis.set_ylim(0, max(1.15 * values.max(), 1e-3))
        axis.margins(x=0.02)
    axes[-1].set_xlabel("step")
    figure.align_ylabels(list(axes))
    return figure


def _smooth(values: np.ndarray) -> np.ndarray:
    """Running mean over a fortieth of the curve, edges repeated."""
    width = max(len(values) // SMOOTHED, 3)
    padded = np.pad(values, (width // 2, width - 1 - width // 2), "edge")
    return np.convolve(padded, np.ones(width) / width, "valid")


@styled
def dots_with_intervals(
    rows: list[dict], reference: float | None = None, label: str = ""
) -> Figure:
    """A forest plot: dicts of name, estimate, low, high and, to stand together, group.

    The numbers stand at the right, the name of a group on lines of its own. `reference` draws a line (0
    for differences). A row that is NaN says so instead.
    """
    if not rows:
        return _nothing("no figures")
    names, headings = [], []
    y, group = 0.0, None
    for row in rows:
        if row.get("group") and row["group"] != group:
            group = row["group"]
            y -= 0.35 if names else 0
            y = _written(group, WIDEST, y, headings)
        y = _written(row["name"], WIDEST // 2, y, names)
    places = [place for place, _ in names]
    figure = Figure(figsize=(5.4, 0.55 + 0.23 * -y))
    axis = figure.add_subplot()
    if reference is not None:
        axis.axvline(reference, color=SOFT, linewidth=0.9, linestyle=(0, (4, 3)))
    right = axis.get_yaxis_transform()  # x in shares of the panel
    for place, row in zip(places, rows, strict=True):
        main = BLUE if row.get("main") or len(rows) == 1 else INK
        if np.isnan(row["estimate"]):
            axis.text(1.03, place, "not defined", transform=right, va="center", color=SOFT, size=8)
            continue
        axis.plot([row["low"], row["high"]], [place, place], color=main, linewidth=1.6,
                  solid_capstyle="butt")  # fmt: skip
        axis.plot(row["estimate"], place, "s", color=main, markersize=4.5)
        words = f"{row['estimate']:z.3f} ({row['low']:z.3f} to {row['high']:z.3f})"
        axis.text(
            1.03, place, words.replace("-", "\N{MINUS SIGN}"), transform=right, va="center", size=8
        )
    axis.set_yticks(places, [name for _, name in names])
    axis.set_ylim(y + 0.4, 0.6)
    axis.margins(x=0.05)
    axis.xaxis.set_major_locator(MaxNLocator(6))
    axis.grid(axis="y", visible=False)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    if label:
        axis.set_xlabel(label)
    figure.draw_without_rendering()  # how wide the names are is known then
    start = min(tick.get_window_extent().x0 for tick in axis.get_yticklabels())
    start = axis.transAxes.inverted().transform((start, 0))[0]
    for place, heading in headings:  # across the panel, which is empty there
        axis.text(start, place, heading, transform=right, va="center", size=8, weight="bold",
                  bbox={"color": "white", "pad": 1})  # fmt: skip
    return figure


def _written(words: str, widest: int, y: float, written: list[tuple[float, str]]) -> float:
    """Add `words`, in lines, and where their middle stands below y; return where the next begin."""
    lines = wrap(words, widest)
    more = LINE * (len(lines) - 1)
    written.append((y - more / 2, "\n".join(lines)))
    return y - 1 - more


@styled
def paired(a: np.ndarray, b: np.ndarray, names: tuple[str, str], label: str = "") -> Figure:
    """The same cases scored twice: a line a case from `a` to `b`, or points if they are many.

    Blue where b is higher, orange where lower. Cases that either lacks (NaN) are left out.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]
    if not len(a):
        return _nothing("no case scored by both")
    colours = np.where(b > a, BLUE, np.where(b < a, ORANGE, FAINT))
    figure = Figure(figsize=(3.0, 3.0))
    axis = figure.add_subplot()
    if len(a) > SLOPES:
        ends = [min(a.min(), b.min()), max(a.max(), b.max())]
        axis.plot(ends, ends, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
        axis.scatter(a, b, c=colours, s=14, alpha=0.75, linewidths=0)
        x, y = (fill(f"{name} {label}".strip(), 44) for name in names)
        axis.set(xlabel=x, ylabel=y)
        axis.set_aspect("equal", adjustable="datalim")
    else:
        for x, y, colour in zip(a, b, colours, strict=True):
            axis.plot([0, 1], [x, y], color=colour, linewidth=0.9, alpha=0.7,
                      marker="o", markersize=3)  # fmt: skip
        axis.plot([0, 1], [a.mean(), b.mean()], color=INK, linewidth=2.4, marker="o", markersize=6)
        axis.set_xticks([0, 1], [fill(name, 18) for name in names])
        axis.set_xlim(-0.2, 1.2)
        axis.grid(axis="x", visible=False)
        axis.set_ylabel(label)
    higher, lower = int((b > a).sum()), int((b < a).sum())
    words = f"{names[1]} higher in {higher}, lower in {lower} of {len(a)}"
    axis.set_title(fill(words, 44), fontsize=8)
    return figure


@styled
def bland_altman(panels: dict[str, tuple[np.ndarray, np.ndarray]], unit: str = "ml") -> Figure:
    """Differences of true and predicted sizes over the mean of both, a panel a structure, three a line."""
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(2.4 * columns + 0.3, 2.1 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis, (name, (truth, predicted)) in zip(axes, panels.items(), strict=False):
        difference = predicted - truth
        axis.axhline(0, color=FAINT, linewidth=0.9)
        axis.axhline(difference.mean(), color=ORANGE, linewidth=1.2)
        for limit in limits_of_agreement(difference):
            axis.axhline(limit, color=ORANGE, linewidth=0.9, linestyle=(0, (4, 3)))
        axis.scatter(
            (truth + predicted) / 2, difference, color=BLUE, s=14, alpha=0.75, linewidths=0
        )
        axis.set_title(fill(name, 32))
        axis.margins(0.1)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.yaxis.set_major_locator(MaxNLocator(5))
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    figure.supxlabel(f"mean of true and predicted, {unit}", size=9)
    figure.supylabel(f"predicted \N{MINUS SIGN} true, {unit}", size=9)
    return figure


@styled
def histograms(panels: dict[str, Sequence[float]], counted: str = "scans") -> Figure:
    """Counts of values, two panels a line; a panel of fewer than two values is left out."""
    panels = {name: np.asarray(v, float) for name, v in panels.items() if len(set(v)) > 1}
    if not panels:
        return _nothing("all values are alike")
    lines = -(-len(panels) // 2)
    figure = Figure(figsize=(6.4, 1.75 * lines), layout="constrained")
    axes = figure.subplots(lines, 2, squeeze=False).ravel()
    for axis, (name, values) in zip(axes, panels.items(), strict=False):
        if (values == values.round()).all() and np.ptp(values) <= BINS:
            edges = np.arange(values.min() - 0.5, values.max() + 1)
        else:
            edges = np.histogram_bin_edges(values, bins=BINS)
        axis.hist(values, edges, color=BLUE, rwidth=0.92)
        axis.set_xlabel(name)
        axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axis.xaxis.set_major_locator(
            MaxNLocator(6, integer=len(edges) < BINS and edges[0] % 1 == 0.5)
        )
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    axes[0].set_ylabel(counted)
    return figure


@styled
def kept_curve(points: Sequence[tuple[float, float]], chosen: float | None, label: str) -> Figure:
    """Share kept over thresholds; the chosen one is marked, with its number."""
    at, share = np.array(points, float).T
    figure = Figure(figsize=(4.6, 2.6), layout="constrained")
    axis = figure.add_subplot()
    whole = (at == at.round()).all()
    axis.plot(at, share, color=BLUE, drawstyle="steps-post" if whole else "default")
    if chosen is not None:
        nearest = np.abs(at - chosen).argmin()  # the end, for one beyond all distances
        place = at[nearest], share[nearest]
        axis.plot(*place, "o", color=ORANGE, markersize=6, clip_on=False)
        axis.annotate(
            f"{share[nearest]:.0%} at {chosen:g}", place, (7, 5), textcoords="offset points",
            color=INK, fontsize=8,
        )  # fmt: skip
    axis.set(xlabel=label, ylabel="share kept", ylim=(0, 1.02))
    axis.yaxis.set_major_formatter(PercentFormatter(1, 0))
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=whole))
    axis.margins(x=0.02)
    return figure


def _nothing(words: str) -> Figure:
    """A figure that says why it is empty."""
    figure = Figure(figsize=(3.0, 1.0))
    figure.text(0.5, 0.5, words, ha="center", va="center", color=SOFT)
    return figure
