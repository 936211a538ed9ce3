"""Probes of a frozen representation: nearest neighbours, and how two networks compare."""

from dataclasses import asdict
from functools import partial

import numpy as np
import pandas as pd

from medssl.errors import UserError
from medssl.evaluation.intervals import bootstrap, paired_difference
from medssl.evaluation.text_table import text_table

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


def compared(
    pretrained: np.ndarray, untrained: np.ndarray, patients: np.ndarray, chance: float, seed: int
) -> dict:
    """Both means with their intervals over patients, the paired difference, and chance.

    pretrained, untrained  one value a case (n,), NaN where it has none; patients (n,)
    """
    return {
        "pretrained": asdict(bootstrap(pretrained, patients, seed=seed)),
        "untrained": asdict(bootstrap(untrained, patients, seed=seed)),
        "difference": asdict(paired_difference(pretrained, untrained, patients, seed=seed)),
        "chance": chance,
    }


def compared_by_class(
    pretrained: pd.DataFrame, untrained: pd.DataFrame, patients: np.ndarray, seed: int
) -> dict:
    """`compared` for Dice (a row a scan, a column a structure): the mean over the structures that a
    scan holds, and under `classes` every structure that any scan holds.

    Chance is 0: without looking, nothing better can be said than that all is background.
    """
    score = partial(compared, patients=patients, chance=0.0, seed=seed)
    present = [name for name in pretrained if pretrained[name].notna().any()]
    each = {
        name: score(pretrained[name].to_numpy(), untrained[name].to_numpy()) for name in present
    }
    means = (frame.mean(axis=1).to_numpy() for frame in (pretrained, untrained))
    return {**score(*means), "classes": each}


def table(found: dict[str, dict], measures: dict[str, str]) -> list[str]:
    """What `compared` gave of every probe as lines of text; `measures` says what its figures are."""
    rows = [
        ("probe", "pretrained", "untrained", "difference", "95 % interval", "chance", "patients")
    ]
    for name, figures in found.items():
        gain = figures["difference"]
        rows.append((
            f"{name}, {measures[name]}" if name in measures else f"  {name}",
            *(f"{figures[k]['estimate']:.3f}" for k in ("pretrained", "untrained")),
            f"{gain['estimate']:+.3f}",
            f"{gain['low']:+.3f} to {gain['high']:+.3f}",
            f"{figures['chance']:.3f}",
            str(gain["n_patients"]),
        ))  # fmt: skip
    return text_table(rows)
