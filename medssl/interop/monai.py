"""For MONAI: SwinUNETR, ViT and UNETR, SegResNetDS, ResNet, DynUNet.

A whole network is strictly loaded where the backbone is one (ViT, ResNet); of a U-Net, its encoder is,
part by part, and the decoder begins anew.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from monai.networks.nets import UNETR, DynUNet, ResNet, SegResNetDS, SwinUNETR
from monai.networks.nets import ViT as MonaiViT
from safetensors.torch import load_file
from torch import Tensor, nn

from medssl.backbones.monai3d import ResUNetEncoder, SwinEncoder
from medssl.backbones.published3d import ResNet3D, SegResNet
from medssl.backbones.vit import ViT, as_map
from medssl.interop.files import plain, write_about, write_json, write_weights
from medssl.interop.model import Model
from medssl.interop.vit import grid_of, renamed

CLASSES = 2  # of a decoder, which is not passed on
UNETR_LAYERS, UNETR_PATCH = 12, 16
SSL = "ssl.pt"
# Parts of a ViT's names: ours, MONAI's.
RENAMED = (
    (".qkv.", ".attn.qkv."), (".project.", ".attn.out_proj."), (".mlp.0.", ".mlp.linear1."),
    (".mlp.2.", ".mlp.linear2."),
)  # fmt: skip


@dataclass
class Form:
    """How MONAI has a backbone.

    kind, arguments  its class, and what that is made with
    state            weights by MONAI's names
    parts            what of the network they fill; "" for all
    levels           features by the network, or by what holds it
    """

    kind: type
    arguments: dict
    state: dict[str, Tensor]
    parts: tuple[str, ...]
    levels: Callable[[nn.Module, Tensor], list[Tensor]]


def admits(backbone: nn.Module) -> str:
    if isinstance(backbone, ResUNetEncoder):
        if backbone.n_layers != len(backbone.channels) or len(backbone.channels) < 3:
            return "MONAI's DynUNet has one block a level, and three levels or more"
        return ""
    return "" if type(backbone) in FORMS else "MONAI has no such network"


def form_of(model: Model) -> Form:
    return FORMS[type(model.backbone)](model)


def write(model: Model, folder: Path) -> None:
    form = form_of(model)
    write_weights(folder / "model.safetensors", form.state)
    network = {"class": f"monai.networks.nets.{form.kind.__name__}", "arguments": form.arguments}
    write_json(folder / "network.json", {**network, "parts": list(form.parts)})
    if _has_ssl(model):
        torch.save({"state_dict": _ssl(form.state)}, folder / SSL)
    write_about(model, folder, _usage(form, _has_ssl(model)))


def features(model: Model, folder: Path):
    form, state = form_of(model), load_file(folder / "model.safetensors")
    net = form.kind(**form.arguments).eval()
    _load(net, state, form.parts)
    if _has_ssl(model):  # MONAI's own reader of its SSL weights must give the same network
        other = SwinUNETR(**form.arguments)
        other.load_from(torch.load(folder / SSL, weights_only=True))
        mine, theirs = net.swinViT.state_dict(), other.swinViT.state_dict()
        if any(not torch.equal(mine[key], theirs[key]) for key in mine):
            raise RuntimeError(f"SwinUNETR.load_from reads other weights from {SSL}")
    if isinstance(model.backbone, ViT) and not unetr(model.backbone):
        whole = UNETR(**_unetr_arguments(form.arguments))
        whole.vit.load_state_dict(state)
    return lambda image: form.levels(net, image)


def _load(net: nn.Module, state: dict[str, Tensor], parts: tuple[str, ...]) -> None:
    left = set(state)
    for part in parts:
        start = f"{part}." if part else ""
        its = {key.removeprefix(start): v for key, v in state.items() if key.startswith(start)}
        (net.get_submodule(part) if part else net).load_state_dict(its)
        left -= {start + key for key in its}
    if left:
        raise RuntimeError(f"{len(left)} weights belong to no part: {sorted(left)[:3]}")


def unetr(backbone: nn.Module) -> str:
    """Why MONAI's UNETR does not take a ViT, or nothing."""
    fits = len(backbone.blocks) == UNETR_LAYERS and set(backbone.patch) == {UNETR_PATCH}
    return "" if fits else f"UNETR's ViT has {UNETR_LAYERS} blocks and patches of {UNETR_PATCH}"


def _swin(model: Model) -> Form:
    swin, net = model.backbone.swinViT, model.backbone
    blocks = [stage[0].blocks for stage in (swin.layers1, swin.layers2, swin.layers3, swin.layers4)]
    arguments = {
        "in_channels": net.in_channels, "out_channels": CLASSES, "feature_size": swin.embed_dim,
        "depths": list(net.depths), "num_heads": [b[0].attn.num_heads for b in blocks],
        "window_size": list(swin.window_size), "use_v2": bool(swin.use_v2), "spatial_dims": net.ndim,
    }  # fmt: skip
    return Form(SwinUNETR, arguments, net.state_dict(), ("swinViT",),
                lambda n, image: n.swinViT(image, normalize=True))  # fmt: skip


def _has_ssl(model: Model) -> bool:
    """Whether MONAI's reader of its SSL weights takes these: it knows no SwinUNETR-V2."""
    return isinstance(model.backbone, SwinEncoder) and not model.backbone.swinViT.use_v2


