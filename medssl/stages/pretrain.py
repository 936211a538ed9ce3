"""Pretrain a backbone on prepared scans, without labels.

Writes into the run folder: model/ (the backbone and its card), metrics.jsonl, pictures/ of what the
method sees and answers, checkpoints/. Started again on the same folder, a run that was killed goes
on and ends in the same bits. Scans of the splits val and test are left alone.
"""

from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field

from medssl.augment.compose import Augment, augmenter
from medssl.backbones.base import BACKBONES, pool
from medssl.backbones.decoder import UNetDecoder
from medssl.config import Config as Base
from medssl.config import Part, checked_parts
from medssl.data.crops import Crops, batches
from medssl.data.leakage import record
from medssl.data.store import Store
from medssl.data.subset import of_splits
from medssl.describe import shareable
from medssl.errors import UserError
from medssl.evaluation.collapse import health
from medssl.methods.base import METHODS
from medssl.progress import say
from medssl.reports.figures import as_png, method_picture
from medssl.trainable import checked
from medssl.training import run_folder
from medssl.training.card import card
from medssl.training.checkpoint import save_model
from medssl.training.loop import Fit, fit, to_channels_last
from medssl.training.optim import Optim
from medssl.training.start import backbone_of, parent_of

WATCHED = 32
TABLES = {"method": METHODS, "backbone": BACKBONES}


class Config(Base):
    examples: ClassVar = (
        "medssl pretrain voco store=store out=runs/voco",
        "medssl pretrain mae store=store out=runs/mae fit.steps=20000 method.mask_ratio=0.9",
    )
    store: Path = Field(Path("store"), description="folder that `medssl prepare` wrote")
    out: Path = Field(Path("run"), description="folder of the run; one that was killed is resumed")
    method: Part = Field(Part(name="mae"), description="how to learn without labels")
    backbone: Part = Field(Part(name="vit"), description="the network to pretrain")
    start: Path | None = Field(
        None, description="run or model folder to go on from, instead of backbone"
    )
    splits: list[str] = Field(
        ["train", ""], description="scans to use; empty: those without a split"
    )
    augment: Augment = Field(Augment(), description="how samples vary")
    fit: Fit = Field(Fit(), description="how long and on what")
    optim: Optim = Field(Optim(), description="how weights are updated")


def run(config: Config) -> Path:
    config = checked_parts(config, TABLES)
    store = Store.read_from(config.store)
    items = of_splits(store.items, config.splits)
    if items.empty:
        there = ", ".join(sorted(store.items["split"].replace("", "none").unique()))
        cause = f"no scan has one of these splits; those of the store: {there}"
        raise UserError("EMPTY", f"splits={','.join(config.splits)}", cause, "name some of those")
    torch.manual_seed(config.fit.seed)
    backbone, description, parent = backbone_of(store, config.start, config.backbone)
    augment = augmenter(config.augment, store.recipe.value_range)
    method = checked(
        config.method.build(METHODS, "method", backbone, augment), "method", "size", "pictures"
    )
    to_channels_last(method, backbone.ndim)
    kept = {"backbone": backbone}
    if isinstance(getattr(method, "decoder", None), UNetDecoder):
        kept["decoder"] = method.decoder.blocks  # `medssl finetune decoder=true` starts from them
    crops = Crops(store, list(items.index), method.crops, config.fit.seed)
    about = card(
        "pretrained",
        backbone=description,
        recipe=store.recipe.model_dump(),
        method=config.method.model_dump(),
        image_size=list(method.size),
        config=shareable(Config, config.model_dump(mode="json")),
        seen=record(parent, pretrain=items),
        parent=parent_of(parent),
    )
    settings = {**config.model_dump(mode="json"), "backbone_weights": about["parent"]}
    with run_folder.opened(config.out, settings):
        say(
            f"pretrain {config.method.name} on {len(items)} scans of {items['patient'].nunique()} patients"
        )
        if words := crops.smaller():
            say(f"remark: {words}")
        burned_in = "burned_in" in items and items["burned_in"].any()
        if burned_in:
            say("remark: some scans have text in their pixels; no pictures of crops are kept")

        def read(first: int, last: int):
            return batches(crops, config.fit.batch_size, first, last, config.fit.workers)

        for at in fit(method, read, config.fit, config.optim, config.out):
            at.log.write(at.step, **_health(method, crops))
            drawn = [] if burned_in else method.pictures(at.batch, at.step)
            for i, picture in enumerate(drawn):
                path = config.out / "pictures" / f"step-{at.step:08d}-{i}.png"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(as_png(method_picture(picture)))
            save_model(config.out / "model", kept, {**about, "steps": at.step})
    return run_folder.finished(config.out)


@torch.no_grad()
def _health(method, crops: Crops) -> dict[str, float]:
    """Spread and rank of the features of the first items, always the same ones."""
    features = []
    for number in range(min(len(crops), WATCHED)):
        image = torch.from_numpy(crops.read(number, number)["image"])[None]
        image = _middle(image, getattr(method, "crop", method.crops.size))
        features.append(pool(method.backbone(image.to(next(method.parameters()).device))))
    return health(torch.cat(features))


def _middle(image: torch.Tensor, size) -> torch.Tensor:
    """The middle of the image, in the size that the method shows its backbone."""
    pairs = zip(image.shape[2:], size, strict=True)
    return image[(..., *(slice((n - s) // 2, (n - s) // 2 + s) for n, s in pairs))]
