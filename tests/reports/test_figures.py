import io

import nibabel as nib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from medssl.reports import figures
from medssl.reports.style import COLOURS, as_png

CLASSES = {1: "liver", 2: "spleen"}


def drawn(figure: Figure) -> np.ndarray:
    """Grey values of the rendered picture."""
    assert isinstance(figure, Figure)
    return np.asarray(Image.open(io.BytesIO(as_png(figure))).convert("L"))


def scan(shape) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright liver on the patient's right and a spleen on the left."""
    image = np.random.default_rng(0).normal(0, 0.1, shape)
    truth = np.zeros(shape, int)
    middle = tuple(slice(n // 3, n // 2) for n in shape[1:])
    truth[(slice(shape[0] // 2, -3), *middle)] = 1
    truth[(slice(3, shape[0] // 3), *middle)] = 2
    return image + truth, truth


SHAPES = [(40, 32), (30, 24, 18)]


def test_planes_look_as_a_radiologist_does():
    right, front, top = np.zeros((3, 6, 7, 8))
    right[4:], front[:, 5:], top[:, :, 6:] = 1, 1, 1
    axial, coronal, sagittal = figures.planes(right, at=(5, 3, 4))
    assert axial[:, 0].all() and not axial[:, -1].any()
    assert coronal[:, 0].all() and not coronal[:, -1].any()
    assert sagittal.all()
    axial, _, sagittal = figures.planes(front)
    assert axial[0].all() and not axial[-1].any()
    assert sagittal[:, 0].all() and not sagittal[:, -1].any()
    _, coronal, sagittal = figures.planes(top)
    assert coronal[0].all() and sagittal[0].all() and not coronal[-1].any()
    film = np.arange(6).reshape(2, 3)
    assert figures.planes(film)[0] is film


def test_planes_at_the_first_voxel():
    image = np.zeros((3, 3, 3))
    image[0, 0, 0] = 1
    assert all(p.sum() == 1 for p in figures.planes(image, at=(0, 0, 0)))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SRA", "PIL", "ASL"])
def test_to_ras_agrees_with_nibabel(codes):
    array = np.random.default_rng(0).normal(size=(4, 5, 6))
    expected = nib.orientations.apply_orientation(array, nib.orientations.axcodes2ornt(codes))
    assert np.array_equal(figures.to_ras(array, codes), expected)
    spacing = np.array(array.shape)[figures.axis_order(codes)]
    assert tuple(spacing) == expected.shape
    assert figures.to_ras(array[0], codes) is not None and figures.to_ras(array[0], "").ndim == 2


@pytest.mark.parametrize("shape", SHAPES)
def test_overlay_draws_truth_solid_and_prediction_dashed(shape):
    image, truth = scan(shape)
    figure = figures.overlay(image, truth, np.roll(truth, 1, 0), CLASSES)
    assert len(figure.axes) == len(shape) * (len(shape) - 1) // 2
    lines = [c for c in figure.axes[0].collections if c.get_paths()]
    assert len(lines) == 4
    assert [c.get_linestyle()[0][1] is None for c in lines] == [True, False, True, False]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [
        "liver", "spleen", "truth", "prediction",
    ]  # fmt: skip
    assert drawn(figure).std() > 10


@pytest.mark.parametrize("shape", SHAPES)
def test_outlines_are_seen_in_the_picture(shape):
    image, truth = scan(shape)
    orange = []
    for t in (truth * 0, truth):
        figure = figures.overlay(image, t, np.roll(t, 2, 0), {1: "liver"})
        picture = np.asarray(Image.open(io.BytesIO(as_png(figure))).convert("RGB")).astype(int)
        orange.append(((picture[..., 0] > 180) & (picture[..., 2] < 80)).sum())
    assert orange[1] > orange[0] + 100


def test_overlay_contour_lies_around_the_structure():
    image, truth = scan((40, 32))
    line = figures.overlay(image, truth, truth * 0, {1: "liver"}).axes[0].collections[0]
    rows, columns = np.nonzero(truth == 1)
    low, high = line.get_paths()[0].vertices.min(0), line.get_paths()[0].vertices.max(0)
    assert low.tolist() == [columns.min() - 0.5, rows.min() - 0.5]
    assert high.tolist() == [columns.max() + 0.5, rows.max() + 0.5]


@pytest.mark.parametrize("shape", SHAPES)
def test_overlay_without_truth_shows_the_prediction(shape):
    image, truth = scan(shape)
    figure = figures.overlay(image, truth * 0, truth, CLASSES)
    assert any(c.get_paths() for c in figure.axes[0].collections)
    assert drawn(figures.overlay(image, truth * 0, truth * 0, CLASSES)).std() > 10


def test_overlay_shows_a_structure_that_lies_off_centre_and_outlines_the_whole_scan():
    image, truth = np.random.default_rng(0).normal(size=(20, 20, 20)), np.zeros((20, 20, 20), int)
    truth[1:3, 16:19, 17:20] = 1
    for axis in figures.overlay(image, truth, truth, {1: "node"}).axes:
        assert sum(bool(c.get_paths()) for c in axis.collections) == 2
    full = figures.overlay(image, truth * 0 + 1, truth, {1: "all"})
    assert full.axes[0].collections[0].get_paths()


def test_planes_count_every_structure_alike():
    image, truth = np.zeros((2, 30, 30, 30))
    truth = truth.astype(int)
    truth[2:16, 2:16, 2:16] = 1
    truth[16:20, 2:8, 2:8] = 1  # largest where the small one is not
    truth[24:26, 12:14, 12:14] = 2
    axial, coronal, _ = figures.overlay(image, truth, truth * 0, CLASSES).axes
    assert sum(bool(c.get_paths()) for c in axial.collections) == 2
    assert sum(bool(c.get_paths()) for c in coronal.collections) == 2


def test_planes_cut_as_many_structures_as_they_can_and_then_most_of_them():
    labels = np.zeros((30, 30, 30), int)
    labels[0:9, 0:9, 5], labels[0:3, 0:3, 6:8] = 1, 1
    labels[20:29, 0:9, 5], labels[20:23, 0:3, 6:8] = 2, 2
    labels[14, 20, 6:10], labels[13, 20, 7] = 3, 3  # is not where most of the others is
    assert figures.fullest(labels)[2] == 7


def test_a_picture_names_what_it_shows_and_no_more_than_it_has_colours_for():
    labels = np.zeros((40, 40), int)
    for k in range(20):
        labels[2 * k : 2 * k + 2, : k + 2] = k + 1
    classes = {k: f"structure {k}" for k in range(1, 141)}
    figure = figures.overlay(labels, labels, labels, classes)
    words = [t.get_text() for t in figure.legends[0].get_texts()]
    largest = [f"structure {k}" for k in range(13, 21)]
    assert words == [*largest, "and 12 more", "truth", "prediction"]
    handles = figure.legends[0].get_lines()
    assert len({line.get_color() for line in handles[:8]}) == 8
    assert len(figure.axes[0].collections) == 40  # the others are drawn too
    few = dict(list(classes.items())[:8])
    named = figures.overlay(labels, labels * (labels == 3), labels * (labels == 5), few).legends[0]
    assert [t.get_text() for t in named.get_texts()][:2] == ["structure 3", "structure 5"]
    assert [line.get_color() for line in named.get_lines()][:2] == [COLOURS[2], COLOURS[4]]


@pytest.mark.parametrize("shape", SHAPES)
def test_predictions_below_each_other_have_titles_that_cover_no_picture(shape):
    image, truth = scan(shape)
    figure = figures.overlay(image, truth, {"one: 0.9": truth, "two: 0.1": truth * 0}, CLASSES)
    figure.draw_without_rendering()
    titled = [axis for axis in figure.axes if axis.get_title(loc="left")]
    assert [axis.get_title(loc="left") for axis in titled] == ["one: 0.9", "two: 0.1"]
    pictures = [axis.get_window_extent() for axis in figure.axes]
    for axis in titled:
        title = axis._left_title.get_window_extent()
        assert not any(title.overlaps(picture) for picture in pictures)


def test_spacing_gives_slices_their_proportions():
    image, truth = scan((30, 24, 6))
    flat, true = (
        figures.overlay(image, truth, truth, CLASSES, spacing=s) for s in (None, (1, 1, 4))
    )
    aspect = [a.get_aspect() for a in true.axes]
    assert aspect == [1, 4, 4]
    shapes = []
    for f in (flat, true):
        box = f.axes[1].get_position()
        shapes.append(box.width * f.get_figwidth() / (box.height * f.get_figheight()))
    assert shapes == pytest.approx([30 / 6, 30 / 24], rel=0.01)


def test_gallery_of_films_and_volumes():
    films = [scan((20, 16))[0] for _ in range(5)] + [scan((10, 12, 14))[0]]
    figure = figures.gallery(films, list("abcdef"), columns=4)
    assert sum(bool(a.images) for a in figure.axes) == 6 and len(figure.axes) == 8
    assert drawn(figure).std() > 10
    with pytest.raises(ValueError):
        figures.gallery(films, ["one caption"])
    assert figures.gallery([], []).axes


def test_colours_differ():
    assert len(set(COLOURS)) == len(COLOURS) == 8


def test_masks_of_a_gallery_are_outlined_and_few_classes_are_named():
    films, mask = [np.zeros((20, 16))] * 2, np.zeros((20, 16), int)
    mask[4:9, 4:9] = 7
    figure = figures.gallery(films, ["a", "b"], 2, [mask, None], {7: "seven"})
    assert [len(a.images) for a in figure.axes] == [2, 1]
    assert [t.get_text() for legend in figure.legends for t in legend.get_texts()] == ["seven"]
    many = figures.gallery(films, ["a", "b"], 2, [mask, None], {k: str(k) for k in range(1, 10)})
    one = figures.gallery(films, ["a", "b"], 2, [mask > 0, None], {1: "all"})
    over = [np.asarray(f.axes[0].images[1].get_array()).reshape(-1, 4) for f in (many, one)]
    over = [np.unique(pixels, axis=0) for pixels in over]
    assert np.array_equal(*over)  # one colour for all
    assert not many.legends and not figures.gallery(films, ["a", "b"]).legends
