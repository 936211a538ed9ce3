import io

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image

from medssl.reports.charts import bland_altman, dots_with_intervals, histograms, loss_curve, paired
from medssl.reports.style import BLUE, ORANGE, as_png


def drawn(figure: Figure) -> np.ndarray:
    """Grey values of the rendered picture."""
    assert isinstance(figure, Figure)
    return np.asarray(Image.open(io.BytesIO(as_png(figure))).convert("L"))


def log(n: int) -> list[dict]:
    rows = [{"step": i, "loss": float(np.exp(-i / 50) + 0.1 * (i % 3))} for i in range(1, n + 1)]
    more = [{"step": s, "loss": None, "validation": 0.5, "rank": 9.0} for s in (n // 2, n)]
    return [*rows, *more]


@pytest.mark.parametrize("n", [5, 300])
def test_a_panel_for_every_logged_key(n):
    figure = loss_curve(log(n), ["loss", "validation", "never", "rank"], from_zero=["rank"])
    assert [a.get_ylabel() for a in figure.axes] == ["loss", "validation", "rank"]
    (axis,) = loss_curve(log(n), ["validation"], validated="mean Dice").axes
    assert axis.get_ylabel().split() == ["validation", "mean", "Dice"]
    assert figure.axes[2].get_ylim()[0] == 0
    assert drawn(figure).std() > 5


def test_a_figure_logged_once_beside_a_curve_gets_no_panel():
    rows = [*log(5), {"step": 5, "spread": 0.3}]
    figure = loss_curve(rows, ["loss", "spread"])
    assert [a.get_ylabel() for a in figure.axes] == ["loss"]
    alone = loss_curve([{"step": 1, "loss": 0.5, "spread": 0.3}], ["loss", "spread"])
    assert len(alone.axes) == 2 and drawn(alone).std() > 5


def test_smoothing_keeps_steps_level_and_the_raw_curve():
    rows = [{"step": i, "loss": 2.0 + (-1) ** i} for i in range(400)]
    raw, smooth = loss_curve(rows, ["loss"]).axes[0].lines
    assert np.ptp(raw.get_ydata()) == 2
    assert len(smooth.get_ydata()) == 400 and np.abs(smooth.get_ydata()[20:-20] - 2).max() < 0.2


def test_an_empty_log_says_so():
    figure = loss_curve([], ["loss"])
    assert "nothing logged" in figure.texts[0].get_text() and drawn(figure).std() > 1


ROWS = [
    {"name": "liver", "group": "Dice", "estimate": 0.9, "low": 0.8, "high": 0.95, "main": True},
    {"name": "spleen", "group": "Dice", "estimate": np.nan, "low": np.nan, "high": np.nan},
    {"name": "liver", "group": "NSD", "estimate": -0.1, "low": -0.2, "high": 0.05},
]


def test_forest_plot_draws_intervals_numbers_groups_and_reference():
    figure = dots_with_intervals(ROWS, reference=0, label="difference")
    axis = figure.axes[0]
    words = [t.get_text() for t in axis.texts]
    assert words[:3] == ["0.900 (0.800 to 0.950)", "not defined", "−0.100 (−0.200 to 0.050)"]
    spans = [tuple(line.get_xdata()) for line in axis.lines if len(line.get_xdata()) == 2]
    assert {(0, 0), (0.8, 0.95), (-0.2, 0.05)} <= set(spans)
    assert words[3:] == ["Dice", "NSD"]
    heights = [*axis.get_yticks(), *(t.get_position()[1] for t in axis.texts[3:])]
    assert len(set(heights)) == len(heights) == 5
    assert drawn(figure).std() > 5
    assert drawn(dots_with_intervals([])).std() > 1


def test_a_long_heading_or_name_stays_in_its_lines_and_moves_nothing_aside():
    long = "an arm that was pretrained on all of the archive for a week, " * 3
    width = drawn(dots_with_intervals(ROWS)).shape[1]
    headed = dots_with_intervals([{**row, "group": long} for row in ROWS])
    assert drawn(headed).shape[1] < 1.1 * width
    assert (
        drawn(dots_with_intervals([{**row, "name": long} for row in ROWS])).shape[1] < 1.6 * width
    )
    axis = dots_with_intervals(
        [{**row, "name": long, "group": row["group"] + long} for row in ROWS]
    )
    axis = axis.axes[0]
    axis.figure.draw_without_rendering()
    words = [t.get_window_extent() for t in (*axis.get_yticklabels(), *axis.texts[3:])]
    assert not any(a.overlaps(b) for i, a in enumerate(words) for b in words[:i])


@pytest.mark.parametrize("n", [1, 12, 200])
def test_paired_counts_and_colours_winners(n):
    rng = np.random.default_rng(0)
    a = rng.uniform(0.4, 0.8, n)
    b = a + np.where(np.arange(n) % 4 == 0, -0.1, 0.1)
    a, b = np.append(a, np.nan), np.append(b, 0.5)
    figure = paired(a, b, ("scratch", "pretrained"), "Dice")
    lower = -(-n // 4)
    title = figure.axes[0].get_title(loc="left")
    assert title == f"pretrained higher in {n - lower}, lower in {lower} of {n}"
    if n > 40:
        colours = figure.axes[0].collections[0].get_facecolors()[:, :3]
        assert (colours == to_rgba(ORANGE)[:3]).all(1).sum() == lower
    else:
        assert sum(line.get_color() == BLUE for line in figure.axes[0].lines) == n - lower
    assert drawn(figure).std() > 5


def test_bland_altman_draws_each_case_the_mean_and_the_limits():
    truth, predicted = np.array([10.0, 20, 30]), np.array([11.0, 23, 32])
    figure = bland_altman({"liver": (truth, predicted), "spleen": (truth, truth - 1)})
    axis = figure.axes[0]
    assert axis.get_title(loc="left") == "liver"
    assert axis.collections[0].get_offsets().tolist() == [[10.5, 1], [21.5, 3], [31, 2]]
    lines = [line.get_ydata()[0] for line in axis.lines]
    assert lines == pytest.approx([0, 2, 2 - 1.96, 2 + 1.96])
    assert drawn(figure).std() > 5


def test_paired_keeps_long_names_apart():
    names = ("from-scratch/2-draw0-seed0-trial1", "global-contrast/2-draw0-seed0-trial1")
    axis = paired([0.1, 0.2], [0.2, 0.1], names).axes[0]
    axis.figure.draw_without_rendering()
    one, two = (tick.get_window_extent() for tick in axis.get_xticklabels())
    assert not one.overlaps(two)


def test_paired_without_common_cases_says_so():
    assert "no case" in paired([np.nan], [1.0], ("a", "b")).texts[0].get_text()


def test_histograms_count_every_value_and_leave_out_what_is_alike():
    draw = np.random.default_rng(0)
    panels = {"many": draw.normal(size=300), "few": [1, 2, 2, 5], "alike": [3.0] * 9, "none": []}
    figure = histograms(panels)
    shown = {a.get_xlabel(): sum(p.get_height() for p in a.patches) for a in figure.axes}
    assert {k: v for k, v in shown.items() if k} == {"many": 300, "few": 4}
    assert drawn(figure).std() > 5
    assert "alike" in histograms({"a": [1.0]}).texts[0].get_text()
