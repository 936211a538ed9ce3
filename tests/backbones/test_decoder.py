import pytest
import torch

from medssl.backbones.base import build
from medssl.backbones.decoder import UNetDecoder

BACKBONES = [
    ("res_unet", {"channels": [4, 8, 12]}, (16, 24, 16)),
    ("res_unet", {"channels": [4, 8], "ndim": 2}, (16, 24)),
    ("res_unet", {"channels": [4, 8], "strides": [[1, 1, 1], [2, 2, 1]]}, (8, 12, 7)),
    ("vit", {"patch": [8, 8, 4], "width": 24, "depth": 1, "heads": 2}, (16, 24, 16)),
    ("vit", {"patch": [16, 16], "ndim": 2, "width": 24, "depth": 1, "heads": 2}, (32, 48)),
    ("timm", {"model": "resnet18"}, (64, 96)),
    ("swin_unetr", {"feature_size": 12, "window": 4}, (64, 64, 64)),
]


@pytest.mark.parametrize("name, options, size", BACKBONES)
def test_logits_have_the_images_size_and_every_weight_a_gradient(name, options, size):
    torch.manual_seed(0)
    backbone = build(name, in_channels=1, **options)
    decoder = UNetDecoder(backbone, classes=3, width=4)
    image = torch.randn(2, 1, *size)
    logits = decoder([f.detach() for f in backbone(image)], image)
    assert logits.shape == (2, 3, *size)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in decoder.parameters())


def test_the_image_is_seen_at_full_resolution():
    backbone = build("res_unet", in_channels=1, channels=[4, 8])
    decoder = UNetDecoder(backbone, classes=2).eval()
    image = torch.randn(1, 1, 16, 16, 16)
    features = backbone(image)
    other = image.clone()
    other[0, 0, 7, 7, 7] += 5
    assert not torch.allclose(decoder(features, image), decoder(features, other))
