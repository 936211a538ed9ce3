"""A folder as Hugging Face keeps it: README.md with its head, config.json, model.safetensors.

Nothing is sent anywhere; `hf upload` does that with the folder, if one wants it.
"""

import re
from pathlib import Path

import yaml
from torch import nn

from medssl.errors import UserError
from medssl.interop import torch as as_torch
from medssl.interop.model import Model

HEAD = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


def admits(backbone: nn.Module) -> str:
    return ""


def write(model: Model, folder: Path) -> None:
    as_torch.write(model, folder, head=f"---\n{yaml.safe_dump(head(model))}---\n\n")


def head(model: Model) -> dict:
    """The README's head, by which a hub lists a model; no licence is made up."""
    card = model.card
    tags = ["medical-imaging", "radiology", "self-supervised-learning", f"{model.backbone.ndim}d"]
    tags += sorted({str(m).lower() for m in card.get("modalities", {}) if m})
    found = {"library_name": "medssl", "tags": tags, "pipeline_tag": "image-feature-extraction"}
    licence = card.get("licence") or ""
    return {**found, "license": licence.lower()} if licence else found


def features(model: Model, folder: Path):
    text = (folder / "README.md").read_text()
    told = HEAD.match(text)
    if not told or not isinstance(yaml.safe_load(told.group(1)), dict):
        raise UserError("EXPORT", folder / "README.md", "has no head", "report it")
    try:
        from huggingface_hub import ModelCard
    except ImportError:  # the folder's form is ours to check then
        return as_torch.features(model, folder)
    ModelCard.load(folder / "README.md")
    return as_torch.features(model, folder)
