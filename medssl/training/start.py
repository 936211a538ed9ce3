"""The network that a run starts with: of an architecture, or of a model that was trained before."""

from pathlib import Path

from torch import nn

from medssl.backbones.base import TRAINING_ONLY, architecture, build
from medssl.config import Part
from medssl.data.store import Store
from medssl.errors import UserError
from medssl.progress import say
from medssl.training.card import planned
from medssl.training.checkpoint import load_weights, read_card


def backbone_of(
    store: Store, model: Path | None, otherwise: Part, from_scratch: bool = False
) -> tuple[nn.Module, dict, dict]:
    """The backbone, the description that its card gets, and the card of the model it came from ({}).

    With `model` its architecture and, unless `from_scratch`, its weights; without, what `otherwise`
    names. How it is trained (drop_path) is as `otherwise` says, if that is the same kind.
    Raises UserError where the model takes other scans than the store's.
    """
    if model is None:
        options = {"in_channels": store.channels, **otherwise.options}
        description = {"name": otherwise.name, "options": architecture(options)}
        return build(otherwise.name, **options), description, {}
    parent = read_card(model)
    description = parent["backbone"]
    if description["options"]["in_channels"] != store.channels:
        raise UserError(
            "CONFIG", model,
            f"takes {description['options']['in_channels']} channels, the store has {store.channels}",
            "prepare scans as the backbone was pretrained on",
        )  # fmt: skip
    if otherwise.name == description["name"]:
        anew = {key: value for key, value in otherwise.options.items() if key in TRAINING_ONLY}
        description = {**description, "options": {**description["options"], **anew}}
    backbone = build(description["name"], **description["options"])
    recipe = store.recipe.model_dump()
    different = [key for key, value in recipe.items() if parent["recipe"].get(key) != value]
    if different:
        say(
            f"remark: the backbone was pretrained with another recipe ({', '.join(different)} differ)"
        )
    if from_scratch:
        return backbone, description, {}
    asked = planned(parent)
    if parent["steps"] < asked:
        say(f"remark: the backbone's training stopped at step {parent['steps']} of {asked}")
    if parent.get("alarm"):
        say(f"remark: the backbone was found collapsed: {parent['alarm']}")
    load_weights(model, backbone, "backbone")
    return backbone, description, parent


def parent_of(parent: dict) -> dict:
    """What a card keeps of the model that its run started from: which one it was, exactly."""
    return {key: parent[key] for key in ("steps", "weights_sha256")} if parent else {}
