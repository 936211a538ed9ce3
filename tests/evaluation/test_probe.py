import numpy as np

from medssl.evaluation.probe import knn_predict


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
