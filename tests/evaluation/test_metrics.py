import numpy as np
import pytest
import torch
from monai.metrics import compute_dice, compute_surface_dice
from scipy import ndimage

from medssl.evaluation.metrics import dice, lesion_scores, segmentation_scores

CLASSES = {1: "liver", 2: "spleen", 3: "nowhere"}


@pytest.mark.parametrize("shape", [(20, 24), (14, 16, 18)])
def test_dice_equals_monais(shape):
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, shape), rng.integers(0, 3, shape)
    ours = dice(a, b, CLASSES)
    for k, name in [(1, "liver"), (2, "spleen")]:
        pair = [torch.from_numpy(x == k)[None, None].float() for x in (a, b)]
        assert ours[name] == pytest.approx(float(compute_dice(*pair)), abs=1e-6)
    assert np.isnan(ours["nowhere"])


def test_a_class_on_one_side_only_scores_zero():
    a = np.zeros((8, 8, 8), int)
    b = a.copy()
    b[2:4, 2:4, 2:4] = 1
    for p, t in ((a, b), (b, a)):
        row = segmentation_scores(p, t, {1: "x"}, (1, 1, 1))[0]
        assert row["dice"] == 0 and row["nsd"] == 0
    assert np.isnan(segmentation_scores(a, a, {1: "x"}, (1, 1, 1))[0]["nsd"])


def ball(shape, radius, centre):
    index = np.indices(shape)
    return (sum((i - c) ** 2 for i, c in zip(index, centre, strict=True)) < radius**2).astype(int)


def test_surface_distance_knows_millimetres_and_tolerance():
    a, b = ball((40, 40, 40), 10, (20, 20, 20)), ball((40, 40, 40), 12, (20, 20, 20))
    near = segmentation_scores(a, b, {1: "x"}, (0.4, 0.4, 0.4), tolerance_mm=1.0)[0]["nsd"]
    far = segmentation_scores(a, b, {1: "x"}, (3, 3, 3), tolerance_mm=1.0)[0]["nsd"]
    assert near > 0.99 and far < 0.3
    assert segmentation_scores(a, a, {1: "x"}, (1, 2, 3))[0]["nsd"] == 1


def test_surface_distance_against_a_distance_transform():
    a, b = ball((30, 30, 30), 8, (14, 14, 14)), ball((30, 30, 30), 8, (16, 14, 14))

    def surface(m):
        return m.astype(bool) & ~ndimage.binary_erosion(m)

    sa, sb = surface(a), surface(b)
    da, db = (ndimage.distance_transform_edt(~s) for s in (sa, sb))
    expected = ((db[sa] <= 1).sum() + (da[sb] <= 1).sum()) / (sa.sum() + sb.sum())
    assert segmentation_scores(a, b, {1: "x"}, (1, 1, 1))[0]["nsd"] == pytest.approx(
        expected, abs=0.02
    )


def test_volumes_in_ml():
    row = segmentation_scores(
        np.ones((10, 10, 10), int), np.ones((10, 10, 10), int), {1: "x"}, (1, 2, 5)
    )[0]
    assert row["volume_ml_truth"] == row["volume_ml_prediction"] == pytest.approx(10)


def test_films_have_surface_distances_too():
    a, b = ball((40, 40), 10, (20, 20)), ball((40, 40), 12, (20, 20))
    near = segmentation_scores(a, b, {1: "x"}, (0.4, 0.4))[0]
    assert near["nsd"] > 0.99 and near["volume_ml_truth"] == pytest.approx(b.sum() * 0.16 / 1000)
    assert segmentation_scores(a, b, {1: "x"}, (3, 3))[0]["nsd"] < 0.3


@pytest.mark.parametrize("shape", [(9, 9), (9, 9, 9)])
def test_surfaces_at_the_edge_of_the_scan_and_of_one_voxel(shape):
    corner, neighbour = np.zeros(shape, int), np.zeros(shape, int)
    corner[(0,) * len(shape)] = 1
    neighbour[(0,) * (len(shape) - 1) + (1,)] = 1
    score = segmentation_scores(corner, neighbour, {1: "x"}, (1.0,) * len(shape))[0]
    assert score["dice"] == 0 and score["nsd"] == 1
    full = np.ones(shape, int)
    assert segmentation_scores(full, full, {1: "x"}, (1.0,) * len(shape))[0]["nsd"] == 1


