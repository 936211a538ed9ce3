import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from medssl.augment import trilinear as module
from medssl.augment.trilinear import trilinear


def drawn(size=(7, 9, 8), output=(6, 5, 11), dtype=torch.float32):
    """Volumes, places from well before to well behind them, and a fill for each channel."""
    g = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, *size, generator=g, dtype=dtype)
    reach = torch.tensor(size, dtype=dtype).view(3, 1, 1, 1)
    places = torch.rand(2, 3, *output, generator=g, dtype=dtype) * (reach + 7) - 3
    return image, places, image.amin((2, 3, 4), keepdim=True)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_equals_scipys_with_values_fading_to_the_fill(dtype, tolerance):
    image, places, fill = drawn(dtype=dtype)
    out = trilinear(image, places.clone(), fill)
    for b in range(2):
        for c in range(3):
            how = {"order": 1, "mode": "grid-constant", "cval": float(fill[b, c])}
            index = places[b].double().numpy() - 1
            theirs = map_coordinates(image[b, c].double().numpy(), index, **how)
            assert np.abs(out[b, c].double().numpy() - theirs).max() < tolerance


def test_equals_torchs():
    image, places, _ = drawn()
    n = torch.tensor(image.shape[2:]).view(3, 1, 1, 1)
    grid = ((2 * places - 1) / n - 1).flip(1).movedim(1, -1)
    theirs = torch.nn.functional.grid_sample(image, grid, align_corners=False)
    assert torch.allclose(trilinear(image, places, torch.zeros(2, 3, 1, 1, 1)), theirs, atol=1e-5)


def test_places_far_outside_give_the_fill_and_whole_ones_the_voxel():
    image, _, fill = drawn()
    far = torch.tensor([-1e30, 1e30]).view(1, 1, 2, 1, 1).expand(2, 3, 2, 1, 1).clone()
    assert torch.equal(trilinear(image, far, fill), fill.expand(2, 3, 2, 1, 1))
    grid = torch.meshgrid(*[torch.arange(1.0, n + 1) for n in image.shape[2:]], indexing="ij")
    assert torch.equal(trilinear(image, torch.stack(grid).repeat(2, 1, 1, 1, 1), fill), image)


def test_slab_by_slab_and_without_gradients_is_the_same(monkeypatch):
    image, places, fill = drawn()
    at_once = trilinear(image, places.clone(), fill)
    monkeypatch.setattr(module, "CHUNK", 1)
    assert torch.equal(trilinear(image, places.clone(), fill), at_once)
    with torch.inference_mode():
        assert torch.equal(trilinear(image.clone(), places.clone(), fill), at_once)
