import numpy as np
import pytest
import torch
from scipy import ndimage

from medssl.augment.elastic import displacement, draw_elastic
from medssl.augment.spatial import (
    apply_spatial,
    apply_to_boxes,
    draw_affine,
    draw_crop,
    into_box,
    sampling_grid,
)

SIZES = [(20, 30), (16, 20, 24)]


def smooth(size, seed=0):
    return ndimage.gaussian_filter(np.random.default_rng(seed).random(size), 1).astype(np.float32)


def compared(ours, reference, inside, tolerance=1e-4):
    """At the border SciPy cuts to zero where torch fades; inside they agree."""
    inside = ndimage.minimum_filter(inside, 3) > 1 - 1e-6
    assert inside.sum() > 50
    assert np.abs(ours - reference)[inside].max() < tolerance


def centre(size):
    return (torch.tensor(size).double() - 1).view(-1, *[1] * len(size)) / 2


def identity(batch, ndim):
    return torch.eye(ndim, ndim + 1, dtype=torch.float64).repeat(batch, 1, 1)


@pytest.mark.parametrize("size", SIZES)
def test_affine_equals_scipys_for_the_same_map(size):
    image = smooth(size)
    maps = draw_affine(
        torch.tensor([5]), size, rotate=25, scale=(0.8, 1.2), shift=0.1, flip=[0.5]
    )  # fmt: skip
    ours = apply_spatial(torch.from_numpy(image)[None, None], maps)[0, 0].numpy()
    matrix, move = maps[0, :, :-1].numpy(), maps[0, :, -1].numpy()
    centre = (np.array(size) - 1) / 2
    offset = centre + move - matrix @ centre
    reference = ndimage.affine_transform(image.astype(float), matrix, offset, order=1)
    inside = ndimage.affine_transform(np.ones(size), matrix, offset, order=1)
    compared(ours, reference, inside)


@pytest.mark.parametrize("size", SIZES)
def test_affine_equals_monais_for_the_same_matrix(size):
    from monai.transforms import Affine

    images = torch.from_numpy(np.stack([smooth(size, s) for s in (0, 1)]))[:, None]
    maps = draw_affine(torch.tensor([3, 4]), size, rotate=20, scale=(0.9, 1.2), shift=0.1)
    ours = apply_spatial(images, maps)
    for image, out, one in zip(images, ours, maps, strict=True):
        matrix = torch.eye(len(size) + 1, dtype=torch.float64)
        matrix[:-1] = one  # MONAI's acts about the centre, on indices of the output, too
        theirs, _ = Affine(affine=matrix, padding_mode="zeros", mode="bilinear")(image)
        assert torch.allclose(out, theirs.as_tensor(), atol=1e-4)


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("size, output", [((20, 30), (16, 24)), ((12, 16, 20), (14, 12, 10))])
def test_crop_affine_and_elastic_are_one_resampling_equal_to_scipys(size, output, nearest):
    ndim, seeds = len(size), torch.tensor([5, 6])
    images = torch.from_numpy(np.stack([smooth(size, s) for s in (0, 1)]))[:, None]
    maps = draw_affine(seeds, size, rotate=10, scale=(0.9, 1.3), flip=[0.5])
    maps = into_box(maps, draw_crop(seeds, ndim, share=(0.5, 0.7), aspect=0.3), size, output)
    elastic = draw_elastic(seeds, output, largest=2, spacing=6)
    ours = apply_spatial(images, maps, elastic, size=output, nearest=nearest)
    assert ours.shape == (2, 1, *output)
    without = apply_spatial(images, maps, size=output, nearest=nearest)
    assert not torch.allclose(ours, without, atol=1e-3)
    grid = sampling_grid(maps, elastic, size, output, images.double()).flip(1)
    # Output voxels are displaced, then mapped: both from the centre.
    voxels = torch.from_numpy(np.indices(output)) - centre(output) + displacement(elastic, output)
    found = torch.einsum("bij,bj...->bi...", maps[..., :-1], voxels)
    found = found + maps[..., -1].view(2, ndim, *[1] * ndim) + centre(size)
    for i in range(2):
        index = [((grid[i, a] + 1) * size[a] - 1) / 2 for a in range(ndim)]
        index = np.stack([x.numpy() for x in index])
        assert np.allclose(index, found[i], atol=1e-9)
        order = 0 if nearest else 1
        reference = ndimage.map_coordinates(images[i, 0].double().numpy(), index, order=order)
        bounds = np.array(size).reshape(-1, *[1] * ndim) - 1
        inside = ((index > 0) & (index < bounds)).all(0)
        if nearest:  # and not halfway between two
            inside &= (np.abs(index - np.floor(index) - 0.5) > 1e-3).all(0)
            assert (ours[i, 0].numpy() == reference.astype(np.float32))[inside].all()
        else:
            compared(ours[i, 0].numpy(), reference, inside.astype(float))


