import numpy as np
import pytest
import torch
from monai.metrics import compute_dice, compute_surface_dice
from scipy import ndimage
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from medssl.errors import UserError
from medssl.evaluation.metrics import (
    classification_scores,
    dice,
    segmentation_scores,
    undefined,
)

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


def test_classification_against_scikit_learn():
    rng = np.random.default_rng(0)
    truth, p = rng.integers(0, 2, 200), rng.random(200)
    found = classification_scores(truth, np.column_stack([1 - p, p]))
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, p))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, p > 0.5))
    truth, scores = rng.integers(0, 3, 200), rng.dirichlet(np.ones(3), 200)
    many = classification_scores(truth, scores)
    assert many["auroc"] == pytest.approx(roc_auc_score(truth, scores, multi_class="ovr"))


def test_one_class_only_is_not_defined_and_no_crash():
    found = classification_scores(np.ones(5, int), np.full((5, 2), 0.5))
    assert np.isnan(found["auroc"]) and np.isnan(found["auprc"]) and found["accuracy"] == 0


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


def test_auprc_and_one_column_of_scores():
    rng = np.random.default_rng(0)
    truth, p = rng.integers(0, 2, 100), rng.random(100)
    found = classification_scores(truth, p)
    assert found["auprc"] == pytest.approx(average_precision_score(truth, p))
    assert found == classification_scores(truth, np.column_stack([1 - p, p]))


def test_a_class_without_cases_is_left_out_of_the_mean():
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(0, 2, 60), rng.dirichlet(np.ones(3), 60)
    each = [roc_auc_score(truth == k, scores[:, k]) for k in (0, 1)]
    assert classification_scores(truth, scores)["auroc"] == pytest.approx(np.mean(each))


def test_the_reason_for_an_undefined_score_is_given():
    assert undefined([0, 1]) == ""
    assert "every case is of class opacity" in undefined(["opacity"] * 3)
    assert "there is no case" in undefined([])


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(UserError, match="SCORES .*2 scores are not finite"):
        classification_scores(np.array([0, 1]), np.array([[np.nan, 1], [0, np.inf]]))


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
