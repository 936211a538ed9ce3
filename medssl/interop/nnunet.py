"""For nnU-Net: a checkpoint with nnssl's adaptation plan, and the architecture for a plans file.

nnU-Net reads its arrays as (z, y, x), medssl as (x, y, z): kernels, strides and sizes are turned round.
The decoder is at nnU-Net's first random values, since nnU-Net's reader wants one; segmentation layers
are left out by it.
"""

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from medssl.backbones.resenc import ResidualEncoder
from medssl.errors import UserError
from medssl.interop.files import plain, write_about, write_json
from medssl.interop.model import Model

LIBRARY = "dynamic_network_architectures"
CLASS = f"{LIBRARY}.architectures.unet.ResidualEncoderUNet"
IMPORTED = ("conv_op", "norm_op", "dropout_op", "nonlin")
CHECKPOINT = "checkpoint_final.pth"
CLASSES = 2
USAGE = """
# nnU-Net's own reader, for plans whose architecture is that of architecture.json:
#   nnUNetv2_train DATASET CONFIGURATION FOLD -p PLANS -pretrained_weights FOLDER/checkpoint_final.pth
# nnU-Net with the nnssl extension adapts the plans by itself (it z-scores all scans, CT too: where the
# card says intensity hu, let nnU-Net's plan keep CTNormalization):
#   nnUNetv2_preprocess_like_nnssl -d DATASET -n NAME -pc FOLDER/checkpoint_final.pth -am like_pretrained
import json, torch
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

arch = json.load(open("FOLDER/architecture.json"))
net = get_network_from_plans(arch["network_class_name"], arch["arch_kwargs"],
                             arch["_kw_requires_import"], CHANNELS, CLASSES)
load_pretrained_weights(net, "FOLDER/checkpoint_final.pth")
"""


def admits(backbone: nn.Module) -> str:
    if isinstance(backbone, ResidualEncoder):
        return "" if len(backbone.channels) > 1 else "nnU-Net's U-Net has two stages or more"
    return "nnU-Net has residual encoders only (backbone=resenc)"


def write(model: Model, folder: Path) -> None:
    _check_installed()
    net = _unet(model)
    net.encoder.load_state_dict(doubled(model.backbone))
    weights = plain(net.state_dict())
    plan = adaptation_plan(model)
    checkpoint = {"network_weights": weights, "nnssl_adaptation_plan": plan, "citations": []}
    torch.save(checkpoint, folder / CHECKPOINT)
    write_json(folder / "adaptation_plan.json", plan)
    write_json(folder / "architecture.json", architecture(model.backbone))
    write_about(model, folder, USAGE)


def features(model: Model, folder: Path):
    """By nnU-Net's network, as its nnssl extension loads it: stem and stages by themselves."""
    found = torch.load(folder / CHECKPOINT, weights_only=True)
    plan, weights = found["nnssl_adaptation_plan"], found["network_weights"]
    net = _unet(model).eval()
    for part in (plan["key_to_stem"], plan["key_to_encoder"]):
        its = {
            k.removeprefix(f"{part}."): v for k, v in weights.items() if k.startswith(f"{part}.")
        }
        net.get_submodule(part).load_state_dict(its)
    net.load_state_dict(weights)
    return lambda image: [_turned(level) for level in net.encoder(_turned(image))]


def architecture(backbone: ResidualEncoder) -> dict:
    """What a plans file says of a network."""
    n, d = len(backbone.channels), backbone.ndim
    return {
        "network_class_name": CLASS,
        "arch_kwargs": {
            "n_stages": n,
            "features_per_stage": list(backbone.channels),
            "conv_op": f"torch.nn.modules.conv.Conv{d}d",
            "kernel_sizes": [list(k[::-1]) for k in backbone.kernels],
            "strides": [list(s[::-1]) for s in backbone.steps],
            "n_blocks_per_stage": list(backbone.blocks),
            "n_conv_per_stage_decoder": [1] * (n - 1),
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{d}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": list(IMPORTED),
    }


def adaptation_plan(model: Model) -> dict:
    """nnssl's plan of how a checkpoint is taken over."""
    network, recipe = architecture(model.backbone), model.card.get("recipe", {})
    size = list(model.size[::-1])
    spacing = (
        list(recipe["spacing"][::-1]) if recipe.get("spacing") else None
    )  # none: nnU-Net's own
    return {
        "architecture_plans": {
            "arch_class_name": network["network_class_name"],
            "arch_kwargs": network["arch_kwargs"],
            "arch_kwargs_requiring_import": network["_kw_requires_import"],
        },
        "pretrain_plan": {
            "configurations": {"medssl": {"spacing": spacing, "patch_size": size}},
        },
        "pretrain_num_input_channels": model.backbone.in_channels,
        "recommended_downstream_patchsize": size,
        "key_to_encoder": "encoder.stages",
        "key_to_stem": "encoder.stem",
        "keys_to_in_proj": ["encoder.stem.convs.0.conv", "encoder.stem.convs.0.all_modules.0"],
        "key_to_lpe": None,
    }


def doubled(backbone: ResidualEncoder) -> dict[str, Tensor]:
    """The encoder's weights with the second names that nnU-Net's layers have for the same ones."""
    state = {}
    for key, value in backbone.state_dict().items():
        value = _turned(value) if value.ndim > 2 else value
        state[key] = value
        for part, number in ((".conv.", 0), (".norm.", 1)):
            if part in key:
                state[key.replace(part, f".all_modules.{number}.")] = value
    return state


def _turned(array: Tensor) -> Tensor:
    """With its spatial axes in the other order."""
    return array.permute(0, 1, *range(array.ndim - 1, 1, -1)).contiguous()


def _unet(model: Model) -> nn.Module:
    import pydoc

    from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet

    arguments = architecture(model.backbone)["arch_kwargs"]
    made = {k: pydoc.locate(v) if k in IMPORTED and v else v for k, v in arguments.items()}
    torch.manual_seed(0)
    return ResidualEncoderUNet(model.backbone.in_channels, num_classes=CLASSES, **made)


def _check_installed() -> None:
    if importlib.util.find_spec(LIBRARY) is None:
        raise UserError(
            "INSTALL", LIBRARY, "nnU-Net's networks are not installed, so nothing could be checked",
            "pip install 'medssl[nnunet]' (dynamic-network-architectures)",
        )  # fmt: skip