@pytest.mark.parametrize("size", SIZES)
def test_flips_are_exact_and_nothing_is_the_identity(size):
    image = torch.randn(4, 2, *size)
    axes = tuple(range(2, image.ndim))
    flipped = draw_affine(torch.arange(4), size, flip=[1.0])
    assert torch.equal(apply_spatial(image, flipped), image.flip(axes))
    some = draw_affine(torch.arange(4), size, flip=[0.5])
    for one, out, m in zip(image, apply_spatial(image, some), some, strict=True):
        assert torch.equal(out, one.flip([1 + a for a in range(len(size)) if m[a, a] < 0]))
    first = draw_affine(torch.arange(4), size, flip=[1.0] + [0.0] * (len(size) - 1))
    assert torch.equal(apply_spatial(image, first), image.flip(2))
    assert apply_spatial(image, draw_affine(torch.arange(4), size)) is image
    # Resampling agrees with copying.
    nearly = flipped.clone()
    nearly[..., -1] = 1e-9
    assert torch.allclose(apply_spatial(image, nearly), image.flip(axes), atol=1e-4)


def test_things_grow_turn_and_move_the_way_that_is_said():
    image = torch.zeros(1, 1, 32, 32)
    image[..., 12:20, 12:20] = 1
    larger = apply_spatial(image, draw_affine(torch.tensor([0]), (32, 32), scale=(1.5, 1.5)))
    assert larger.sum() == pytest.approx(64 * 1.5**2, rel=0.05)
    maps = draw_affine(torch.arange(300), (32, 16), rotate=30, shift=0.25)
    angle = torch.atan2(maps[:, 1, 0], maps[:, 0, 0]).rad2deg()
    assert -30 <= angle.min() < -27 and 27 < angle.max() <= 30
    solid = draw_affine(torch.arange(9), (8, 8, 8), rotate=30)[..., :-1]  # turned, nothing else
    assert torch.allclose(solid @ solid.mT, torch.eye(3).double().expand(9, 3, 3))
    assert torch.allclose(torch.linalg.det(solid), torch.ones(9).double())
    assert (solid.flatten(1) != torch.eye(3).flatten()).all()
    top = maps[..., -1].abs().amax(0)
    assert 7.5 < top[0] <= 8 and 3.75 < top[1] <= 4


def test_crops_keep_the_share_asked_for_anywhere_inside():
    box = draw_crop(torch.arange(500), 3, share=(0.2, 0.9), aspect=0.5)
    side = box[:, 1] - box[:, 0]
    assert box.min() >= 0 and box.max() <= 1 + 1e-9
    kept = side.prod(1)
    assert 0.2 <= kept.min() < 0.21 and 0.87 < kept.max() <= 0.9
    assert kept.log().mean() == pytest.approx(np.log([0.2, 0.9]).mean(), abs=0.05)
    ratio = side.amax(1) / side.amin(1)
    assert ratio.max() <= 1.5**2 and ratio.median() > 1.1
    assert (box[:, 0].amin(0) < 0.01).all() and (box[:, 1].amax(0) > 0.99).all()
    assert torch.equal(
        draw_crop(torch.tensor([3]), 2)[0], torch.tensor([[0.0, 0], [1, 1]]).double()
    )
    # A box of whole voxels at its own size is cut out as it is.
    image = torch.randn(1, 1, 8, 10)
    box = torch.tensor([[[0.25, 0.3], [0.75, 0.8]]]).double()
    out = apply_spatial(image, into_box(identity(1, 2), box, (8, 10), (4, 5)), size=(4, 5))
    assert torch.allclose(out, image[..., 2:6, 3:8], atol=1e-5)


