from pathlib import Path

import numpy as np
import pytest

from medssl.data.index import checks
from medssl.errors import UserError

HERE = Path("a")


def test_affines():
    assert checks.affine(np.diag([1, 2, 3, 1.0]), HERE) == []
    for bad in (np.diag([1, 0, 1, 1.0]), np.full((4, 4), np.nan)):
        with pytest.raises(UserError, match="GEOMETRY"):
            checks.affine(bad, HERE)
    sheared = np.eye(4)
    sheared[:3, 2] = [0, np.sin(0.2), np.cos(0.2)]
    assert "sheared by 11.5 degrees" in checks.affine(sheared, HERE)[0]
    assert "unusual voxel size" in checks.affine(np.diag([100, 100, 100, 1.0]), HERE)[0]


def test_sizes():
    checks.size(100, 100, False, HERE)
    checks.size(100_000, 100, True, HERE)
    with pytest.raises(UserError, match="CUT a: found 99 bytes, expected 100"):
        checks.size(100, 99, False, HERE)
    with pytest.raises(UserError, match="CUT"):
        checks.size(10**9, 1000, True, HERE)
    with pytest.raises(UserError, match="TOO_LARGE"):
        checks.size(1 << 30, 1 << 20, True, HERE)


def test_compact_keeps_values():
    for dtype in ("?", "u1", "i1", ">i2", "u2", "i4", "u4", "i8", "f2", "f4", "f8"):
        array = np.array([0, 1, 1], dtype)
        out = checks.compact(array, HERE)
        assert np.array_equal(out, array.astype(out.dtype))
        assert out.dtype.name in ("uint8", "int8", "int16", "uint16", "int32", "float32")
    with pytest.raises(UserError, match="DTYPE"):
        checks.compact(np.array([2**40]), HERE)


def test_finite():
    checks.finite(np.zeros(3, np.float32), HERE)
    with pytest.raises(UserError, match="2 of 3 voxels"):
        checks.finite(np.array([0, np.inf, np.nan]), HERE)
