from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from medssl.reports import figures


def pixels(figure) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(figures.as_png(figure))).convert("RGB")).astype(int)


def test_planes_are_shown_as_a_radiologist_looks_at_them():
    image = np.zeros((10, 12, 14))
    image[8, 10, 12] = 1  # right, anterior, superior in RAS
    axial, coronal, sagittal = figures.planes(image, (8, 10, 12))
    for plane, shape in zip(
        (axial, coronal, sagittal), [(12, 10), (14, 10), (14, 12)], strict=True
    ):
        assert plane.shape == shape
        assert np.argwhere(plane).tolist() == [[1, 1]]  # up, and to the left of the picture


def test_a_film_is_shown_as_it_is():
    film = np.arange(12).reshape(3, 4)
    assert np.array_equal(figures.planes(film)[0], film)


@pytest.mark.parametrize("shape", [(20, 24), (16, 20, 24)])
def test_overlay_draws_truth_and_prediction(shape):
    image = np.random.default_rng(0).random(shape)
    truth = np.zeros(shape, int)
    truth[5:12, 5:12] = 1
    empty = pixels(figures.overlay(image, truth * 0, truth * 0, {1: "liver"}))
    drawn = pixels(figures.overlay(image, truth, np.roll(truth, 2, 0), {1: "liver"}))
    orange = (drawn[..., 0] > 180) & (drawn[..., 2] < 80)
    none = (empty[..., 0] > 180) & (empty[..., 2] < 80)
    assert orange.sum() > none.sum() + 100


def test_curves_dots_and_roc_are_not_empty():
    rows = [{"step": i, "loss": 1 / (i + 1)} for i in range(200)] + [
        {"step": 200, "validation": 0.5}
    ]
    interval = [{"name": "dice, liver", "estimate": 0.8, "low": 0.7, "high": 0.9}]
    truth = np.array([0, 1] * 20)
    for figure in (
        figures.loss_curve(rows, ["loss", "validation"]),
        figures.dots_with_intervals(interval),
        figures.roc(truth, truth + np.linspace(0, 1, 40)),
        figures.roc(np.zeros(5, int), np.zeros(5)),
    ):
        assert pixels(figure).std() > 5


def test_figures_leave_no_style_behind():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figures.loss_curve([{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}], ["loss"])
    assert dict(mpl.rcParams) == before
