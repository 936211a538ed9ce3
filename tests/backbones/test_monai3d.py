import pytest
import torch
from monai.networks.nets import SwinUNETR

from medssl.backbones.monai3d import ResUNetEncoder, SwinEncoder
from medssl.errors import UserError


def test_default_encoder_is_small():
    backbone = ResUNetEncoder(1)
    assert sum(p.numel() for p in backbone.parameters()) < 600_000
    assert backbone.strides == ((2, 2, 2), (4, 4, 4), (8, 8, 8))


@pytest.mark.parametrize("stem", [1, 2])
def test_no_voxel_is_missed_between_the_stems_steps(stem):
    backbone = ResUNetEncoder(1, channels=[4, 4], stem_stride=stem, ndim=2)
    image = torch.randn(1, 1, 4 * stem, 4 * stem, requires_grad=True)
    level = backbone(image)[0]
    (level * torch.randn_like(level)).sum().backward()
    assert level.shape[2:] == (4, 4) and image.grad.all()


@pytest.mark.parametrize(
    "options",
    [
        {"channels": [4, 8], "strides": [[2, 2, 2]]},
        {"channels": [4, 8], "strides": [[2, 2, 2], [2, 2]]},
        {"channels": []},
        {"blocks": 0},
        {"stem_stride": 0},
        {"stem_stride": 3},
        {"ndim": 4},
    ],
)
def test_options_that_do_not_fit_each_other_are_refused(options):
    with pytest.raises(UserError, match="backbone."):
        ResUNetEncoder(1, **options)


def test_a_single_last_voxel_is_refused():
    with pytest.raises(ValueError, match="one voxel"):
        ResUNetEncoder(1, channels=[4, 8])(torch.zeros(2, 1, 4, 4, 4))


def test_features_of_a_swin_unetr_load_by_name_and_are_the_same():
    torch.manual_seed(0)
    options = {"feature_size": 12, "depths": (1, 1, 1, 1), "use_v2": True}
    whole = SwinUNETR(in_channels=1, out_channels=2, spatial_dims=2, **options).eval()
    encoder = SwinEncoder(1, ndim=2, feature_size=12, depths=[1, 1, 1, 1], v2=True).eval()
    state = {k: v for k, v in whole.state_dict().items() if k.startswith("swinViT.")}
    assert set(state) == set(encoder.state_dict())
    encoder.load_state_dict(state)
    image = torch.randn(1, 1, 64, 32)
    with torch.no_grad():
        expected, levels = whole.swinViT(image, True), encoder(image)
    assert all(torch.equal(a, b) for a, b in zip(levels, expected, strict=True))


@pytest.mark.parametrize(
    "options",
    [{"feature_size": 20}, {"depths": [2, 2]}, {"heads": [3, 6, 12, 5]}, {"window": [7, 7]}],
)
def test_a_swin_that_cannot_be_built_is_refused(options):
    with pytest.raises(UserError, match="backbone."):
        SwinEncoder(1, **options)


def test_recomputing_gives_the_same_gradients():
    options = {"ndim": 2, "feature_size": 12, "depths": [1, 1, 1, 1], "heads": [2, 2, 2, 2]}
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        backbone, image = SwinEncoder(1, recompute=recompute, **options), torch.randn(1, 1, 32, 32)
        backbone(image)[-1].square().sum().backward()
        gradients.append(backbone.swinViT.patch_embed.proj.weight.grad)
    torch.testing.assert_close(*gradients)
