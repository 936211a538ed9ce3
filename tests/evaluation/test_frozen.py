import numpy as np
import pytest
import torch
from torch import nn

from medssl.evaluation import frozen
from medssl.evaluation.cases import Cases
from medssl.evaluation.frozen import Look, answers


class Stripes(nn.Module):
    """Two levels: the image itself, and its averages over 2 x 2."""

    def __init__(self, ndim=2):
        super().__init__()
        self.ndim, self.weight = ndim, nn.Parameter(torch.zeros(1))

    def forward(self, image):
        pool = nn.functional.avg_pool2d if self.ndim == 2 else nn.functional.avg_pool3d
        return [image, pool(image, 2)]


def pool(levels):
    return torch.cat([x.flatten(2).mean(-1) for x in levels], 1)


def scan_of(ndim, kind, rng):
    image = rng.normal(size=(2, *(4,) * ndim)).astype(np.float32)
    image[kind] += 5
    return image


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("boxes", [1, 3])
def test_probes_answer_from_features_averaged_over_a_case(ndim, boxes):
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 2, 40)
    images = {f"s{i}": [scan_of(ndim, k, rng) for _ in range(boxes)] for i, k in enumerate(kinds)}
    cases = [
        Cases(
            [[(f"s{i}", b, b) for b in range(boxes)] for i in rows], kinds[rows], rows.astype(str)
        )
        for rows in (np.arange(30), np.arange(30, 40))
    ]
    look = Look(Stripes(ndim), lambda item, low, high: images[item][low], batch=7)
    asked = ["knn", "linear", "attentive"]
    found = answers(look, *cases, asked, pool, k=5, seed=0, what="test")
    for probe in asked:
        assert (found[probe] == cases[1].answers).all(), probe
    assert answers(look, *cases, [], pool, k=5, seed=0, what="test") == {}


def test_a_case_has_the_mean_of_its_boxes_however_many(monkeypatch):
    images = torch.randn(6, 1, 4, 4).numpy()
    boxes = [[(0, 0, 0)], [(1, 0, 0), (2, 0, 0), (3, 0, 0)], [(4, 0, 0), (5, 0, 0)]]
    seen = []
    monkeypatch.setattr(frozen, "knn_predict", lambda x, labels, u, k: seen.extend([x, u]))
    look = Look(Stripes(), lambda item, low, high: images[item], batch=4)
    cases = Cases(boxes, np.arange(3), np.arange(3))
    answers(look, cases, cases, ["knn"], pool, k=1, seed=0, what="test")
    expected = [images[[b[0] for b in several]].mean() for several in boxes]
    for x in seen:
        assert x == pytest.approx(np.repeat(expected, 2).reshape(3, 2), abs=1e-6)


def test_batches_change_nothing_and_nothing_is_learnt():
    images = torch.randn(5, 1, 4, 4).numpy()
    boxes = [(i, None, None) for i in range(5)]
    found = []
    for batch in (1, 2, 5):
        look = Look(Stripes(), lambda item, low, high: images[item], batch)
        levels = [(first, x) for first, x in look(boxes)]
        assert [first for first, _ in levels] == list(range(0, 5, batch))
        assert not levels[0][1][0].requires_grad and not look.network.training
        found.append(torch.cat([x[1] for _, x in levels]))
    assert torch.equal(found[0], found[1]) and torch.equal(found[1], found[2])


def test_the_attentive_probe_sees_every_part_of_every_slice():
    """Volumes of many slices: what is asked shows in one corner of one slice, of few or many."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 2, 60)
    images, boxes = {}, []
    for i, kind in enumerate(kinds):
        deep = 1 if i == 59 else 10 + i % 3
        slices = rng.normal(size=(deep, 2, 4, 4)).astype(np.float32)
        slices[rng.integers(deep), kind, 2:, 2:] += 12
        images[i] = slices
        boxes.append([(i, z, z) for z in range(deep)])
    train, test = (
        Cases([boxes[i] for i in rows], kinds[rows], rows)
        for rows in (np.arange(45), np.arange(45, 60))
    )
    look = Look(Stripes(), lambda item, low, high: images[item][low], batch=16)
    found = answers(look, train, test, ["attentive"], pool, k=1, seed=0, what="test")
    assert (found["attentive"] == test.answers).mean() > 0.8
