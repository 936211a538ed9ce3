"""For PyTorch alone: the state dict as safetensors, and the card beside it."""

import json
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from medssl.backbones.base import BACKBONES, architecture, build
from medssl.errors import UserError
from medssl.interop.files import write_about, write_json, write_weights
from medssl.interop.model import Model

CONFIG = "config.json"
LARGEST = 1_000_000  # bytes; ours has some hundreds
USAGE = """
import json
from safetensors.torch import load_file
from medssl.backbones.base import build

network = json.load(open("FOLDER/config.json"))
net = build(network["backbone"], **network["options"])
net.load_state_dict(load_file("FOLDER/model.safetensors"))
# or, for medssl pretrain start= and finetune backbone=: medssl import weights=FOLDER
"""


def admits(backbone: nn.Module) -> str:
    return ""


def write(model: Model, folder: Path, head: str = "") -> None:
    write_weights(folder / "model.safetensors", model.backbone.state_dict())
    write_json(folder / CONFIG, config(model))
    write_about(model, folder, USAGE, head)


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
        "image_size": model.card.get("image_size", []),
        "licence": model.card.get("licence", ""),
    }


def read_config(folder: Path) -> dict:
    """What `config` wrote into a folder, or nothing where there is no such file of ours.

    Its network is one of the table, so that no module of a stranger's choice is imported, and starts
    from no other file. Raises UserError WEIGHTS.
    """
    path = folder / CONFIG
    if not path.is_file() or path.stat().st_size > LARGEST:
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or found.get("library") != "medssl":
        return {}
    name, options = found.get("backbone"), found.get("options")
    if not isinstance(name, str) or name not in BACKBONES or not isinstance(options, dict):
        raise UserError(
            "WEIGHTS", path, "names no network of the table, and no other is looked up for a file",
            "give backbone= and its options yourself; medssl backbones lists them",
        )  # fmt: skip
    return {**found, "options": architecture(options)}


def features(model: Model, folder: Path):
    network = json.loads((folder / CONFIG).read_text())
    net = build(network["backbone"], **network["options"]).eval()
    net.load_state_dict(load_file(folder / "model.safetensors"))
    return net
