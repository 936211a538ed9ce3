import itertools

import numpy as np
import pytest

from medssl.data import preprocess
from medssl.data.preprocess import Grid, prepare, resize, restore
from medssl.data.recipe import Recipe
from medssl.data.volume import Volume, reorient, spacing_affine
from medssl.errors import UserError


def winners(scores: np.ndarray) -> np.ndarray:
    return scores.argmax(0)


def head(shape=(30, 34, 26), spacing=(2.0, 1.5, 2.5)) -> Volume:
    index = np.indices(shape).astype(np.float32)
    centre = np.array(shape).reshape(3, 1, 1, 1) / 2
    inside = (((index - centre) / (np.array(shape).reshape(3, 1, 1, 1) * 0.3)) ** 2).sum(0) < 1
    noise = np.random.default_rng(0).normal(size=shape)
    array = np.where(inside, 500 + 50 * noise, 5 * np.abs(noise)).astype(np.float32)
    return Volume(array[None], np.diag([*spacing, 1.0]), "MR")


def orders():
    return [
        "".join(c)
        for p in itertools.permutations(["LR", "PA", "IS"])
        for c in itertools.product(*p)
    ]


def test_all_48_axis_orders_prepare_and_restore_alike():
    recipe = Recipe(spacing=[2, 2, 2], foreground="body", crop=True)
    reference = prepare(head(), recipe)
    scores = np.stack([-reference.image.array[0], reference.image.array[0]])
    back = restore(scores, reference.grid, "RAS", head(), winners)
    for codes in orders():
        scan = reorient(head(), codes)
        prepared = prepare(scan, recipe)
        assert np.array_equal(prepared.image.array, reference.image.array)
        labels = restore(scores, prepared.grid, "RAS", scan, winners)
        assert labels.shape == scan.shape and np.allclose(labels.affine, scan.affine)
        assert np.array_equal(reorient(labels, "RAS").array, back.array)


def test_restore_brings_a_mask_back_to_the_scans_grid():
    scan = head()
    truth = scan.with_array((scan.array > 250).astype(np.uint8))
    recipe = Recipe(spacing=[1.2, 1.2, 1.2], foreground="body", crop=True)
    prepared = prepare(scan, recipe, truth)
    scores = np.stack([1 - prepared.mask.array[0], prepared.mask.array[0]]).astype(np.float32)
    back = restore(scores, prepared.grid, "RAS", scan, winners)
    both = 2 * (back.array & truth.array).sum() / (back.array.sum() + truth.array.sum())
    assert both > 0.97


def test_crop_finds_the_body_and_keeps_a_margin():
    prepared = prepare(head(), Recipe(foreground="body", crop=True, margin=4))
    assert all(p < n for p, n in zip(prepared.image.shape, head().shape, strict=True))
    assert prepared.image.array.max() > 0


def test_zscore_ignores_scale_and_offset_of_the_scanner():
    recipe = Recipe(foreground="body")
    a = prepare(head(), recipe).image.array
    b = prepare(head().with_array(head().array * 1000 + 7), recipe).image.array
    assert np.allclose(a, b, atol=1e-3)


def test_hu_window_maps_to_minus_one_and_one():
    array = np.linspace(-1000, 1000, 27, dtype=np.float32).reshape(1, 3, 3, 3)
    scan = Volume(array, np.eye(4), "CT")
    out = prepare(scan, Recipe(intensity="hu", window=[-175, 250])).image.array
    assert out.min() == -1 and out.max() == 1
    middle = np.abs(array - 37.5).argmin()
    assert abs(out.ravel()[middle] - (array.ravel()[middle] - 37.5) / 212.5) < 1e-5


def test_film_is_fitted_with_its_aspect_kept_and_comes_back():
    film = Volume(np.random.default_rng(0).random((1, 60, 40)).astype(np.float32), np.eye(4), "DX")
    prepared = prepare(film, Recipe(intensity="percentile", size=[32, 32]))
    assert prepared.image.array.shape == (1, 32, 32)
    columns = prepared.image.array[0].min(0)
    assert (columns[:4] == -1).all() and (columns[-4:] == -1).all() and columns[16] > -1.0001
    scores = np.zeros((2, 32, 32), np.float32)
    scores[1] = 1
    labels = restore(scores, prepared.grid, "RAS", film, winners)
    assert labels.array.shape == (1, 60, 40) and labels.array.min() == 1


def test_anti_aliased_resize_keeps_the_mean_and_labels_stay_labels():
    array = np.random.default_rng(0).random((1, 32, 32, 32)).astype(np.float32)
    small = resize(array, (8, 8, 8), smooth=True)
    assert abs(small.mean() - array.mean()) < 0.01 and small.std() < 0.1
    labels = (array > 0.5).astype(np.uint8) * 7
    assert set(np.unique(resize(labels, (9, 11, 40), smooth=False))) <= {0, 7}


def test_constant_scan_and_wrong_modality_are_refused_by_name():
    flat = Volume(np.zeros((1, 4, 4, 4), np.float32), np.eye(4), "MR")
    with pytest.raises(UserError, match="CONSTANT case7"):
        prepare(flat, Recipe(), name="case7")
    with pytest.raises(UserError, match="found MR, the recipe expects CT"):
        prepare(head(), Recipe(modality="CT", intensity="hu"), name="case8")
    with pytest.raises(UserError, match="recipe.spacing"):
        prepare(head(), Recipe(spacing=[1, 1]))


def test_a_film_that_padding_would_blow_up_is_refused():
    film = Volume(np.arange(64, dtype=np.uint8).reshape(1, 8, 8), spacing_affine((1e-4, 1e4)))
    with pytest.raises(UserError, match="TOO_LARGE x: the grid .* GiB of memory"):
        prepare(film, Recipe(intensity="percentile", size=[16, 16]), name="x")


@pytest.mark.parametrize("shape, grid", [
    ((33, 20, 26), (24, 31, 20)), ((9, 40, 8), (30, 12, 17)), ((21, 34), (40, 17)), ((1, 5, 6), (7, 5, 6)),
])  # fmt: skip
def test_slabs_win_as_the_whole_does(shape, grid, monkeypatch):
    scores = np.random.default_rng(0).random((3, *grid), np.float32)
    place = Grid(shape, (0,) * len(shape), shape, grid)
    scan = Volume(np.zeros((1, *shape), np.float32), np.eye(4))
    whole = resize(scores, shape, smooth=True)
    sure = np.sort(whole, 0)[-1] - np.sort(whole, 0)[-2] > 1e-5
    for size in (1, 1000, 1 << 27):
        monkeypatch.setattr(preprocess, "SLAB_BYTES", size)
        found = restore(scores, place, "RAS", scan, lambda s: s.argmax(0)).array[0]
        assert np.array_equal(found[sure], whole.argmax(0)[sure])
    last = restore(scores, place, "RAS", scan, lambda s: s.argmax(0), lambda x: 5 - x).array[0]
    assert np.array_equal(last, 5 - found)
