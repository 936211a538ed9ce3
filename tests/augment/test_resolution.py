import pytest
import torch
from torch.nn.functional import interpolate

from medssl.augment.resolution import apply_resolution, draw_resolution


@pytest.mark.parametrize("size, mode", [((21, 30), "bilinear"), ((12, 17, 20), "trilinear")])
def test_equals_torchs_average_and_interpolation(size, mode):
    image = torch.randn(4, 2, *size)
    factor = draw_resolution(torch.arange(4), len(size), largest=4.0)
    out = apply_resolution(image, factor)
    for x, ours, f in zip(image.double(), out, factor, strict=True):
        few = [round(n / float(a)) for n, a in zip(size, f, strict=True)]
        small = exact_average(x, few)
        again = interpolate(small[None], size, mode=mode, align_corners=False)[0]
        assert few != list(size) and torch.allclose(ours.double(), again, atol=1e-5)


def exact_average(x, few):
    """Means over large voxels, whose edges may cut small ones, by repeating each 60 to 600 times."""
    for axis, m in enumerate(few, 1):
        n = x.shape[axis]
        x = x.repeat_interleave(m, axis).unflatten(axis, (m, n)).mean(axis + 1)
    return x


def test_whole_factors_equal_average_pooling_and_monais_area():
    from monai.transforms import Resize

    image = torch.randn(1, 1, 12, 16)
    out = apply_resolution(image, torch.tensor([[2.0, 4.0]]))
    small = Resize((6, 4), mode="area")(image[0]).as_tensor()
    assert torch.allclose(out, interpolate(small[None], (12, 16), mode="bilinear"), atol=1e-5)


def test_one_axis_or_all_and_by_probability():
    factor = draw_resolution(torch.arange(300), 3, largest=3.0, one_axis=True, probability=0.5)
    lowered = factor > 1
    assert 120 < lowered.any(1).sum() < 180 and (lowered.sum(1) <= 1).all()
    assert (lowered.sum(0) > 30).all() and 2.8 < factor.max() <= 3 and factor.min() == 1
    same = draw_resolution(torch.arange(300), 3, largest=3.0)
    assert (same == same[:, :1]).all()
    image = torch.rand(2, 1, 8, 8)
    assert apply_resolution(image, torch.ones(2, 2)) is image
    out = apply_resolution(image, torch.tensor([[1.0, 2.0], [1.0, 1.0]]))
    assert torch.equal(out[1], image[1])
    along = interpolate(
        image[:1].unflatten(3, (4, 2)).mean(4), (8, 8), mode="bilinear", align_corners=False
    )
    assert torch.allclose(out[:1], along, atol=1e-6)
