"""Pretrain a backbone on prepared scans, without labels.

Writes into the run folder: model/ (the backbone and its card), metrics.jsonl, pictures/ of what the
method sees and answers, checkpoints/. Started again on the same folder, a run that was killed goes
on and ends in the same bits. Scans of the splits val and test are left alone. Whether the features
are still alive is measured on the way; an alarm says what has collapsed and what to try.
"""

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import torch
from pydantic import Field

from medssl import ranks
from medssl.augment.compose import Augment, augmenter
from medssl.backbones.base import BACKBONES
from medssl.backbones.decoder import UNetDecoder
from medssl.config import Config as Base
from medssl.config import Part, checked_parts
from medssl.data.crops import Crops
from medssl.data.files import write_atomically
from medssl.data.leakage import record
from medssl.data.selection import Selection
from medssl.data.store import Store
from medssl.data.subset import digest, of_splits
from medssl.describe import shareable
from medssl.errors import UserError
from medssl.methods.base import METHODS
from medssl.progress import say
from medssl.reports.method_figures import method_picture
from medssl.reports.style import as_png
from medssl.trainable import checked
from medssl.training import run_folder
from medssl.training.branch import Branch, branch_of, keys_beneath, keys_laid_over
from medssl.training.card import card, counts
from medssl.training.checkpoint import save_model
from medssl.training.launch import opened
from medssl.training.log import MetricsLog
from medssl.training.loop import Fit, fit, to_channels_last
from medssl.training.optim import Optim
from medssl.training.profile import profiled, read_by
from medssl.training.start import backbone_of, parent_of
from medssl.training.trackers import tracking
from medssl.training.watch import Watch

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
    branch: bool = Field(
        False, description="go on from start's whole state and with its keys: heads, optimiser and step, not "
        "its backbone alone; with optim.schedule=anneal this is always so",
    )  # fmt: skip
    splits: list[str] = Field(
        ["train", ""], description="scans to use; empty: those without a split"
    )
    selection: Path | None = Field(
        None, description="folder that `medssl reduce` wrote: what of the store is used; none: all"
    )
    augment: Augment = Field(Augment(), description="how samples vary")
    fit: Fit = Field(Fit(), description="how long and on what")
    optim: Optim = Field(Optim(), description="how weights are updated")
    profile: bool = Field(False, description="say how long the parts of a step take")

    @classmethod
    def beneath(cls, values: dict[str, Any]) -> dict[str, Any]:
        """A branch takes the keys of its run."""
        there = keys_beneath(values)
        return {key: value for key, value in there.items() if key in cls.model_fields}


def scans_of(config: Config) -> tuple[Store, pd.DataFrame, pd.DataFrame, Selection | None]:
    """The store, its scans of the splits asked for, those of them that are used, and the selection that says
    so, if any. Raises UserError EMPTY if no scan has one of the splits, or none is used."""
    store = Store.read_from(config.store)
    items = of_splits(store.items, config.splits)
    if items.empty:
        there = ", ".join(sorted(store.items["split"].replace("", "none").unique()))
        cause = f"no scan has one of these splits; those of the store: {there}"
        raise UserError("EMPTY", f"splits={','.join(config.splits)}", cause, "name some of those")
    selection = Selection.read(config.selection, store) if config.selection else None
    return store, items, selection.of(items) if selection else items, selection


