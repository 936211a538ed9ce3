"""Probes of a frozen representation."""

import numpy as np

from medssl.errors import UserError

BLOCK = 1024


def knn_predict(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, k: int = 20, temperature: float = 0.07
) -> np.ndarray:
    """Labels of `test` (n, d) by a cosine-weighted vote of the k nearest of `train` (m, d).

    Features are centred by the training mean. Weights are exp(cosine / temperature), as in Wu et
    al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018.
    Raises UserError without training features or for features that are not finite.
    """
    if not len(train):
        raise UserError(
            "EMPTY", "k-NN", "no training features", "choose splits with labelled scans"
        )
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        raise UserError(
            "FEATURES", "k-NN", "some features are not finite numbers",
            "the backbone has diverged: take an earlier checkpoint or a smaller learning rate",
        )  # fmt: skip
    train, test = np.asarray(train, np.float32), np.asarray(test, np.float32)
    mean = train.mean(0)
    train, test = _unit(train - mean), _unit(test - mean)
    names, number = np.unique(labels, return_inverse=True)
    k = min(k, len(train))
    out = [np.empty(0, int)]
    for start in range(0, len(test), BLOCK):
        cosine = test[start : start + BLOCK] @ train.T
        near = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        weight = np.exp(np.take_along_axis(cosine, near, 1) / temperature)
        votes = np.zeros((len(cosine), len(names)))
        for j in range(k):
            votes[np.arange(len(cosine)), number[near[:, j]]] += weight[:, j]
        out.append(votes.argmax(1))
    return names[np.concatenate(out)]


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
