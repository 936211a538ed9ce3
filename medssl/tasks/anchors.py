"""Shapes of anchors, fitted to the boxes that there are (as Redmon and Farhadi do for YOLO, CVPR 2017)."""

import numpy as np

APART = 1.3  # between shapes that are made up, where there are fewer kinds of boxes than anchors


def fitted(sizes: np.ndarray, levels: int, each: int) -> np.ndarray:
    """Shapes (levels, each, d), small to large, for boxes of `sizes` (n, d): k-means of their logarithms.

    The same boxes give the same anchors, in whatever order they come.
    """
    from sklearn.cluster import KMeans

    logs = np.log(np.asarray(sizes, float))
    logs = logs[np.lexsort(logs.T)]
    kinds, wanted = len(np.unique(logs.round(6), axis=0)), levels * each
    centres = KMeans(min(kinds, wanted), n_init=10, random_state=0).fit(logs).cluster_centers_
    # Where kinds are fewer: the same ones again, a step larger, a step smaller, two steps larger ...
    turns = range(-(-wanted // len(centres)))
    steps = [(turn + 1) // 2 * (1 if turn % 2 else -1) for turn in turns]
    centres = np.concatenate([centres + step * np.log(APART) for step in steps])[:wanted]
    centres = centres[np.argsort(centres.sum(1), kind="stable")]
    return np.exp(centres).reshape(levels, each, -1)