def run(config: Config) -> Path:
    config = checked_parts(config, TABLES)
    branch = branch_asked(config)
    store, asked, items, selection = scans_of(config)
    torch.manual_seed(config.fit.seed)
    backbone, description, parent = backbone_of(
        store, branch.run if branch else config.start, config.backbone
    )
    augment = augmenter(config.augment, store.recipe.value_range)
    method = checked(
        config.method.build(METHODS, "method", backbone, augment), "method", "size", "pictures"
    )
    taught = teach(method, store, config)
    to_channels_last(method, backbone.ndim)
    kept = {"backbone": backbone}
    if isinstance(getattr(method, "decoder", None), UNetDecoder):
        kept["decoder"] = method.decoder.blocks  # `medssl finetune decoder=true` starts from them
    slices = selection.slices if selection else None
    crops = Crops(store, list(items.index), method.crops, config.fit.seed, slices=slices)
    shared = config.model_dump(mode="json") | {"method": config.method.model_dump()}
    shared = shareable(Config, shared)
    about = card(
        "pretrained",
        backbone=description,
        recipe=store.recipe.model_dump(),
        method=shared["method"],
        image_size=list(method.size),
        whole=method.crops.whole and tuple(method.crops.size) == tuple(method.size),
        config=shared,
        seen=record(parent, taught, pretrain=items),
        counts={**parent.get("counts", {}), **counts({"pretrain": items})},
        parent=branch.parent() if branch else parent_of(parent),
        selection=selection.summary if selection else {},
    )
    settings = {**config.model_dump(mode="json"), "backbone_weights": about["parent"]}
    if taught:
        settings["teacher_weights"] = parent_of(taught)
    if selection:
        settings["selected"] = about["selection"]
    with (
        opened(config.out, settings, config.optim.raised),
        profiled(config.profile, config.out, config.fit, config.fit.workers) as reading,
        tracking(config.fit.track, config.out, about["config"]) as tracker,
    ):
        ranks.check_same(config.store, digest(items))
        say(
            f"pretrain {config.method.name} on {len(items)} scans of {items['patient'].nunique()} patients"
        )
        if branch:
            over = keys_laid_over(branch, config.model_dump(mode="json"))
            but = f", but for {over}" if over else ""
            say(f"a branch of {config.start} from step {branch.step} on, with its keys{but}")
        if selection:
            say(selection.words(asked))
        if words := crops.smaller():
            say(f"remark: {words}")
        if not parent and not any(p.requires_grad for p in backbone.parameters()):
            say("remark: the backbone rests, at its random first weights; give start=RUN")
        burned_in = "burned_in" in items and items["burned_in"].any()
        if burned_in:
            say("remark: some scans have text in their pixels; no pictures of crops are kept")

        read = partial(read_by, crops, config.fit, config.profile, reading)
        scans = [scan for scan, _ in crops.items]

        if branch:
            branch = ranks.from_first(partial(branch.keep, config.out))
        watch = Watch(crops, method.size, augment)
        method.to(config.fit.take())
        ranks.from_first(lambda: watch.begin(method, MetricsLog(config.out, tracker)))
        for at in fit(method, read, config.fit, config.optim, config.out, scans, branch, tracker):
            # On every rank, as a method may look at all samples of the batch.
            drawn = [] if burned_in else method.pictures(at.batch, at.step)
            if ranks.rank():
                continue
            alarm = watch.go_on(method, at.step, at.log)
            for i, picture in enumerate(drawn):
                path = config.out / "pictures" / f"step-{at.step:08d}-{i}-{picture['kind']}.png"
                path.parent.mkdir(exist_ok=True)
                png = as_png(method_picture(picture))
                write_atomically(path, lambda p, png=png: p.write_bytes(png))
            save_model(config.out / "model", kept, {**about, "steps": at.step, "alarm": alarm})
    return run_folder.finished(config.out)


def teach(method: torch.nn.Module, store: Store, config: Config) -> dict:
    """Hand a method that learns from another run the network of that run; returns that run's card, or {}."""
    option = getattr(method, "learns_from", "")
    if not option:
        return {}
    run = config.method.options.get(option)
    if run is None:
        raise UserError(
            "CONFIG", f"method.{option}", f"is not given, and {config.method.name} learns from a run",
            f"add method.{option}=RUN",
        )  # fmt: skip
    backbone, _, card = backbone_of(store, run, config.backbone)
    method.learn_from(backbone)
    return card


def branch_asked(config: Config) -> Branch | None:
    """What a run goes on from with its whole state. Raises UserError for keys that do not go together."""
    anneal = config.optim.schedule == "anneal"
    if not (config.branch or anneal):
        return None
    if config.start is None:
        raise UserError(
            "CONFIG", "optim.schedule=anneal" if anneal else "branch=true",
            "goes on from a run, and none is given", "add start=RUN",
        )  # fmt: skip
    return branch_of(config.start, config.out, config.model_dump(mode="json"))
