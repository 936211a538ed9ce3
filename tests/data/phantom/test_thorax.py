import numpy as np
import pytest

from medssl.data.phantom.thorax import Thorax


def thorax(patient=0):
    x = np.linspace(-180, 180, 128, dtype=np.float32)
    return Thorax(0, patient, np.stack(np.meshgrid(x, -x)), breath=0.0)


def test_air_is_a_share_of_the_chord():
    for lung in thorax().air:
        assert lung.min() >= 0 and 0.7 < lung.max() <= 1


def test_heart_leans_to_the_left():
    parts = thorax()
    heart = parts._heart()
    assert (parts.x * heart).sum() / heart.sum() > 5


def test_bones_cover_a_part_of_the_lungs():
    parts = thorax()
    share = (parts.bones()[parts.air[0] > 0.3] > 4).mean()
    assert 0.2 < share < 0.95


@pytest.mark.parametrize("patient", range(6))
def test_consolidation_lies_in_a_lung(patient):
    parts = thorax(patient)
    shade = parts.consolidation()
    assert shade.max() > 20
    assert (sum(parts.air)[shade > shade.max() / 3] > 0).all()


def test_marker_stands_at_the_upper_left_of_the_patient():
    parts = thorax()
    rows, columns = np.nonzero(parts.marker(parts.points))
    assert rows.max() < 40 and columns.min() > 100
