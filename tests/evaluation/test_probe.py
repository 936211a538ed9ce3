import numpy as np
import pandas as pd
import pytest

from medssl.errors import UserError
from medssl.evaluation import probe
from medssl.evaluation.probe import compared, compared_by_class, knn_predict, table


def test_finds_planted_groups_and_not_shuffled_ones():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 600)
    features = np.eye(4, 16)[labels] + 0.2 * rng.normal(size=(600, 16)) + 50
    right = knn_predict(features[:400], labels[:400], features[400:]) == labels[400:]
    assert right.mean() > 0.95
    shuffled = rng.permutation(labels[:400])
    wrong = knn_predict(features[:400], shuffled, features[400:]) == labels[400:]
    assert wrong.mean() < 0.45


def test_one_neighbour_is_the_nearest_by_cosine():
    train = np.array([[1.0, 0], [0, 1], [-1, -1]])
    found = knn_predict(train, np.array(["a", "b", "c"]), np.array([[5.0, 1], [0.1, 2]]), k=1)
    assert found.tolist() == ["a", "b"]


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    train, labels, test = rng.normal(size=(50, 8)), rng.integers(0, 3, 50), rng.normal(size=(23, 8))
    whole = knn_predict(train, labels, test, k=7)
    monkeypatch.setattr(probe, "BLOCK", 5)
    assert np.array_equal(knn_predict(train, labels, test, k=7), whole)


def test_votes_are_weighted_by_cosine():
    # Two far neighbours of one class against one near neighbour of the other.
    angle = np.deg2rad([0, 60, -60, 120, 180, 240])
    train = np.column_stack([np.cos(angle), np.sin(angle)])
    labels = np.array(["near", "far", "far", "c", "c", "c"])
    assert knn_predict(train, labels, np.array([[1.0, 0.0]]), k=3).tolist() == ["near"]
    flat = knn_predict(train, labels, np.array([[1.0, 0.0]]), k=3, temperature=100.0)
    assert flat.tolist() == ["far"]


def test_more_neighbours_than_features_and_nothing_asked():
    train = np.array([[1.0, 0], [0, 1]])
    assert len(knn_predict(train, np.array([0, 1]), train, k=20)) == 2
    assert knn_predict(train, np.array([0, 1]), np.empty((0, 2))).tolist() == []


def test_no_features_and_diverged_features_are_refused():
    good, labels = np.eye(2), np.array([0, 1])
    with pytest.raises(UserError, match="no training features"):
        knn_predict(np.empty((0, 2)), np.array([]), good)
    with pytest.raises(UserError, match="not finite"):
        knn_predict(good, labels, np.array([[np.nan, 0.0]]))


def test_networks_are_compared_case_by_case_and_shown_as_a_table():
    patients = np.array(["a", "a", "b", "c"])
    good, bad = np.array([1.0, 1, 0, 1]), np.array([0.0, 1, 0, 0])
    found = compared(good, bad, patients, 0.5, seed=3)
    assert found["pretrained"]["estimate"] == 0.75 and found["untrained"]["estimate"] == 0.25
    assert found["difference"]["estimate"] == 0.5 and found["difference"]["n_patients"] == 3
    assert found["difference"]["seed"] == 3 and found["chance"] == 0.5
    lines = table({"knn": found, "ball": found}, {"knn": "accuracy"})
    assert (
        len(lines) == 3 and lines[1].startswith("knn, accuracy") and lines[2].startswith("  ball")
    )
    assert "+0.500" in lines[1] and len({len(line) for line in lines}) == 1


def test_structures_absent_from_a_scan_are_left_out_of_its_mean():
    high = pd.DataFrame({"ball": [0.8, 0.6], "rod": [0.4, np.nan], "none": [np.nan, np.nan]})
    found = compared_by_class(high, high / 2, np.array(["a", "b"]), seed=0)
    assert found["pretrained"]["estimate"] == pytest.approx(0.6)  # of 0.6 and 0.6
    assert found["difference"]["estimate"] == pytest.approx(0.3)
    assert list(found["classes"]) == ["ball", "rod"]
    assert found["classes"]["rod"]["pretrained"]["n_patients"] == 1
