import numpy as np
import pytest
from scipy.spatial.distance import cdist

from medssl.curation.selection import coreset, cover, facility_location, k_centre, medoids

DRAW = np.random.default_rng(0)
POINTS = np.concatenate([DRAW.normal(c, 0.3, (30, 2)) for c in ((0, 0), (4, 0), (0, 5))])
APART = cdist(POINTS, POINTS).astype(np.float32)


def rows(i, others):
    return APART[i, others].copy()


def stands(representative):
    return representative == np.arange(len(representative))


@pytest.mark.parametrize("threshold", [0, 0.2, 0.5, 1, 3, 100])
def test_cover_keeps_nothing_alike_and_drops_nothing_that_is_not(threshold):
    representative, distance = cover(rows, len(POINTS), threshold)
    kept = np.flatnonzero(stands(representative))
    assert kept[0] == 0 and (APART[np.ix_(kept, kept)] + np.eye(len(kept)) * 1e9 > threshold).all()
    assert (distance <= threshold).all()
    assert np.allclose(distance, APART[np.arange(len(POINTS)), representative])
    assert np.isin(representative, kept).all()
    again = cover(lambda i, others: APART[kept[i], kept[others]].copy(), len(kept), threshold)
    assert stands(again[0]).all()  # what was reduced is not reduced any further
    if threshold == 100:
        assert list(kept) == [0]
    if threshold == 0:
        assert len(kept) == len(POINTS)


def test_cover_is_what_a_plain_loop_finds():
    kept, removed = [], {}
    for i in range(len(POINTS)):
        near = [k for k in kept if APART[k, i] <= 0.5]
        if near:
            removed[i] = near[0]
        else:
            kept.append(i)
    representative, _ = cover(rows, len(POINTS), 0.5)
    assert [i for i in range(len(POINTS)) if representative[i] == i] == kept
    assert all(representative[i] == k for i, k in removed.items())


def test_medoids_lie_in_the_middle_and_still_cover():
    chosen = cover(rows, len(POINTS), 2.0)
    representative, distance = medoids(rows, chosen, 2.0)
    assert stands(representative).sum() == stands(chosen[0]).sum()
    assert (distance <= 2.0).all() and distance.sum() < chosen[1].sum()
    for head in np.unique(representative):
        members = np.flatnonzero(representative == head)
        fit = [m for m in members if APART[m, members].max() <= 2.0]
        assert APART[head, members].sum() == min(APART[m, members].sum() for m in fit)


def test_k_centre_takes_the_farthest_and_stops_at_copies():
    representative, distance = k_centre(rows, len(POINTS), 3)
    kept = np.unique(representative)
    assert kept[0] == 0 and {int(k) // 30 for k in kept} == {0, 1, 2}
    assert np.allclose(distance, APART[:, kept].min(1))
    same = np.zeros((5, 5), np.float32)
    assert k_centre(lambda i, o: same[i, o].copy(), 5, 4)[0].tolist() == [0] * 5


def test_facility_location_is_the_greedy_choice():
    most = float(APART.max())
    near, kept = np.zeros(len(POINTS)), []
    for _ in range(6):
        gains = np.maximum(most - APART, near).sum(1) - near.sum()
        gains[kept] = -1
        kept.append(int(gains.argmax()))
        near = np.maximum(near, most - APART[kept[-1]])
    representative, distance = facility_location(rows, len(POINTS), 6, most)
    assert sorted(np.unique(representative)) == sorted(kept)
    assert np.allclose(distance, APART[:, kept].min(1), atol=1e-5)
    assert {int(k) // 30 for k in kept[:3]} == {0, 1, 2}


def test_the_coreset_lies_towards_the_target():
    angles = DRAW.uniform(0, 2 * np.pi, 400)
    features = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    aim = DRAW.normal(0.5, 0.1, 50)
    target = np.stack([np.cos(aim), np.sin(aim)], 1).astype(np.float32)
    kept, similarity = coreset(features, target, 20, clusters=5)
    away = np.abs((angles - 0.5 + np.pi) % (2 * np.pi) - np.pi)
    assert kept.sum() == 20 and away[kept].max() < 0.5
    assert similarity[kept].min() > np.median(similarity)
    stopped, _ = coreset(features, target, 400, clusters=5)
    assert 20 < stopped.sum() < 250 and away[stopped].max() < 1.2
    assert np.array_equal(coreset(features, target, 20, clusters=5)[0], kept)
