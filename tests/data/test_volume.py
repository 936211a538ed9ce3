import itertools

import nibabel as nib
import numpy as np
import pytest

from medssl.data.volume import Volume, crop, differences, reorient, resized_affine, same_grid


def oblique() -> Volume:
    angle = 0.3
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ np.diag([1.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = [5, -7, 11]
    array = np.random.default_rng(0).normal(size=(1, 5, 6, 7)).astype(np.float32)
    return Volume(array, affine, "MR")


def world(volume: Volume) -> dict:
    """Value by world position, rounded: what must never change."""
    index = np.indices(volume.shape).reshape(3, -1)
    places = (volume.affine @ np.vstack([index, np.ones(index.shape[1])]))[:3].T.round(4) + 0.0
    return dict(zip(map(tuple, places), volume.array[0].ravel(), strict=True))


def all_orders() -> list[str]:
    pairs = ["LR", "PA", "IS"]
    return ["".join(c) for p in itertools.permutations(pairs) for c in itertools.product(*p)]


@pytest.mark.parametrize("codes", all_orders())
def test_reorient_keeps_every_voxel_in_its_place(codes):
    turned = reorient(oblique(), codes)
    assert turned.orientation == codes
    assert world(turned) == world(oblique())


def test_crop_keeps_places():
    part = crop(oblique(), (1, 2, 3), (4, 5, 6))
    whole = world(oblique())
    assert part.shape == (3, 3, 3)
    assert all(whole[place] == value for place, value in world(part).items())


def test_resized_affine_keeps_the_edges():
    affine = oblique().affine
    new = resized_affine(affine, (10, 20, 30), (5, 40, 30))
    for old_corner, new_corner in [
        ((-0.5, -0.5, -0.5), (-0.5, -0.5, -0.5)),
        ((9.5, 19.5, 29.5), (4.5, 39.5, 29.5)),
    ]:
        assert np.allclose(affine @ [*old_corner, 1], new @ [*new_corner, 1])


def test_same_grid_tells_a_shift_and_a_flip():
    a = oblique()
    assert same_grid(a, a)
    moved = a.affine.copy()
    moved[0, 3] += 0.5
    assert not same_grid(a, Volume(a.array, moved))
    assert not same_grid(a, Volume(a.array, a.affine @ np.diag([-1, 1, 1, 1])))
    assert not same_grid(a, Volume(a.array[:, :-1], a.affine))


def test_orientation_agrees_with_nibabel():
    assert oblique().orientation == "".join(nib.aff2axcodes(oblique().affine))
    assert np.allclose(oblique().spacing, [1, 2, 3])


def test_differences_of_grids_are_told_in_mm():
    a = Volume(np.zeros((1, 4, 5, 6)), np.eye(4))
    moved = np.eye(4)
    moved[0, 3] = 2.5
    assert differences(a, Volume(a.array, moved)) == "corners up to 2.5 mm apart"
    wide = differences(a, Volume(a.array[..., 1:], np.diag([1.0, 1, 2, 1])))
    assert wide == "shape 4x5x5, not 4x5x6; spacing 1x1x2, not 1x1x1"
