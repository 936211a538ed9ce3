"""For timm: `timm.create_model("local-dir:FOLDER", pretrained=True)`, or a hub's repository."""

from pathlib import Path

import timm
import torch
from timm.models._hub import save_for_hf
from torch import nn

from medssl.backbones.timm2d import TimmBackbone
from medssl.backbones.vit import ViT
from medssl.interop.files import write_about
from medssl.interop.model import Model
from medssl.interop.vit import renamed

# timm's only plain ViTs whose norms add the same 1e-5 to the variance as ours; all else is replaced.
VIT = "vit_base_patch16_clip_224"
RENAMED = (
    (".qkv.", ".attn.qkv."), (".project.", ".attn.proj."), (".mlp.0.", ".mlp.fc1."),
    (".mlp.2.", ".mlp.fc2."),
)  # fmt: skip


def admits(backbone: nn.Module) -> str:
    if isinstance(backbone, ViT):
        if backbone.ndim == 3:
            return "timm has no networks for volumes"
        return "" if len(set(backbone.patch)) == 1 else "timm's patches are square"
    if not isinstance(backbone, TimmBackbone):
        return "timm has no such network"
    lacking = set(_whole(backbone).state_dict()) - set(backbone.net.state_dict())
    deep = sorted(key for key in lacking if ".norm" not in f".{key}")
    return f"the levels end before timm's network does ({deep[0]} was cut off)" if deep else ""


def write(model: Model, folder: Path) -> None:
    net, state = _net(model), _state(model)
    # A norm behind the last level, which our levels go without, stays as timm begins it.
    net.load_state_dict({**net.state_dict(), **state})
    size = (model.backbone.in_channels, *model.size)
    half = (0.5,) * size[0]
    save_for_hf(
        net, folder, safe_serialization=True, model_args=_arguments(model),
        data_config={"input_size": size, "mean": half, "std": half},
    )  # fmt: skip
    (folder / "model.safetensors").chmod(0o644)
    usage = 'import timm\n\nnet = timm.create_model("local-dir:FOLDER", pretrained=True)'
    write_about(model, folder, usage)


def features(model: Model, folder: Path):
    net = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    if isinstance(model.backbone, ViT):
        last = len(net.blocks) - 1
        return lambda image: net.forward_intermediates(
            image, indices=[last], norm=True, intermediates_only=True
        )
    ours = model.backbone
    return lambda image: net.forward_intermediates(
        image, indices=ours.levels, norm=ours.plain, intermediates_only=True
    )


def _arguments(model: Model) -> dict:
    backbone = model.backbone
    if not isinstance(backbone, ViT):
        return {}
    width, blocks = backbone.channels[0], backbone.blocks
    return {
        "img_size": list(model.size), "patch_size": backbone.patch[0], "embed_dim": width,
        "in_chans": backbone.in_channels, "depth": len(blocks), "num_heads": blocks[0].heads,
        "mlp_ratio": blocks[0].mlp[0].out_features / width, "class_token": False,
        "pre_norm": False, "fc_norm": False, "global_pool": "avg",
    }  # fmt: skip


def _net(model: Model) -> nn.Module:
    if isinstance(model.backbone, ViT):
        return timm.create_model(VIT, num_classes=0, **_arguments(model))
    return _whole(model.backbone)


def _whole(backbone: TimmBackbone) -> nn.Module:
    """timm's network as it is before what lies behind the last level is cut off."""
    made = dict(getattr(backbone.net, "_model_args", {}))
    return timm.create_model(
        backbone.net.pretrained_cfg["architecture"],
        **{**made, "in_chans": backbone.in_channels, "num_classes": 0},
    )


def _state(model: Model) -> dict[str, torch.Tensor]:
    if isinstance(model.backbone, ViT):
        return renamed(model, RENAMED, "patch_embed.proj", "pos_embed")
    return model.backbone.net.state_dict()
