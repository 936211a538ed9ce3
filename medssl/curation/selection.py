"""Which of many items to keep, from the distances between them.

`rows(i, others)` gives the distances float32 (len(others),) from item i to others; items are numbered in
their anatomical order, which decides ties. Every rule returns, for each item, the kept item that stands
for it and how far that is: representative int64 (N,), distance float32 (N,); a kept item stands for itself.
"""

import heapq
import warnings
from collections.abc import Callable

import numpy as np

Rows = Callable[[int, np.ndarray], np.ndarray]
Chosen = tuple[np.ndarray, np.ndarray]
MOST_CANDIDATES = 256  # for a group's medoid; of larger groups, members evenly apart


def cover(rows: Rows, n: int, threshold: float) -> Chosen:
    """The first item left is kept, and all left within the threshold of it are dropped; again.

    Wolf et al., "Less is More", Comput. Biol. Med. 183:109242, 2024. No two kept items are within the
    threshold, and every dropped one is within it of the item that stands for it.
    """
    representative, distance = np.full(n, -1), np.zeros(n, np.float32)
    left = np.arange(n)
    while len(left):
        found = rows(left[0], left)
        close = found <= threshold
        close[0], found[0] = True, 0
        representative[left[close]], distance[left[close]] = left[0], found[close]
        left = left[~close]
    return representative, distance


def medoids(rows: Rows, chosen: Chosen, threshold: float) -> Chosen:
    """For each kept item, the member of its group that is nearest to all others, in its place.

    Only members within the threshold of all others are eligible, so that the cover stays one.
    """
    representative, distance = (a.copy() for a in chosen)
    order = np.argsort(representative, kind="stable")
    heads, starts = np.unique(representative[order], return_index=True)
    for members in np.split(order, starts[1:]):
        if len(members) < 3:  # the first of two is as near to both as the second
            continue
        evenly = np.linspace(0, len(members) - 1, min(len(members), MOST_CANDIDATES)).astype(int)
        found = {int(members[i]): rows(members[i], members) for i in evenly}
        fit = {i: float(d.sum()) for i, d in found.items() if d.max() <= threshold}
        if fit:
            best = min(fit, key=lambda i: (fit[i], i))
            representative[members], distance[members] = best, found[best]
            distance[best] = 0
    return representative, distance


def k_centre(rows: Rows, n: int, budget: int) -> Chosen:
    """The first item, then again and again the one farthest from all that are kept.

    Gonzalez, Theoret. Comput. Sci. 38:293, 1985: no item is farther from the kept ones than twice what
    the best choice could do. Ends early when all the rest equal a kept item.
    """
    everyone = np.arange(n)
    representative, distance = np.zeros(n, np.int64), rows(0, everyone).astype(np.float32)
    distance[0] = 0
    for _ in range(1, min(budget, n)):
        far = int(distance.argmax())
        if distance[far] <= 0:
            break
        found = rows(far, everyone)
        found[far] = -1  # it stands for itself, whatever else it equals
        closer = found < distance
        representative[closer], distance[closer] = far, found[closer]
        distance[far] = 0
    return representative, distance


def facility_location(rows: Rows, n: int, budget: int, most: float) -> Chosen:
    """The `budget` items that together stand nearest to all: greedy, with lazy gains.

    Nemhauser, Wolsey and Fisher, Math. Program. 14:265, 1978 (within 1 - 1/e of the best choice);
    Minoux 1978. `most` is the largest distance there is: how far an item is from nothing kept.
    """
    everyone = np.arange(n)
    distance, representative = np.full(n, most, np.float32), np.zeros(n, np.int64)
    gains = [
        (-float(np.maximum(most - rows(i, everyone), 0).sum(dtype=np.float64)), i, 0)
        for i in range(n)
    ]
    heapq.heapify(gains)
    taken = 0
    while taken < min(budget, n):
        _, i, known = heapq.heappop(gains)
        found = rows(i, everyone)
        found[i] = -1
        closer = found < distance
        gain = float((distance[closer] - np.maximum(found[closer], 0)).sum(dtype=np.float64))
        if known < taken:  # the gain was computed when fewer were kept, and has shrunk since
            heapq.heappush(gains, (-gain, i, taken))
            continue
        representative[closer], distance[closer] = i, found[closer]
        distance[i] = -1
        taken += 1
    return representative, np.maximum(distance, 0)


def coreset(
    features: np.ndarray, target: np.ndarray, budget: int, *, least: float = 0.95, clusters: int = 100,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """SimCore: what of an open set lies nearest to a target set. Kept bool (N,), similarity (N,).

    Kim, Bae and Yun, CVPR 2023. Round after round, each centre of the target takes its nearest item left,
    until the budget is spent or a round's mean similarity falls below `least` of the first one's.
    features (N, D), target (M, D): of length one; similarity is the largest cosine to a centre.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    clusters = min(clusters, len(np.unique(target, axis=0)))
    with warnings.catch_warnings():  # fewer that differ enough: some centres are then the same
        warnings.simplefilter("ignore", ConvergenceWarning)
        centres = KMeans(clusters, n_init=1, random_state=seed).fit(target).cluster_centers_
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    alike = (centres @ features.T).astype(np.float32)
    similarity = alike.max(0)
    kept, first = np.zeros(len(features), bool), None
    while kept.sum() < min(budget, len(features)):
        nearest = alike.argmax(1)
        mean = float(alike.max(1).mean())
        first = mean if first is None else first
        if mean < least * first:
            break
        new = np.unique(nearest)
        room = budget - int(kept.sum())
        new = new[np.argsort(-similarity[new], kind="stable")[:room]]
        kept[new], alike[:, new] = True, -np.inf
    return kept, similarity
