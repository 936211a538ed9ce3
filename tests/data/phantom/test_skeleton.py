import numpy as np

from medssl.data.phantom import shapes, skeleton
from medssl.data.phantom.torso import Anatomy


def test_bones_are_hard_and_inside_the_body():
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    affine[:3, 3] = -170, -130, -190
    body = Anatomy(0, 0, shapes.grid((69, 52, 76), affine))
    parts = skeleton.bones(body)
    hard = np.any([distance < 0 for distance, hu in parts if hu > 200], axis=0)
    assert 0.01 < hard.mean() < 0.1
    assert (body.skin[hard] < 0).mean() > 0.995


def test_vertebrae_repeat_along_the_spine():
    affine = np.diag([4.0, 4.0, 1.0, 1.0])
    affine[:3, 3] = -8, -60, -100
    body = Anatomy(0, 0, shapes.grid((5, 10, 200), affine))
    vertebrae = next(d for d, hu in skeleton.bones(body) if hu == skeleton.CORTEX * 0.75)
    bony = (vertebrae < 0).any((0, 1))
    starts = np.flatnonzero(np.diff(bony.astype(int)) == 1)
    steps = np.diff(starts)
    assert len(starts) >= 5
    assert np.abs(steps - skeleton.VERTEBRA_STEP).max() < 6
