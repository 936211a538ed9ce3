"""Pass a backbone on to another library, loaded there and compared before it is called done.

timm     a folder for timm.create_model("local-dir:..."), with timm's names and config.json
monai    SwinUNETR (also as MONAI's SSL weights), ViT and UNETR, SegResNetDS, ResNet, DynUNet
nnunet   a checkpoint with nnssl's adaptation plan, and the architecture for a plans file
hub      a Hugging Face folder: README.md with its head, config.json, model.safetensors
torch    a state dict as safetensors, and the card
onnx     a graph for images of one size, batches of any

Every export is strictly loaded again by the library it is for, in the same command, and its features
are compared with ours; a folder that fails is not made. Of a fine-tuned run the backbone is passed on,
without the head. `medssl backbones` says which networks each target takes.
"""

import os
import shutil
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field

from medssl.backbones.base import build
from medssl.config import Config as Base
from medssl.config import Count
from medssl.errors import UserError
from medssl.interop.exporting import export
from medssl.interop.model import Model, fitting_size
from medssl.progress import say
from medssl.training import registry
from medssl.training.card import as_markdown, passed_on
from medssl.training.checkpoint import load_weights, read_card

Target = Literal["timm", "monai", "nnunet", "hub", "torch", "onnx"]


class Config(Base):
    positional: ClassVar = ("run",)
    examples: ClassVar = (
        "medssl export runs/voco to=monai out=voco_monai",
        "medssl export runs/mae to=hub out=mae_ct licence=apache-2.0",
        "medssl export runs/spark to=timm",
    )
    run: Path = Field(description="run or model folder")
    to: Target = Field(description="the library it is for")
    out: Path | None = Field(None, description="new folder; none: RUN/export/TO")
    size: list[Count] = Field(
        [], description="of the image it is tried with, and of fixed positions; empty: as trained"
    )
    licence: str = Field("", description="licence of the weights; empty: what the card says")


def run(config: Config) -> Path:
    card = read_card(config.run)
    out = config.out or config.run / "export" / config.to
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError("CONFIG", f"out={out}", "is there already", "choose a new folder")
    name, options = card["backbone"]["name"], dict(card["backbone"]["options"])
    backbone = build(name, **options).eval()
    load_weights(config.run, backbone, "backbone")
    about = passed_on(card, config.licence, _figures(config.run))
    del options["in_channels"]
    size = fitting_size(backbone, config.size or _trained_on(card, backbone))
    model = Model(backbone, name, options, size, about, as_markdown(about))
    if card["kind"] == "finetuned":
        say("remark: the backbone is passed on; the head stays, as medssl's own")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        difference = export(model, config.to, temporary)
        if out.exists():
            out.rmdir()  # empty, or it was refused above
        os.rename(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    n = sum(p.numel() for p in backbone.parameters())
    say(f"{name}, {n:,} parameters, strictly loaded again for {config.to} (torch {torch.__version__}); "
        f"features of an image of {'x'.join(map(str, size))} differ by {difference:.1e} at most")  # fmt: skip
    return out


def _figures(run: Path) -> dict:
    """What a run was found to be worth, with intervals: of its evaluation, and of its probe."""
    found = registry.read(run)
    if found.stale:
        say("remark: the run's evaluation is of other weights than it has now; left out")
    scored = None if found.stale else found.evaluation
    figures = {
        f"{scored.split} {name}": figure.model_dump() for name, figure in scored.metrics.items()
    } if scored else {}  # fmt: skip
    return figures | {
        f"probe {name}": probe.pretrained.model_dump() for name, probe in found.probe.items()
    }


def _trained_on(card: dict, backbone) -> list[int]:
    """The image size of the card, where the network takes it: methods and tasks keep it elsewhere."""
    size = card.get("image_size") or card.get("task", {}).get("size") or []
    fits = len(size) == backbone.ndim and all(
        s % d == 0 for s, d in zip(size, backbone.divisor, strict=True)
    )
    # One place left would compare nothing, and some norms do not take it.
    roomy = fits and all(s >= 2 * d for s, d in zip(size, backbone.divisor, strict=True))
    return list(size) if roomy else []
