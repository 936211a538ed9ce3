import pytest
import torch

from medssl.backbones.base import build
from medssl.backbones.pyramid import Pyramid, levels


def test_levels_from_the_finest_on():
    strides = [(2, 2), (4, 4), (8, 8), (16, 16)]
    assert levels(strides, 4) == [(1, (4, 4)), (2, (8, 8)), (3, (16, 16))]
    assert levels([(16, 16)], 4) == [(0, (4, 4)), (0, (8, 8)), (0, (16, 16))]
    assert levels([(1, 1), (2, 2)], 8) == [(1, (2, 2))]
    assert levels([(1, 4, 4), (2, 8, 8)], 4) == [(0, (1, 4, 4)), (1, (2, 8, 8))]


@pytest.mark.parametrize(
    ("name", "options"),
    [("res_unet", {"channels": [4, 8, 16], "ndim": 3}),
     ("vit", {"ndim": 2, "width": 24, "heads": 2, "depth": 1}),
     ("timm", {"model": "resnet18"})],
)  # fmt: skip
def test_maps_have_one_width_and_their_strides(name, options):
    backbone = build(name, in_channels=1, **options)
    pyramid = Pyramid(backbone, 16, 4)
    image = torch.randn(2, 1, *[2 * d for d in backbone.divisor])
    maps = pyramid(backbone(image), image.shape[2:])
    assert [tuple(m.shape[2:]) for m in maps] == [
        tuple(-(-n // s) for n, s in zip(image.shape[2:], stride, strict=True))
        for stride in pyramid.strides
    ]
    assert all(m.shape[:2] == (2, 16) for m in maps)


def test_what_is_coarse_reaches_what_is_fine():
    backbone = build("res_unet", in_channels=1, channels=[4, 8, 16], ndim=2)
    pyramid = Pyramid(backbone, 8, 1)
    features = [f.detach().requires_grad_() for f in backbone(torch.randn(1, 1, 16, 16))]
    pyramid(features, (16, 16))[0].sum().backward()
    assert features[-1].grad.abs().sum() > 0
