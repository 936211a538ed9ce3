import numpy as np
import pytest
import torch
from scipy import ndimage

from medssl.augment.spatial import apply_affine, draw_affine


def seeded(*seeds):
    return [torch.Generator().manual_seed(s) for s in seeds]


@pytest.mark.parametrize("size", [(20, 30), (12, 16, 20)])
def test_resampling_equals_scipys_for_the_same_map(size):
    image = torch.from_numpy(
        ndimage.gaussian_filter(np.random.default_rng(0).random(size), 1)
    ).float()
    maps = draw_affine(seeded(5), size, rotate=25, scale=(0.8, 1.2), shift=0.1, flip=0.5)
    ours = apply_affine(image[None, None], maps)[0, 0].numpy()
    matrix, move = maps[0, :, :-1].double().numpy(), maps[0, :, -1].double().numpy()
    centre = (np.array(size) - 1) / 2
    reference = ndimage.affine_transform(
        image.numpy().astype(float), matrix, offset=centre + move - matrix @ centre, order=1
    )
    # At the border SciPy cuts to zero where torch fades; inside they agree.
    inside = ndimage.affine_transform(
        np.ones(size), matrix, offset=centre + move - matrix @ centre, order=1
    )
    inside = ndimage.minimum_filter(inside, 3) == 1
    assert inside.sum() > 50
    assert np.abs(ours - reference)[inside].max() < 1e-4


def test_flip_alone_is_exact_and_nothing_is_the_identity():
    image = torch.randn(1, 1, 6, 7, 8)
    maps = draw_affine(seeded(0), (6, 7, 8), flip=1.0)
    assert torch.allclose(apply_affine(image, maps), image.flip(2, 3, 4), atol=1e-5)
    nothing = draw_affine(seeded(0), (6, 7, 8))
    assert apply_affine(image, nothing) is image


def test_draws_follow_the_seed_of_the_sample_only():
    alone = draw_affine(seeded(7), (8, 8, 8), rotate=20, shift=0.1)
    among = draw_affine(seeded(1, 7, 2), (8, 8, 8), rotate=20, shift=0.1)
    assert torch.equal(alone[0], among[1]) and not torch.equal(among[0], among[1])


def test_outside_is_filled_and_labels_stay_labels():
    image = torch.ones(1, 1, 8, 8)
    maps = torch.tensor([[[1.0, 0, 100], [0, 1, 0]]])
    assert (apply_affine(image, maps, fill=-5.0) == -5).all()
    labels = torch.randint(0, 4, (1, 1, 16, 16)).float()
    turned = apply_affine(labels, draw_affine(seeded(3), (16, 16), rotate=40), nearest=True)
    assert set(turned.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}