def _ssl(state: dict[str, Tensor]) -> dict[str, Tensor]:
    def renamed(key: str) -> str:
        key = f"module.{key.removeprefix('swinViT.')}"
        return re.sub(r"\.mlp\.linear([12])\.", r".mlp.fc\1.", key)

    return plain({renamed(key): value for key, value in state.items()})


def _vit(model: Model) -> Form:
    net, width = model.backbone, model.backbone.channels[0]
    hidden = net.blocks[0].mlp[0].out_features
    arguments = {
        "in_channels": net.in_channels, "img_size": list(model.size), "patch_size": list(net.patch),
        "hidden_size": width, "mlp_dim": hidden, "num_layers": len(net.blocks),
        "num_heads": net.blocks[0].heads, "spatial_dims": net.ndim, "qkv_bias": True,
    }  # fmt: skip
    embedding = "patch_embedding"
    state = renamed(
        model, RENAMED, f"{embedding}.patch_embeddings", f"{embedding}.position_embeddings"
    )
    # Norms of a cross-attention that is not there: MONAI's networks hold them all the same.
    theirs = MonaiViT(**{**arguments, "num_layers": 1}).state_dict()
    for key in [k for k in theirs if "norm_cross_attn" in k]:
        for i in range(len(net.blocks)):
            state[key.replace("blocks.0.", f"blocks.{i}.")] = theirs[key]
    grid = grid_of(model)
    return Form(
        MonaiViT, arguments, state, ("",), lambda n, image: [as_map(n(image)[0], None, grid)]
    )


def _unetr_arguments(vit: dict) -> dict:
    keys = ("in_channels", "img_size", "hidden_size", "mlp_dim", "num_heads", "spatial_dims")
    return {**{key: vit[key] for key in keys}, "out_channels": CLASSES, "qkv_bias": True}


def _segresnet(model: Model) -> Form:
    net = model.backbone
    arguments = {
        "spatial_dims": net.ndim, "in_channels": net.in_channels, "out_channels": CLASSES,
        "init_filters": net.channels[0], "blocks_down": list(net.blocks), "norm": net.norm,
    }  # fmt: skip
    return Form(SegResNetDS, arguments, net.state_dict(), ("encoder",), lambda n, x: n.encoder(x))


def _resnet(model: Model) -> Form:
    state = {key.removeprefix("net."): v for key, v in model.backbone.state_dict().items()}
    return Form(ResNet, dict(model.backbone.arguments), state, ("",), _resnet_levels)


def _resnet_levels(net: nn.Module, image: Tensor) -> list[Tensor]:
    x, levels = net.maxpool(net.act(net.bn1(net.conv1(image)))), []
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        x = stage(x)
        levels.append(x)
    return levels


def _dynunet(model: Model) -> Form:
    net, n = model.backbone, len(model.backbone.channels)
    strides = [tuple(s) for s in net.strides]
    steps = [strides[0]]
    for before, now in zip(strides, strides[1:], strict=False):
        steps.append(tuple(b // a for a, b in zip(before, now, strict=True)))
    steps = [list(step) for step in steps]
    arguments = {
        "spatial_dims": net.ndim, "in_channels": net.in_channels, "out_channels": CLASSES,
        "kernel_size": [[3] * net.ndim] * n, "strides": steps, "upsample_kernel_size": steps[1:],
        "filters": list(net.channels), "res_block": True,
    }  # fmt: skip
    parts = ("input_block", *[f"downsamples.{i}" for i in range(n - 2)], "bottleneck")
    state = {}
    for key, value in net.state_dict().items():
        _, stage, _, rest = key.split(".", 3)
        state[f"{parts[int(stage)]}.{rest}"] = value

    def levels(theirs: nn.Module, x: Tensor) -> list[Tensor]:
        found = []
        for part in parts:
            x = theirs.get_submodule(part)(x)
            found.append(x)
        return found

    return Form(DynUNet, arguments, state, parts, levels)


FORMS = {
    SwinEncoder: _swin,
    ViT: _vit,
    SegResNet: _segresnet,
    ResNet3D: _resnet,
    ResUNetEncoder: _dynunet,
}


def _usage(form: Form, ssl: bool) -> str:
    name = form.kind.__name__
    lines = [
        "import json", "from monai.networks import nets", "from safetensors.torch import load_file", "",
        'network = json.load(open("FOLDER/network.json"))',
        f'net = nets.{name}(**network["arguments"])',
        'weights = load_file("FOLDER/model.safetensors")',
    ]  # fmt: skip
    if form.parts == ("",):
        lines.append("net.load_state_dict(weights)")
    else:
        lines += [
            'for part in network["parts"]:  # the encoder; the decoder begins anew',
            '    its = {k.removeprefix(part + "."): v for k, v in weights.items() '
            'if k.startswith(part + ".")}',
            "    net.get_submodule(part).load_state_dict(its)",
        ]
    if ssl:
        lines += ["", "# or, by MONAI's own reader of SSL weights:",
                  f'net.load_from(torch.load("FOLDER/{SSL}", weights_only=True))']  # fmt: skip
    return "\n".join(lines)
