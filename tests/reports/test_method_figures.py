import numpy as np
import pytest
from matplotlib.figure import Figure

from medssl.reports import method_figures
from tests.reports.test_figures import SHAPES, drawn, scan


@pytest.mark.parametrize("shape", SHAPES)
def test_reconstruction_has_three_columns(shape):
    image, _ = scan(shape)
    figure = method_figures.reconstruction(image, image * 0, image * 0.5)
    assert len(figure.axes) == (3 if len(shape) == 2 else 9)
    titles = [a.get_title(loc="left") for a in figure.axes[:3]]
    assert titles == ["input", "visible", "reconstruction"]
    assert len({a.images[0].get_clim() for a in figure.axes}) == 1
    assert drawn(figure).std() > 10


@pytest.mark.parametrize("shape", SHAPES)
def test_overlap_marks_the_crop_where_it_is(shape):
    image = np.zeros(shape)
    crop = [n // 2 for n in shape]
    start = [n // 4 for n in shape]
    image[tuple(slice(s, s + c) for s, c in zip(start, crop, strict=True))] = 1
    cells = 2 ** len(shape)
    figure = method_figures.overlap(
        image, [2] * len(shape), crop, start, np.arange(cells) / 9, np.ones(cells)
    )
    left, right = figure.axes
    box = left.patches[0].get_bbox()
    picture = left.images[0].get_array()
    rows, columns = np.nonzero(picture)
    assert (box.x0, box.y0) == (columns.min() - 0.5, rows.min() - 0.5)
    assert (box.x1, box.y1) == (columns.max() + 0.5, rows.max() + 0.5)
    assert [b.get_height() for b in right.patches] == [*np.ones(cells), *(np.arange(cells) / 9)]
    assert left.xaxis_inverted() == (len(shape) == 3)  # the patient's right on the left
    assert left.yaxis_inverted() == (len(shape) == 2)  # films downwards, anterior up
    assert drawn(figure).std() > 10


def test_overlap_without_an_image_has_bars_only():
    figure = method_figures.overlap(
        None, (2, 2), (4, 4), (1, 1), np.array([-0.1, 0, 0.4, 0.2]), np.ones(4)
    )
    assert len(figure.axes) == 1 and figure.axes[0].get_ylim()[0] < -0.1
    assert drawn(figure).std() > 5


@pytest.mark.parametrize("shape", SHAPES)
def test_similarity_frames_what_should_be_alike_and_strikes_out_what_is_left_out(shape):
    images = [scan(shape)[0] for _ in range(3)]
    asked = np.eye(3)
    asked[0, 1] = np.nan
    values = np.linspace(-0.2, 0.9, 9).reshape(3, 3)
    figure = method_figures.similarity(images, images, values, asked, "cosines")
    main = figure.axes[0]
    assert len(main.patches) == 3 and len(main.lines) == 1
    assert sum(bool(axis.images) for axis in figure.axes) >= 7
    low, high = main.images[0].get_clim()
    assert low == -high and high == pytest.approx(0.9)  # white is 0
    assert drawn(figure).std() > 10


def test_similarity_without_pictures():
    figure = method_figures.similarity([], [], np.eye(24), np.eye(24))
    assert len(figure.axes) == 2 and drawn(figure).std() > 5


def test_method_pictures_by_kind():
    image = scan((16, 16))[0]
    options = {
        "reconstruction": {"input": image, "masked": image, "output": image},
        "gallery": {"images": [image], "captions": ["a"]},
        "overlap": {"image": image, "grid": (2, 2), "crop": (8, 8), "start": (3, 3),
                    "predicted": np.ones(4), "true": np.ones(4)},
        "similarity": {"rows": [image], "columns": [], "values": np.ones((1, 1)),
                       "asked": np.ones((1, 1))},
    }  # fmt: skip
    assert set(options) == set(method_figures.KINDS)
    for kind, given in options.items():
        assert isinstance(method_figures.method_picture({"kind": kind, **given}), Figure)