def test_a_shift_is_a_share_of_the_box():
    maps = identity(1, 2)
    maps[0, 0, -1] = 2.0  # a quarter of 8
    box = torch.tensor([[[0.0, 0.0], [0.5, 0.5]]]).double()
    assert into_box(maps, box, (8, 8), (8, 8))[0, :, -1].tolist() == [-2 + 1, -2]


def test_draws_follow_the_seed_of_the_sample_only():
    alone = draw_affine(torch.tensor([7]), (8, 8, 8), rotate=20, shift=0.1)
    among = draw_affine(torch.tensor([1, 7, 2]), (8, 8, 8), rotate=20, shift=0.1)
    assert torch.equal(alone[0], among[1]) and not torch.equal(among[0], among[1])


def test_outside_is_filled_and_labels_stay_labels():
    image = torch.ones(1, 1, 8, 8)
    maps = torch.tensor([[[1.0, 0, 100], [0, 1, 0]]])
    assert (apply_spatial(image, maps, fill=-5.0) == -5).all()
    each = apply_spatial(
        image.repeat(2, 1, 1, 1),
        maps.repeat(2, 1, 1),
        fill=torch.tensor([1.0, 2.0]).view(2, 1, 1, 1),
    )
    assert (each[0] == 1).all() and (each[1] == 2).all()
    labels = torch.randint(0, 4, (1, 1, 16, 16)).float()
    turned = apply_spatial(
        labels, draw_affine(torch.tensor([3]), (16, 16), rotate=40), nearest=True
    )
    assert set(turned.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}


@pytest.mark.parametrize("ndim", [2, 3])
def test_boxes_go_where_their_blocks_go(ndim):
    seeds, n = torch.arange(6), tuple((40, 36, 32)[:ndim])
    maps = draw_affine(seeds, n, flip=(0.5,), scale=(0.8, 1.25), shift=0.1)
    maps = into_box(maps, draw_crop(seeds, ndim, share=(0.6, 1.0), aspect=0.2), n, n)
    low = torch.tensor([12, 10, 9][:ndim])
    high = low + torch.tensor([14, 12, 10][:ndim])
    image = torch.zeros(6, 1, *n)
    image[(slice(None), 0, *(slice(a, b) for a, b in zip(low, high, strict=True)))] = 1
    moved = apply_spatial(image, maps) > 0.5
    box = torch.cat([low, high]).float().expand(6, 1, -1)
    found = apply_to_boxes(box, maps, n, n)
    assert found.dtype == torch.float32
    for one, (row,) in zip(moved[:, 0], found, strict=True):
        where = one.nonzero()
        ends = torch.cat([where.amin(0), where.amax(0) + 1]).float()
        inside = torch.minimum(row.clamp(min=0), torch.tensor(n).repeat(2).float())
        assert (
            ends - inside
        ).abs().max() <= 1.01  # edges of voxels are where half of one is covered


def test_a_turned_box_is_the_one_around_its_ellipsoid():
    turn = draw_affine(torch.arange(8), (32, 32), rotate=40)
    box = torch.tensor([[[8.0, 12, 24, 20]]]).expand(8, 1, 4)
    index = torch.stack(torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij"))
    inside = (((index[0] - 15.5) / 8) ** 2 + ((index[1] - 15.5) / 4) ** 2 <= 1).float()
    moved = apply_spatial(inside.expand(8, 1, 32, 32), turn) > 0.5
    for one, (row,) in zip(moved[:, 0], apply_to_boxes(box, turn, (32, 32), (32, 32)), strict=True):
        where = one.nonzero()
        ends = torch.cat([where.amin(0), where.amax(0) + 1]).float()
        assert (ends - row).abs().max() <= 1.1


def test_boxes_that_are_none_stay_none():
    maps = draw_affine(torch.arange(1), (8, 8), rotate=10)
    assert apply_to_boxes(torch.full((1, 2, 4), torch.nan), maps, (8, 8), (8, 8)).isnan().all()
    assert apply_to_boxes(torch.zeros(1, 0, 4), maps, (8, 8), (8, 8)).shape == (1, 0, 4)
