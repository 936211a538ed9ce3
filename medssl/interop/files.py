"""The files that exports are made of."""

import json
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from medssl.interop.model import Model


def plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Own, contiguous copies on the CPU: safetensors takes no shared or strided memory."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def write_weights(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file(plain(tensors), path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors lets only the owner read; these are meant to be passed on


def write_json(path: Path, values: dict) -> None:
    path.write_text(json.dumps(values, indent=1) + "\n")


def write_about(model: Model, folder: Path, usage: str, head: str = "") -> None:
    """README.md: what the model is, and how it is loaded."""
    code = f"## How to load it\n\n```python\n{usage.strip()}\n```\n"
    (folder / "README.md").write_text(f"{head}{model.about.rstrip()}\n\n{code}")
    write_json(folder / "card.json", model.card)
