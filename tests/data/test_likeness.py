import numpy as np
import pytest
from scipy import ndimage

from medssl.data.likeness import BITS, NEAR, likeness, near
from medssl.data.volume import Volume


def scene(seed: int, ndim: int) -> np.ndarray:
    """A smooth picture of its own."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(90, 70, 80)[:ndim])
    return (1000 * ndimage.gaussian_filter(noise, 4)).astype(np.float32)


def of(array: np.ndarray, affine=None) -> str:
    return likeness(Volume(array[None], np.eye(4) if affine is None else affine))


def apart(a: str, b: str) -> int:
    return bin(int(a, 16) ^ int(b, 16)).count("1")


@pytest.mark.parametrize("ndim", [2, 3])
def test_copies_are_near_and_others_are_not(ndim):
    first, rng = scene(0, ndim), np.random.default_rng(1)
    whole = of(first)
    assert len(whole) == BITS // 4
    copies = [
        3 * first + 50,
        first + rng.normal(0, 0.03 * np.ptp(first), first.shape),
        np.clip(first, *np.percentile(first, [3, 97])),
        ndimage.zoom(first, 0.7, order=1),
        ndimage.zoom(first, 1.4, order=1),
        np.round((first - first.min()) / np.ptp(first) * 255),
    ]
    assert all(apart(whole, of(c.astype(np.float32))) <= NEAR for c in copies)
    assert all(apart(whole, of(scene(seed, ndim))) > 2 * NEAR for seed in range(1, 12))


def test_a_volume_lies_as_its_header_says():
    first = scene(0, 3)
    turned = np.ascontiguousarray(first[::-1].transpose(2, 0, 1))
    affine = np.zeros((4, 4))
    affine[2, 0] = affine[1, 2] = affine[3, 3] = 1
    affine[0, 1], affine[0, 3] = -1, len(first) - 1
    assert of(turned, affine) == of(first)


def test_the_nearest_is_found_and_what_is_empty_is_like_nothing():
    prints = [of(scene(seed, 2)) for seed in range(4)]
    assert near([prints[2], ""], prints) == [(0, 2, 0)]
    assert near([prints[2]], ["", prints[2]]) == [(0, 1, 0)]
    assert near([prints[2]], prints[:2]) == [] == near(prints, ["", ""]) == near([], prints)
    assert of(np.zeros((20, 20), np.float32)) == ""
