"""Every network of the table goes to every target that takes it, and comes back the same."""

import importlib.util
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from medssl.backbones.base import BACKBONES, build
from medssl.errors import UserError
from medssl.interop import exporting
from medssl.interop.exporting import CLOSE, TARGETS, admitted, compared, export, target
from medssl.interop.model import Model, fitting_size
from medssl.stages.backbones import EXAMPLES, SMALLEST, small

INSTALLED = {
    "nnunet": importlib.util.find_spec("dynamic_network_architectures") is not None,
    "onnx": importlib.util.find_spec("onnxruntime") is not None,
}


def model(network, axes, form=None, **card) -> Model:
    backbone, options = small(network, axes, form)
    return Model(backbone, network, options, fitting_size(backbone), card, "# a model\n")


def test_every_name_of_the_table_is_tried():
    assert set(SMALLEST) == set(BACKBONES)


@pytest.mark.parametrize("network, axes, form", EXAMPLES)
def test_features_are_the_same_by_every_library_that_takes_it(network, axes, form, tmp_path):
    made = model(network, axes, form)
    takers = [name for name, cause in admitted(made.backbone).items() if not cause]
    assert {"hub", "torch", "onnx"} <= set(takers)
    for name in takers:
        if not INSTALLED.get(name, True) or name == "onnx":
            continue
        (tmp_path / name).mkdir()
        assert export(made, name, tmp_path / name) <= CLOSE


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED["onnx"], reason="onnxruntime is not installed")
@pytest.mark.parametrize("network, axes, form", EXAMPLES)
def test_features_are_the_same_by_onnx(network, axes, form, tmp_path):
    assert export(model(network, axes, form), "onnx", tmp_path) <= CLOSE


@pytest.mark.parametrize("name", [name for name, there in INSTALLED.items() if not there])
def test_without_the_library_it_is_said_how_to_get_it(name, tmp_path):
    with pytest.raises(UserError, match="not installed.*pip install") as error:
        export(model("resenc", 3), name, tmp_path)
    assert error.value.code == "INSTALL" and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "network, axes, name, cause",
    [
        ("genesis", 3, "monai", "MONAI has no such network"),
        ("vit", 3, "timm", "no networks for volumes"),
        ("res_unet", 3, "nnunet", "residual encoders only"),
        ("res_unet", 3, "monai", "three levels or more"),
        ("timm", 2, "timm", "levels end before timm's network does"),
    ],
)
def test_a_target_that_does_not_take_it_says_which_do(network, axes, name, cause, tmp_path):
    form = {"res_unet": {"channels": [4, 8]}, "timm": {"model": "test_efficientnet"}}.get(network)
    with pytest.raises(UserError, match=cause) as error:
        export(model(network, axes, form), name, tmp_path)
    for taker in ("hub", "torch", "onnx"):
        assert taker in error.value.fix
    assert name not in error.value.fix.split("(")[0] and not list(tmp_path.iterdir())


def test_a_backbone_that_was_cut_short_is_not_timm_s(tmp_path):
    options = {"model": "resnet18", "out_indices": [0, 2]}
    backbone = build("timm", in_channels=1, **options).eval()
    with pytest.raises(UserError, match="was cut off"):
        export(Model(backbone, "timm", options, (64, 64)), "timm", tmp_path)


def test_a_network_of_timm_named_with_its_weights_is_passed_on(tmp_path):
    made = model("timm", 2, {"model": "test_resnet.r160_in1k"})
    assert export(made, "timm", tmp_path) <= CLOSE
    assert json.loads((tmp_path / "config.json").read_text())["architecture"] == "test_resnet"


@pytest.mark.parametrize(
    "name, file", [("torch", "model.safetensors"), ("monai", "model.safetensors")]
)
def test_one_wrong_number_is_found(name, file, tmp_path, monkeypatch):
    """The comparison is of what lies in the folder, not of what was meant to."""
    made, real = model("segresnet", 2), target(name).write

    def spoil(model, folder):
        real(model, folder)
        state = load_file(folder / file)
        key = next(k for k, v in state.items() if v.ndim == 4)
        state[key][0, 0, 0, 0] += 0.5
        save_file(state, folder / file)

    monkeypatch.setattr(target(name), "write", spoil)
    with pytest.raises(UserError, match="features differ by"):
        export(made, name, tmp_path)


@pytest.mark.parametrize("name", ["torch", "monai", "timm"])
def test_a_lost_weight_is_found(name, tmp_path, monkeypatch):
    made, real = model("vit", 2), target(name).write

    def spoil(model, folder):
        real(model, folder)
        state = load_file(folder / "model.safetensors")
        del state["norm.weight"]
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(target(name), "write", spoil)
    with pytest.raises(UserError, match="does not load what was written"):
        export(made, name, tmp_path)


def test_another_number_of_levels_is_not_the_same():
    made = model("genesis", 3)
    assert compared(made, lambda image: made.backbone(image)[:1]) == float("inf")
    assert compared(made, made.backbone) == 0


def test_unetr_takes_a_vit_of_its_form(tmp_path):
    options = {"patch": 16, "width": 24, "depth": 12, "heads": 2, "ndim": 2}
    backbone = build("vit", in_channels=1, **options).eval()
    made = Model(backbone, "vit", options, (32, 32), {}, "")
    assert not target("monai").unetr(backbone)
    assert export(made, "monai", tmp_path) <= CLOSE
    assert target("monai").unetr(small("vit", 2)[0])


def test_every_folder_says_what_it_holds_and_how_it_is_loaded(tmp_path):
    made = model("swin_unetr", 2, recipe={"spacing": [1, 1]})
    for name in ("torch", "hub", "monai"):
        (tmp_path / name).mkdir()
        export(made, name, tmp_path / name)
        text = (tmp_path / name / "README.md").read_text()
        assert "# a model" in text and "```python" in text
    shown = json.loads((tmp_path / "hub/config.json").read_text())
    assert shown["preprocessing"] == {"spacing": [1, 1]} and shown["backbone"] == "swin_unetr"
    assert (tmp_path / "hub/README.md").read_text().startswith("---\nlibrary_name: medssl\n")
    found = torch.load(tmp_path / "monai/ssl.pt", weights_only=True)["state_dict"]
    assert all(key.startswith("module.") for key in found)
    assert any(key.endswith("mlp.fc1.weight") for key in found)


def test_the_table_names_modules_that_have_what_is_asked_of_a_target():
    for name in TARGETS:
        assert all(
            callable(getattr(target(name), what)) for what in ("admits", "write", "features")
        )
    assert exporting.CLOSE == 1e-5


def test_sizes_that_a_network_does_not_take_are_refused():
    backbone = small("vit", 3)[0]
    assert fitting_size(backbone, [16, 24, 8]) == (16, 24, 8)
    for size in ([16, 16], [16, 16, 17], [0, 8, 8]):
        with pytest.raises(UserError, match="multiples of 8, 8, 8"):
            fitting_size(backbone, size)
