import pytest

from medssl.data.crops import CropSpec
from medssl.errors import UserError
from medssl.methods.parts.boxes import boxes, checked_share


def test_what_is_read():
    assert boxes((8, 8), None, False) == CropSpec((8, 8))
    assert boxes((8, 8), [10, 12], True) == CropSpec((10, 12), whole=True)
    assert boxes((8, 8), None, False, 0.0, 4) == CropSpec((8, 8))
    assert boxes((8, 8, 4), [9, 9, 5], False, 0.5, 4) == CropSpec((9, 9, 5), parts=4)


@pytest.mark.parametrize(
    "arguments, key",
    [
        (((8, 8), [10], False), "method.read"),
        (((8, 8), [10, 7], False), "method.read"),
        (((8, 8), None, False, -1.0, 4), "method.order"),
        (((8, 8), None, False, 1.0, 1), "method.parts"),
        (((8, 8), None, True, 1.0, 4), "method.whole"),
    ],
)
def test_what_cannot_be_read_is_refused(arguments, key):
    with pytest.raises(UserError, match=key):
        boxes(*arguments)


def test_shares():
    assert checked_share([0.25, 1]) == (0.25, 1.0)
    for bad in ([0, 1], [0.5, 0.4], [0.5, 1.1], [0.5], [0.1, 0.2, 0.3]):
        with pytest.raises(UserError, match="method.crop"):
            checked_share(bad)
