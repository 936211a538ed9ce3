"""Arrays in little room, as files and in memory."""

import numpy as np
import pytest

from medssl.data.packed import pack, unpack


@pytest.mark.parametrize("shape", [(1, 70, 33), (2, 20, 70, 17)])
def test_what_is_packed_comes_back_in_less_room(shape):
    labels = np.zeros(shape, np.uint8)
    labels[0, 3:9, 4:12] = 7
    content = pack(labels)
    assert isinstance(content, bytes) and len(content) < labels.size
    back = unpack(content)
    assert back.dtype == labels.dtype and np.array_equal(back, labels)
