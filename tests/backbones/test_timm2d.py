import socket

import pytest
import timm
import torch
from safetensors.torch import save_file

from medssl.backbones.timm2d import TimmBackbone
from medssl.errors import UserError


@pytest.mark.parametrize(
    ("model", "strides"),
    [
        ("resnet50", [4, 8, 16, 32]),
        ("vit_tiny_patch16_224", [16]),
        ("swin_tiny_patch4_window7_224", [4, 8, 16, 32]),
        ("efficientnet_b0", [4, 8, 16, 32]),
    ],
)
def test_the_deepest_level_of_each_stride_from_four_on(model, strides):
    backbone = TimmBackbone(1, model=model).eval()
    assert backbone.strides == tuple((s, s) for s in strides)
    for size in ((64, 96), (96, 64)):  # also for networks made for one size
        with torch.no_grad():
            levels = backbone(torch.randn(1, 1, *size))
        assert [x.shape[2] for x in levels] == [size[0] // s for s in strides]


def test_the_last_level_is_what_timm_pools():
    backbone = TimmBackbone(3, model="resnet18").eval()
    whole = timm.create_model("resnet18", num_classes=0).eval()
    whole.load_state_dict(backbone.net.state_dict())
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(image)[-1].mean((2, 3)), whole(image))


@pytest.mark.parametrize("model", ["resnet18", "vit_tiny_patch16_224"])
def test_a_local_file_of_timms_weights_loads_and_nothing_is_fetched(model, tmp_path, monkeypatch):
    source = timm.create_model(model, num_classes=7)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    torch.save({"state_dict": source.state_dict()}, tmp_path / "w.pth")

    def refuse(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in ("w.safetensors", "w.pth"):
        path = str(tmp_path / name)
        backbone = TimmBackbone(3, model=model, pretrained_weights=path)
        for key, value in backbone.net.state_dict().items():
            assert torch.equal(value, source.state_dict()[key])
    grey = TimmBackbone(1, model=model, pretrained_weights=path)
    stem = source.pretrained_cfg["first_conv"] + ".weight"
    torch.testing.assert_close(grey.net.state_dict()[stem], source.state_dict()[stem].sum(1, True))


def test_a_file_that_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    state = timm.create_model("resnet18", num_classes=0).state_dict()
    cases = {
        "missing": {k: v for k, v in state.items() if not k.startswith("layer4")},
        "expected": {**state, "surprise": torch.zeros(1)},
        "0 of": {f"module.net.{k}": v for k, v in state.items()},
        "another shape": {**state, "bn1.weight": torch.zeros(3)},
    }
    for says, content in cases.items():
        save_file(content, path)
        with pytest.raises(UserError, match=says) as refusal:
            TimmBackbone(3, pretrained_weights=str(path))
        assert refusal.value.code == "WEIGHTS"


def test_no_pickled_code_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"state_dict": Trap()}, tmp_path / "w.pth")
    (tmp_path / "torn.safetensors").write_bytes(b"\x00" * 20)
    for name in ("w.pth", "torn.safetensors", "absent.pth"):
        with pytest.raises(UserError, match="not readable"):
            TimmBackbone(3, pretrained_weights=str(tmp_path / name))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "resnet_18"}, "did you mean"),
        ({"model": "hf-hub:someone/thing"}, "does not know"),
        ({"model": "mixer_s32_224"}, "one size only"),
        ({"model": "sknet_none"}, "does not know"),
        ({"out_indices": [5]}, "from 0 to 4"),
        ({"out_indices": []}, "from 0 to 4"),
        ({"out_indices": [-1]}, "from 0 to 4"),
    ],
)
def test_networks_and_levels_that_cannot_serve_are_refused(options, says):
    with pytest.raises(UserError, match=says):
        TimmBackbone(1, **options)


def test_layers_that_no_level_needs_are_left_out():
    names = dict(TimmBackbone(1, out_indices=[1, 2]).named_parameters())
    assert any("layer2" in n for n in names) and not any("layer3" in n for n in names)
