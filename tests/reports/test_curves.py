import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medssl.reports.curves import (
    froc,
    precision_of_boxes,
    precision_recall,
    reliability,
    roc,
    truth_and_prediction,
)
from tests.reports.test_charts import drawn


def curve(seed=0, n=80):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    return truth == 1, (truth + rng.normal(0, 1, n)).round(1)  # with ties


def test_areas_under_the_drawn_curves():
    truth, scores = curve()
    figure = roc({"a": (truth, scores)})
    x, y = figure.axes[0].lines[1].get_data()
    assert np.trapezoid(y, x) == pytest.approx(roc_auc_score(truth, scores))
    assert drawn(figure).std() > 5
    figure = precision_recall({"a": (truth, scores)})
    x, y = figure.axes[0].lines[1].get_data()
    assert -(np.diff(x) * y[:-1]).sum() == pytest.approx(average_precision_score(truth, scores))


def test_many_curves_and_long_names_are_named_beside_the_panel():
    few = roc({name: curve(i) for i, name in enumerate("ab")})
    many = roc({name: curve(i) for i, name in enumerate("abcdef")})
    long = roc({name: curve(i) for i, name in enumerate(["a", "a name that hides curves"])})
    for figure, beside in ((few, False), (many, True), (long, True)):
        figure.canvas.draw()
        axis = figure.axes[0]
        box = axis.get_legend().get_window_extent().transformed(axis.transAxes.inverted())
        assert (box.x0 >= 1) == beside


def test_what_happens_when_so_much_is_said():
    rng = np.random.default_rng(0)
    p = rng.random(4000)
    figure = reliability({"honest": (rng.random(4000) < p, p), "sure": (rng.random(4000) < 0.5, p)})
    honest, sure = (line for line in figure.axes[0].lines if len(line.get_xdata()) == 10)
    assert np.abs(honest.get_ydata() - honest.get_xdata()).max() < 0.06
    assert np.abs(sure.get_ydata() - 0.5).max() < 0.06
    low, high = np.array([s[:, 1] for s in figure.axes[0].collections[0].get_segments()]).T
    assert (low < honest.get_ydata()).all() and (honest.get_ydata() < high).all()
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["honest", "sure"]


def test_numbers_lie_on_the_line_where_they_are_right():
    figure = truth_and_prediction([20, 40, 60], [21, 40, 55], "age")
    points = figure.axes[0].collections[0].get_offsets()
    assert points.tolist() == [[20, 21], [40, 40], [60, 55]]
    assert drawn(figure).std() > 5


def test_froc_rises_in_steps_from_what_is_found_before_the_first_false_box():
    false, found = np.array([0, 0.1, 0.1, 3.0]), np.array([0.2, 0.2, 0.5, 0.5])
    (axis,) = froc({"a": (false, found)}).axes
    x, y = axis.lines[0].get_data()
    assert axis.get_xscale() == "log" and (np.diff(y) >= 0).all()
    assert y[0] == 0.2 and y[np.searchsorted(x, 1.0)] == 0.5
    (axis,) = precision_of_boxes({"a": (np.array([1.0, 0.5]), np.array([0.4, 0.4]))}).axes
    assert axis.get_xlabel().startswith("recall")
