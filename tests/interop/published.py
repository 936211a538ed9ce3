"""Layouts of published weights, made by their libraries' own constructors: small, or as they are."""

import re

import torch
from monai.networks import nets
from torch import nn

from medssl.backbones.base import build


def swin(full=False, v2=False) -> dict:
    small = {
        "feature_size": 12,
        "depths": (1, 1, 1, 1),
        "num_heads": (1, 1, 2, 2),
        "window_size": 4,
    }
    options = {"feature_size": 48} if full else small
    return moved(nets.SwinUNETR(1, 14, use_v2=v2, **options)).state_dict()


def moved(net: nn.Module) -> nn.Module:
    """With nothing left where it begins."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in [*net.parameters(), *net.buffers()]:
            if value.is_floating_point():
                value += 0.1 * torch.randn(value.shape, generator=generator)
    return net


def ssl_swin(full=False) -> dict:
    """MONAI's model_swinvit.pt: what `SwinUNETR.load_from` reads, and the heads of its training."""
    state = {
        "module." + k.removeprefix("swinViT.").replace("mlp.linear", "mlp.fc"): v
        for k, v in swin(full).items() if k.startswith("swinViT.")
    }  # fmt: skip
    heads = {
        f"module.{head}.weight": torch.ones(4, 192)
        for head in ("rotation_head", "contrastive_head")
    }
    return {"epoch": 13, "state_dict": {**state, **heads, "module.norm.weight": torch.ones(192)}}


def doubled_swin() -> dict:
    """The names that MONAI's filter_swinunetr expects."""
    state = {}
    for key, value in swin().items():
        if key.startswith("swinViT."):
            short = key.removeprefix("swinViT.")
            short = re.sub(r"^(layers\d\.0)\.", r"\1.0.", short)
            state[f"encoder.{short}"] = value
    return {"model": {**state, "encoder.mask_token": torch.zeros(1, 1, 12)}}


def voco(full=False) -> dict:
    state = {f"backbone.{k}": v for k, v in swin(full, v2=True).items()}
    head = {"projector.weight": torch.ones(3, 3)}
    return {
        "state_dict": {f"module.{k}": v for k, v in {**state, **head}.items()},
        "optimizer": {"state": {0: 1}},
    }


def ct_fm(full=False) -> dict:
    """A SegResEncoder's bare names, as its hub folder has them."""
    options = {"init_filters": 32, "blocks_down": (1, 2, 2, 4, 4)}
    small = {"init_filters": 4, "blocks_down": (1, 2, 1)}
    net = nets.SegResNetDS(norm="batch", **(options if full else small))
    return moved(net.encoder).state_dict()


def medicalnet(full=False) -> dict:
    layers, widths = ([3, 4, 6, 3], [64, 128, 256, 512]) if full else ([1] * 4, [4, 8, 16, 32])
    net = nets.ResNet("bottleneck", layers, widths, n_input_channels=1, conv1_t_stride=2,
                      feed_forward=False, bias_downsample=False)  # fmt: skip
    state = {f"module.{k}": v for k, v in moved(net).state_dict().items() if "num_batches" not in k}
    return {"state_dict": state}


def torchvision(depth: int) -> nn.Module:
    from torchvision import models  # medssl makes it importable first

    return getattr(models, f"resnet{depth}")()


class Genesis(nn.Module):
    """The names of Models Genesis' unet3d.py, its decoder in one layer."""

    def __init__(self, levels):
        super().__init__()
        inputs = 1
        for i in range(levels):
            name = f"down_tr{64 * 2**i}"
            level = nn.Module()
            widths = (32 * 2**i, 64 * 2**i)
            layers = []
            for a, b in ((inputs, widths[0]), widths):
                layer = nn.Module()
                layer.conv1, layer.bn1 = nn.Conv3d(a, b, 3, padding=1), nn.BatchNorm3d(b)
                layers.append(layer)
            level.ops, inputs = nn.Sequential(*layers), widths[1]
            self.add_module(name, level)
        self.out_tr = nn.Conv3d(64, 1, 1)


def genesis(full=False) -> dict:
    state = moved(Genesis(4 if full else 2)).state_dict()
    return {"epoch": 1, "state_dict": {f"module.{key}": value for key, value in state.items()}}


def nnssl(full=False) -> dict:
    """By nnU-Net's names, each weight also under its second one; no library needed."""
    options = {} if full else {"channels": [4, 6, 8], "blocks": [1, 1, 2]}
    net = moved(build("resenc", in_channels=1, **options))
    state = {}
    for key, value in net.state_dict().items():
        state[f"encoder.{key}"] = value
        for part, n in ((".conv.", 0), (".norm.", 1)):
            if part in key:
                state["encoder." + key.replace(part, f".all_modules.{n}.")] = value
    again = {f"decoder.{key}": value for key, value in state.items()}
    plan = {"key_to_encoder": "encoder.stages", "spacing": [1, 1, 1]}
    return {"network_weights": {**state, **again}, "nnssl_adaptation_plan": plan}


def monai_vit() -> dict:
    """ViT of UNETR, without biases of qkv, learned positions."""
    net = nets.ViT(1, (16, 16, 16), (8, 8, 8), 24, 96, 2, 2)
    return {f"vit.{key}": value for key, value in moved(net).state_dict().items()}


def timm_resnet() -> dict:
    """torchvision's names are timm's; 3 channels, a head."""
    return moved(torchvision(18)).state_dict()


def radimagenet(full=False) -> dict:
    """Numbered children of torchvision's ResNet, as its PyTorch files have them."""
    net = nn.Sequential(*list(moved(torchvision(50 if full else 18)).children())[:-2])
    return {f"backbone.{key}": value for key, value in net.state_dict().items()}
