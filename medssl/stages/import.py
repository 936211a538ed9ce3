"""Take over published weights, with an account of every parameter.

The file is read without running anything in it. Names are matched whatever stands before them, and
shapes are adapted by named rules (input channels, position embeddings, patch size, kernels, windows,
2D to 3D). What became of every tensor is printed, and written to ledger.csv and ledger.json: loaded,
adapted (how), missing (random), skipped (why). Less than `least` of the encoder is an error. The
folder that is written goes to pretrain as start=, and to finetune as backbone=.

A folder that export to=torch or to=hub made says itself which network, recipe, image size and licence
its weights are of: what is not asked for otherwise is as its config.json has it.

Weights say nothing of how scans were prepared: the recipe is the preset's, the store's or your own.
With range=0,1 a network that saw the window as 0 to 1 takes ours, -1 to 1, as if it were that.
"""

from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field

from medssl.backbones.base import BACKBONES, architecture, build
from medssl.command_line import of
from medssl.config import Config as Base
from medssl.config import Count, Part, Share, checked_parts
from medssl.data.files import write_csv, write_json
from medssl.data.recipe import Recipe
from medssl.data.store import Store
from medssl.describe import shareable
from medssl.errors import UserError
from medssl.interop.importing import match
from medssl.interop.ledger import Ledger
from medssl.interop.ranges import fold
from medssl.interop.reading import read_weights, weights_file
from medssl.interop.torch import CONFIG, read_config
from medssl.progress import say
from medssl.training.card import card
from medssl.training.checkpoint import save_model
from medssl.training.durable import sha256

TABLES = {"backbone": BACKBONES}
SHOWN = 3


class Config(Base):
    positional: ClassVar = ("weights",)
    examples: ClassVar = (
        "medssl import swin_unetr_ssl weights=model_swinvit.pt out=models/swin",
        "medssl import weights=resnet50.pth backbone.name=timm backbone.model=resnet50 store=films",
        "medssl import nnssl weights=checkpoint_final.pth out=models/resenc least=0.99",
        "medssl import weights=exported out=models/theirs",
    )
    weights: Path = Field(
        Path("model.safetensors"),
        description="file of a state dict (.safetensors, .pt, .pth), or its folder",
    )
    out: Path = Field(Path("imported"), description="new folder of the model")
    backbone: Part = Field(
        Part(name="swin_unetr"),
        description="the network that the weights are for; of an exported folder: as it says",
    )
    in_channels: Count = Field(1, description="channels of the scans that it shall take")
    prefix: str | None = Field(
        None, description="that stands before the names in the file; none: the one that fits best"
    )
    axes: Literal["xyz", "zyx"] = Field(
        "xyz", description="order of axes that volumes had; zyx (nnU-Net, SimpleITK): turned round"
    )
    range: list[float] = Field(
        [], description="values that they were trained on, e.g. 0,1, folded into the first layer"
    )
    least: Share = Field(0.95, description="share of the encoder's parameters that must be filled")
    store: Path | None = Field(None, description="store whose recipe and channels the model gets")
    recipe: Recipe = Field(Recipe(), description="how scans are prepared for it, without a store")
    size: list[Count] = Field(
        [], description="of the images it was trained on, for probe and embed"
    )
    licence: str = Field("", description="licence of the weights, as their makers say it")
    seed: int = Field(0, description="of weights that the file does not fill", ge=0)


def run(config: Config) -> Path:
    out = config.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError("CONFIG", f"out={out}", "is there already", "choose a new folder")
    file = weights_file(config.weights)
    config = checked_parts(_as_exported(config, file.parent), TABLES)
    if config.range and (len(config.range) != 2 or not config.range[0] < config.range[1]):
        raise UserError(
            "CONFIG", f"range={','.join(map(str, config.range))}", "is no lowest and highest value",
            "e.g. range=0,1",
        )  # fmt: skip
    recipe, channels = config.recipe, config.in_channels
    if config.store:
        store = Store.read_from(config.store)
        recipe, channels = store.recipe, store.channels
    source = read_weights(file)
    if config.axes == "zyx":
        source = {k: v.permute(0, 1, 4, 3, 2) if v.ndim == 5 else v for k, v in source.items()}
    torch.manual_seed(config.seed)
    options = {**config.backbone.options, "in_channels": channels}
    backbone = build(config.backbone.name, **options)
    ledger = match(backbone, source, config.prefix, file)
    if config.range and recipe.intensity == "zscore":
        raise UserError(
            "CONFIG", "range", "scans that are z-scored have no lowest and highest value",
            "leave range out, or give the recipe that the weights were trained on",
        )  # fmt: skip
    if config.range:
        fold(backbone, ledger, config.range, recipe.value_range)
    say(f"{file.name} for {config.backbone.name}: {ledger.share:.2%} of "
        f"{ledger.count('loaded', 'adapted', 'missing'):,} parameters filled")  # fmt: skip
    for line in str(ledger).splitlines():
        say(f"  {line}")
    if ledger.share < config.least:
        raise _too_few(ledger, config)
    asked = shareable(Config, config.model_dump(mode="json"))
    about = card(
        "imported",
        backbone={"name": config.backbone.name, "options": architecture(options)},
        recipe=recipe.model_dump(),
        image_size=list(config.size),
        whole=False,
        licence=config.licence,
        source={"file": asked["weights"], "sha256": sha256(file)},
        ledger=ledger.summary,
        config=asked,
        seen={"patients": {}, "scans": {}, "patient_key": ""},
        counts={},
        steps=0,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    save_model(out, {"backbone": backbone}, about)
    write_csv(out / "ledger.csv", ledger.table)
    write_json(out / "ledger.json", {**ledger.summary, "tensors": ledger.rows})
    return out


def _as_exported(config: Config, folder: Path) -> Config:
    """Unless a network is asked for, what was not asked for as an exported folder's config.json says."""
    if "backbone" in config.model_fields_set or not (found := read_config(folder)):
        return config
    options = found["options"]
    said = {
        "in_channels": options.pop("in_channels", 1),
        "backbone": {**options, "name": found["backbone"]},
        "recipe": found.get("preprocessing") or {},
        "size": found.get("image_size") or [],
        "licence": found.get("licence") or "",
    }
    asked = {key: getattr(config, key) for key in config.model_fields_set}
    try:
        made = checked_parts(of(Config, "import", values={**said, **asked}), TABLES)
    except UserError as error:
        raise UserError(
            "WEIGHTS", folder / CONFIG, f"{error.where}: {error.cause}", "give backbone= and its options"
        ) from error  # fmt: skip
    say(f"{CONFIG}: {made.backbone.name}, as it was exported")
    return made


def _too_few(ledger: Ledger, config: Config) -> UserError:
    missing = [row for row in ledger.rows if row["status"] == "missing"]
    first = "; ".join(f"{row['weight']}: {row['how']}" for row in missing[:SHOWN])
    mismatch = any("here" in row["how"] for row in missing)
    return UserError(
        "WEIGHTS", config.weights,
        f"fills {ledger.share:.1%} of the encoder's parameters, least={config.least:g} asks for more "
        f"({first})",
        ("set the backbone's options to those of the file, " if mismatch
         else "choose the backbone that the weights were made for, or their prefix=, ")
        + f"or go on with the rest at random: least={int(ledger.share * 100) / 100:g}",
    )  # fmt: skip
