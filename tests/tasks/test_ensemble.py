import numpy as np
import pytest
import torch

from medssl.tasks.ensemble import Ensemble
from tests.tasks.test_classification import make as classification
from tests.tasks.test_segmentation import make as segmentation


def varied(make, n: int, **options):
    """Members that differ in every weight."""
    members = []
    for seed in range(n):
        task = make(**options).eval()
        torch.manual_seed(seed)
        for p in task.parameters():
            p.data.add_(0.2 * torch.randn_like(p))
        members.append(task)
    return members


def test_the_mean_of_segmentations_and_how_far_their_volumes_are_apart():
    members = varied(segmentation, 3, ndim=2)
    image = np.random.default_rng(0).normal(size=(1, 16, 16)).astype(np.float32)
    each = [m.predict(image) for m in members]
    found, spread = Ensemble(members).predict(image)
    assert np.allclose(found, np.mean(each, 0), atol=1e-6)
    counts = [(e.argmax(0) == 1).sum() for e in each]
    assert spread == pytest.approx([np.std(counts, ddof=1)]) and spread[0] > 0


def test_what_most_members_clean_is_cleaned_and_thresholds_are_averaged():
    members = varied(segmentation, 3, ndim=2)
    for member in members[:2]:
        member.cleaning[0, 0] = True
    labels = np.zeros((9, 9), int)
    labels[1:5, 1:5], labels[7, 7] = 1, 1
    assert Ensemble(members).clean(labels)[7, 7] == 0
    assert Ensemble(members[1:]).clean(labels)[7, 7] == 1  # one of two is not most
    assert members[2].cleaning.sum() == 0  # members stay as they are
    heads = varied(classification, 2)
    for head, value in zip(heads, (0.2, 0.4), strict=True):
        head.answer.threshold.fill_(value)
    assert float(Ensemble(heads).answer.threshold) == pytest.approx(0.3)
    assert float(heads[0].answer.threshold) == pytest.approx(0.2)


def test_one_member_is_that_task_and_has_no_spread():
    (task,) = varied(classification, 1)
    image = np.random.default_rng(0).normal(size=(1, 20, 20)).astype(np.float32)
    found, spread = Ensemble([task]).predict(image)
    assert np.array_equal(found, task.predict(image)) and spread is None
    scores, spread = Ensemble(varied(classification, 2)).predict(image)
    assert scores.shape == spread.shape == (3,)
