import pytest
import torch

from medssl.augment.cutout import apply_cutout, draw_cutout


@pytest.mark.parametrize("size", [(20, 30), (12, 16, 20)])
def test_boxes_are_filled_voxel_by_voxel(size):
    image = torch.rand(4, 2, *size)
    cut = draw_cutout(torch.arange(4), len(size), largest=0.4, count=3)
    fill = torch.arange(4.0).view(4, *[1] * (image.ndim - 1)) - 9
    expected = image.clone()
    for i in range(4):
        for low, high in cut[i]:
            box = [
                slice(*[int(torch.ceil(edge * n - 0.5)) for edge in (a, b)])
                for a, b, n in zip(low, high, size, strict=True)
            ]
            expected[(i, slice(None), *box)] = i - 9
    assert torch.equal(apply_cutout(image, cut, fill), expected)
    assert not torch.equal(expected, image)


@pytest.mark.parametrize("ndim", [2, 3])
def test_shares_are_kept_and_boxes_lie_inside(ndim):
    cut = draw_cutout(torch.arange(300), ndim, largest=0.3, count=2, probability=0.7)
    assert cut.shape == (300, 2, 2, ndim) and cut.min() >= 0 and cut.max() <= 1 + 1e-9
    side = cut[:, :, 1] - cut[:, :, 0]
    share = side.prod(-1).sum(1)
    part = share > 0
    assert 180 < part.sum() < 240 and 0.28 < share.max() <= 0.3
    assert share[part].mean() == pytest.approx(0.15, rel=0.15)
    assert not torch.allclose(side[part][:, 0, 0], side[part][:, 0, 1])
    image = torch.rand(300, 1, *[8] * ndim)
    assert torch.equal(apply_cutout(image, cut, -1.0)[~part], image[~part])


def test_no_box_does_nothing():
    image = torch.rand(2, 1, 8, 8)
    assert apply_cutout(image, torch.zeros(2, 1, 2, 2)) is image
    assert draw_cutout(torch.arange(3), 2, largest=0.0).isfinite().all()
