import numpy as np
import pytest
import torch
from torch import nn

from medssl.evaluation import dense_scans
from medssl.evaluation.dense_scans import Scan, answer, dice_present, learn, some
from medssl.evaluation.frozen import Look
from medssl.evaluation.windows import windows

CLASSES = {1: "ball", 2: "rod"}


class Identity(nn.Module):
    """Level 0: what the image says; level 1: its averages over 2 voxels an axis."""

    def __init__(self, ndim, channels):
        super().__init__()
        self.ndim, self.channels, self.weight = ndim, channels, nn.Parameter(torch.zeros(1))

    def forward(self, image):
        pool = nn.functional.avg_pool2d if self.ndim == 2 else nn.functional.avg_pool3d
        image = image[:, self.channels]
        return [image, pool(image, 2)]


def cohort(shape, n=6):
    """Channel 0 shows the structures, channel 1 nothing."""
    scans = {}
    for i in range(n):
        rng = np.random.default_rng(i)
        mask = np.zeros(shape, int)
        low = rng.integers(0, np.array(shape) - 5)
        mask[tuple(slice(a, a + 5) for a in low)] = 1
        mask[(slice(0, 3), *(slice(0, s) for s in shape[1:]))] = 2
        image = np.stack([mask + 0.05 * rng.normal(size=shape), rng.normal(size=shape)])
        scans[str(i)] = (image.astype(np.float32), mask)
    return scans


def run(shape, size, channels, ndim, most=99):
    scans = cohort(shape)

    def read(item, low, high):
        image = scans[item][0]
        ends = [(max(-a, 0), max(b - n, 0)) for a, b, n in zip(low, high, shape, strict=True)]
        box = tuple(slice(max(a, 0), b) for a, b in zip(low, high, strict=True))
        image = np.pad(image[(slice(None), *box)], [(0, 0), *ends])
        return image[..., 0] if ndim < len(shape) else image

    look = Look(Identity(ndim, channels), read, batch=3)
    found = [
        Scan(i, shape, some(windows(shape, size), most, 0, n), lambda i=i: scans[i][1])
        for n, i in enumerate(scans)
    ]
    probe = learn(look, found[:4], 3, 400, seed=0)
    return [(answer(look, scan, probe), scan) for scan in found[4:]]


@pytest.mark.parametrize(
    ("shape", "size", "ndim"),
    [((14, 11), (8, 8), 2), ((14, 11, 9), (8, 8, 8), 3), ((14, 11, 9), (8, 8, 1), 2)],
)
def test_finds_a_structure_that_features_show_and_not_one_they_do_not(shape, size, ndim):
    for predicted, scan in run(shape, size, [0], ndim):
        found = dice_present(predicted, scan, CLASSES)
        assert scan.asked.all() and min(found.values()) > 0.95, found
    for predicted, scan in run(shape, size, [1], ndim):
        assert max(dice_present(predicted, scan, CLASSES).values()) < 0.65


@pytest.mark.parametrize(("size", "ndim"), [((8, 8, 8), 3), ((8, 8, 1), 2)])
def test_every_sampled_voxel_is_learnt_from_once_at_its_place(size, ndim, monkeypatch):
    shape, seen = (14, 11, 9), {}

    def kept(features, classes, weights, n):
        seen.update(features=features, classes=classes, weights=weights, n=n)

    monkeypatch.setattr(dense_scans, "fit_dense", kept)
    index = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    mask = (index % 5 == 0).astype(int)

    def read(item, low, high):
        image = index[tuple(slice(a, b) for a, b in zip(low, high, strict=True))][None]
        image = np.pad(image, [(0, 0)] * 3 + [(0, size[2] - image.shape[3])])
        return image[..., 0] if ndim == 2 else image

    class Itself(Identity):
        def forward(self, image):
            return [image]

    scan = Scan("a", shape, windows(shape, size), lambda: mask)
    learn(Look(Itself(ndim, [0]), read, batch=2), [scan], 2, 200, seed=0)
    places = seen["features"][:, 0].round().long().numpy()
    assert len(np.unique(places)) == len(places) == len(seen["classes"])
    assert np.array_equal(mask.ravel()[places], seen["classes"].numpy())
    assert seen["weights"].sum() == pytest.approx(mask.size) and seen["n"] == 2


def test_only_windows_looked_at_count():
    for predicted, scan in run((30, 11), (6, 6), [0], 2, most=4):
        assert len(scan.windows) == 4 and 0 < scan.asked.mean() < 0.5
        assert not predicted[~scan.asked].any()
        assert dice_present(predicted * 0 + 1, scan, {1: "ball"})["ball"] != 1
    first, again, other = (some(windows((30, 11), (6, 6)), 4, *a) for a in ((0, 1), (0, 1), (0, 2)))
    assert first == again != other


def test_a_structure_absent_from_the_truth_is_left_out():
    scan = Scan("a", (4, 4), windows((4, 4), (4, 4)), lambda: np.eye(4, dtype=int))
    found = dice_present(np.full((4, 4), 2), scan, CLASSES)
    assert found["ball"] == 0 and np.isnan(found["rod"])
