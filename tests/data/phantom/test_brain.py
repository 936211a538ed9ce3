import numpy as np

from medssl.data.phantom import shapes
from medssl.data.phantom.brain import Head


def head(atrophy=False):
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -92, -108, -94
    return Head(0, 0, shapes.grid((47, 55, 48), affine), atrophy)


def test_layers_are_nested():
    parts = head()
    cerebrum, to_fluid = parts.cerebrum()
    inside = cerebrum < 0
    assert inside.any()
    assert (parts.skull[inside] < 0).all()
    assert (parts.outline[parts.skull < 0] < 0).all()
    assert (to_fluid <= -cerebrum + 1e-4).all()


def test_cerebrum_and_cerebellum_are_apart():
    parts = head()
    cerebrum, _ = parts.cerebrum()
    cerebellum, leaves = parts.cerebellum()
    both = ((cerebrum < 0) & (cerebellum < 0)).sum()
    assert both < 0.01 * (cerebellum < 0).sum()
    assert ((leaves < 0) & (cerebellum < 0)).any()


def test_atrophy_leaves_the_head_and_widens_the_fluid():
    well, ill = head(), head(True)
    np.testing.assert_array_equal(well.outline, ill.outline)
    assert (ill.ventricles() < 0).sum() > 1.3 * (well.ventricles() < 0).sum()
    assert (ill.cerebrum()[1] <= well.cerebrum()[1]).all()


def test_paired_nuclei_lie_on_both_sides():
    parts = head()
    for nucleus in (parts.thalamus(), parts.putamen(), parts.caudate()):
        x = parts.x[nucleus < 0]
        assert 0.7 < (x > 0).mean() / (x < 0).mean() < 1.4
