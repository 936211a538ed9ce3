"""For PyTorch alone: the state dict as safetensors, and the card beside it."""

from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from medssl.backbones.base import build
from medssl.interop.files import write_about, write_json, write_weights
from medssl.interop.model import Model

USAGE = """
import json
from safetensors.torch import load_file
from medssl.backbones.base import build

network = json.load(open("FOLDER/config.json"))
net = build(network["backbone"], **network["options"])
net.load_state_dict(load_file("FOLDER/model.safetensors"))
"""


def admits(backbone: nn.Module) -> str:
    return ""


def write(model: Model, folder: Path) -> None:
    write_weights(folder / "model.safetensors", model.backbone.state_dict())
    write_json(folder / "config.json", config(model))
    write_about(model, folder, USAGE)


def config(model: Model) -> dict:
    """What the network is, and what it takes and gives."""
    backbone = model.backbone
    return {
        "library": "medssl",
        "backbone": model.name,
        "options": {"in_channels": backbone.in_channels, **model.options},
        "input": {"axes": backbone.ndim, "multiples_of": list(backbone.divisor)},
        "levels": {
            "channels": list(backbone.channels),
            "strides": [list(s) for s in backbone.strides],
        },
        "preprocessing": model.card.get("recipe", {}),
    }


def features(model: Model, folder: Path):
    import json

    network = json.loads((folder / "config.json").read_text())
    net = build(network["backbone"], **network["options"]).eval()
    net.load_state_dict(load_file(folder / "model.safetensors"))
    return net