def test_cropping_to_the_classes_changes_no_surface_distance():
    rng = np.random.default_rng(0)
    a, b = np.zeros((2, 24, 20, 22), int)
    a[5:14, 0:9, 13:22] = rng.random((9, 9, 9)) > 0.3
    b[6:15, 1:10, 13:22] = rng.random((9, 9, 9)) > 0.3
    pair = [torch.from_numpy(x == 1)[None, None] for x in (a, b)]
    spacing = [1.5, 0.7, 2.0]
    whole = compute_surface_dice(*pair, [1.0], include_background=True, spacing=spacing)
    found = segmentation_scores(a, b, {1: "x"}, spacing)[0]["nsd"]
    assert found == pytest.approx(float(whole)) and 0 < found < 1


def test_shapes_and_spacing_must_agree():
    with pytest.raises(ValueError, match="differ"):
        dice(np.zeros((4, 4), int), np.zeros((4, 1), int), {1: "x"})
    with pytest.raises(ValueError, match="spacing"):
        segmentation_scores(np.zeros((4, 4), int), np.zeros((4, 4), int), {1: "x"}, (1, 1, 1))


def test_one_voxel_of_noise_in_the_spacing_changes_no_surface_distance():
    """Affines hold float32: a surface one voxel away must not lie just beyond a voxel's size."""
    truth = np.zeros((16, 16, 16), int)
    truth[4:10, 4:10, 4:10] = 1
    found = [
        segmentation_scores(np.roll(truth, 1, 0), truth, {1: "a"}, (s, s, s), 1.0)[0]["nsd"]
        for s in (1.0, 1.0000001, 0.9999999)
    ]
    assert found == [1.0, 1.0, 1.0]
    far = segmentation_scores(np.roll(truth, 1, 0), truth, {1: "a"}, (1.01,) * 3, 1.0)[0]["nsd"]
    assert far < 1


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 1.1, 2.5)])
def test_hausdorff_distance_against_distance_transforms(spacing):
    a, b = ball((30, 30, 30), 8, (14, 14, 14)) == 1, ball((30, 30, 30), 7, (16, 13, 14)) == 1
    sides = []
    for one, other in ((a, b), (b, a)):
        edge, far = (m & ~ndimage.binary_erosion(m) for m in (one, other))
        sides.append(np.percentile(ndimage.distance_transform_edt(~far, spacing)[edge], 95))
    found = segmentation_scores(a * 1, b * 1, {1: "x"}, spacing)[0]["hd95_mm"]
    assert found == pytest.approx(max(sides), rel=1e-5)


def test_what_only_one_side_has_lies_a_scan_away():
    a = np.zeros((10, 10, 10), int)
    b = a.copy()
    b[2:4, 2:4, 2:4] = 1
    for pair in ((a, b), (b, a)):
        row = segmentation_scores(*pair, {1: "x"}, (1, 2, 3))[0]
        assert row["hd95_mm"] == pytest.approx(10 * np.sqrt(14))
    assert np.isnan(segmentation_scores(a, a, {1: "x"}, (1, 1, 1))[0]["hd95_mm"])
    assert segmentation_scores(b, b, {1: "x"}, (1, 1, 1))[0]["hd95_mm"] == 0


def test_lesions_are_counted_apart():
    truth, found = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    truth[1:4, 1:4] = truth[8:11, 8:11] = truth[15, 15] = truth[16, 16] = True  # a corner joins
    found[3:6, 3:6] = found[12:14, 1:3] = found[9, 9] = True
    told = lesion_scores(found, truth)
    assert (told["lesions"], told["found"], told["false"]) == (3, 2, 1)
    assert told["lesion_sensitivity"] == told["lesion_f1"] == pytest.approx(2 / 3)
    nothing = np.zeros((20, 20), bool)
    told = lesion_scores(found, nothing)
    assert np.isnan(told["lesion_sensitivity"]) and told["lesion_f1"] == 0 and told["false"] == 3
    assert lesion_scores(nothing, truth)["lesion_f1"] == 0
    assert np.isnan(lesion_scores(nothing, nothing)["lesion_f1"])
