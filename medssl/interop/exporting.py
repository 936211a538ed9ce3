"""Backbones for other libraries: written, loaded again there, and compared before it is done."""

import importlib
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from medssl.errors import UserError, one_line
from medssl.interop.model import Model

# A target is a module with
#   admits(backbone) -> str            why not, or nothing
#   write(model, folder)               files that its library reads
#   features(model, folder) -> function of an image, by the library's own network, strictly loaded
TARGETS = {
    "timm": "medssl.interop.timm",
    "monai": "medssl.interop.monai",
    "nnunet": "medssl.interop.nnunet",
    "hub": "medssl.interop.hub",
    "torch": "medssl.interop.torch",
    "onnx": "medssl.interop.onnx",
}
CLOSE = 1e-5


def target(name: str) -> ModuleType:
    return importlib.import_module(TARGETS[name])


def admitted(backbone: nn.Module) -> dict[str, str]:
    """Why each target does not take the backbone, or nothing."""
    return {name: target(name).admits(backbone) for name in TARGETS}


def export(model: Model, to: str, folder: Path) -> float:
    """Write the model into a new folder, load it there, and give the largest difference of features,
    in parts of a level's largest one where that is over 1.

    Raises UserError EXPORT where the target does not take it or gives other features, INSTALL where a
    library is missing.
    """
    if why := target(to).admits(model.backbone):
        takers = [name for name, cause in admitted(model.backbone).items() if not cause]
        raise UserError(
            "EXPORT", f"to={to}", f"{model.name}: {why}",
            f"choose one of {', '.join(takers)}, or another backbone (medssl backbones lists them)",
        )  # fmt: skip
    target(to).write(model, folder)
    try:
        theirs = target(to).features(model, folder)
    except RuntimeError as error:  # how torch says that names or shapes do not fit
        raise UserError(
            "EXPORT", f"to={to}", f"{to} does not load what was written ({one_line(error, 300)})",
            "the folder was not made; report it with the versions that medssl doctor tells",
        ) from error  # fmt: skip
    difference = compared(model, theirs)
    if not difference <= CLOSE:
        raise UserError(
            "EXPORT", f"to={to}", f"loaded there, the features differ by {difference:.1e}, more than "
            f"{CLOSE:.0e}", "the folder was not made; report it with the versions of medssl doctor",
        )  # fmt: skip
    return difference


@torch.no_grad()
def compared(model: Model, theirs) -> float:
    """The largest difference between our features and theirs, of an image that is not repeated."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, model.backbone.in_channels, *model.size, generator=generator)
    ours, others = model.backbone.eval()(image), theirs(image)
    if [o.shape for o in ours] != [o.shape for o in others]:
        return float("inf")
    return max(_apart(a, b) for a, b in zip(ours, others, strict=True))


def _apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / a.abs().max().clamp(min=1))
