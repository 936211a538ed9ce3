"""Train a head, and the backbone under it, on labelled scans.

`backbone=RUN` starts from a pretrained backbone (with `from_scratch=true` only its architecture is
taken); without it `arch` is trained from scratch. The validation split chooses which weights are
kept. Writes into the run folder: model/ (enough to predict), metrics.jsonl, checkpoints/.
"""

from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from medssl import ranks
from medssl.augment.compose import Augment
from medssl.backbones.base import BACKBONES
from medssl.config import Config as Base
from medssl.config import Part, checked_parts
from medssl.data.crops import Crops
from medssl.data.leakage import record
from medssl.data.subset import digest
from medssl.data.truths import Truths
from medssl.describe import shareable
from medssl.progress import say, track
from medssl.stages.finetune.labels import refuse_leaks, scans_of
from medssl.stages.finetune.model import Head, decoder_of
from medssl.stages.finetune.sizes import check_axes, check_multiples
from medssl.tasks.base import TASKS
from medssl.trainable import checked
from medssl.training import run_folder
from medssl.training.card import card, counts, figure_of, nothing_learnt
from medssl.training.checkpoint import load_weights, read_card, save_model
from medssl.training.launch import opened
from medssl.training.log import since_best
from medssl.training.loop import Fit, Moment, fit, to_channels_last
from medssl.training.optim import Optim
from medssl.training.profile import profiled, read_by
from medssl.training.start import backbone_of, parent_of
from medssl.training.trackers import tracking

TABLES = {"task": TASKS, "arch": BACKBONES}


class Config(Base):
    examples: ClassVar = (
        "medssl finetune segmentation backbone=runs/voco store=store out=runs/liver",
        "medssl finetune classification store=films target=label_class labelled=20 draw=1 out=runs/few",
    )
    store: Path = Field(Path("store"), description="folder that `medssl prepare` wrote")
    out: Path = Field(Path("run"), description="folder of the run; one that was killed is resumed")
    task: Part = Field(Part(name="segmentation"), description="what to answer")
    backbone: Path | None = Field(None, description="run or model folder of a pretrained backbone")
    from_scratch: bool = Field(False, description="take only the architecture of backbone")
    decoder: bool = Field(False, description="also start from the decoder that was pretrained")
    arch: Part = Field(Part(name="res_unet"), description="network when there is no backbone=")
    target: list[str] = Field(
        [], description="label column of the manifest to learn; several for multilabel"
    )
    classes: dict[int, str] = Field(
        {},
        description="names of mask values, classes of boxes, or the order of classes and grades; "
        "empty: class_1, ... or all there are",
    )
    others: bool = Field(False, description="mask values that classes does not name are background")
    boxes_of_masks: bool = Field(
        False, description="boxes to detect are those around the connected parts of label masks"
    )
    smallest: int = Field(1, description="parts of fewer prepared voxels are no boxes", ge=1)
    splits: Path | None = Field(
        None,
        description="CSV of id and split, or nnU-Net's splits_final.json, in place of the store's",
    )
    fold: int = Field(0, description="which fold of a splits_final.json", ge=0)
    labelled: int = Field(0, description="how many labelled scans to train on; 0: all", ge=0)
    draw: int = Field(0, description="which draw of them", ge=0)
    validation: int = Field(0, description="how many validation scans to score; 0: all", ge=0)
    patience: int = Field(
        0, description="validations without a gain after which training ends; 0: never", ge=0
    )
    allow_overlap: bool = Field(
        False, description="go on when held-out patients were pretrained on"
    )
    augment: Augment = Field(Augment(), description="how samples vary")
    fit: Fit = Field(Fit(every=200), description="how long and on what")
    optim: Optim = Field(Optim(), description="how weights are updated")
    profile: bool = Field(False, description="say how long the parts of a step take")


def run(config: Config) -> Path:
    config = checked_parts(config, TABLES)
    truths, train, validation = scans_of(config)
    store, columns = truths.store, truths.columns
    config = config.model_copy(update={"target": columns})
    torch.manual_seed(config.fit.seed)
    backbone, description, parent = backbone_of(
        store, config.backbone, config.arch, config.from_scratch
    )
    check_axes(config.task.options.get("size", ()), backbone, store)  # before any label is read
    classes = truths.classes(train)
    truths.read(classes)
    remarks = [f"training: {r}" for r in truths.remarks(train, classes, strict=True)]
    remarks += [f"validation: {r}" for r in truths.remarks(validation, classes, strict=True)]
    remarks += truths.gaps(train, validation)
    refuse_leaks(parent, truths.labelled(), train, config)
    task = config.task.build(
        TASKS, "task", backbone, config.augment, classes, store.recipe.value_range
    )
    checked(task, "task", "size", "predict", "validate")
    check_axes(task.size, backbone, store)
    check_multiples(task, backbone)
    if config.decoder and parent:
        load_weights(config.backbone, decoder_of(task), "decoder")
    if truths.targets is not None:
        task.learn_targets([truths.targets[i] for i in train.index])
    to_channels_last(task, backbone.ndim)
    crops = Crops(
        store, list(train.index), task.crops, config.fit.seed, truths.for_crops(),
        points=truths.points(),
    )  # fmt: skip
    about = card(
        "finetuned",
        start=_start(parent),
        backbone=description,
        recipe=store.recipe.model_dump(),
        task=config.task.model_dump(),
        classes=classes,
        target=columns,
        trained_on=len(train),
        config=shareable(Config, config.model_dump(mode="json")),
        seen=record(parent, train=train, validation=validation),
        counts={**parent.get("counts", {}), **counts({"train": train, "validation": validation})},
        parent=parent_of(parent),
    )
    # A backbone that has been trained on since is another one, and so are other scans of the same file.
    settings = {**config.model_dump(mode="json"), "backbone_weights": about["parent"]}
    settings["scans"] = {"train": digest(train), "validation": digest(validation)}
    with (
        opened(config.out, settings, config.optim.raised),
        profiled(config.profile, config.out, config.fit, config.fit.workers) as reading,
        tracking(config.fit.track, config.out, about["config"]) as tracker,
    ):
        ranks.check_same(config.store, digest(train))
        say(f"finetune {config.task.name} on {len(train)} scans, {about['start']}")
        say(truths.told(classes, train))
        if crops.slices:
            say(
                f"reads {store.recipe.plane} slices; for volumes give a 3D backbone (arch=res_unet) and "
                "task.size of three"
            )
        for words in filter(None, [*remarks, crops.smaller()]):
            say(f"remark: {words}")

        read = partial(read_by, crops, config.fit, config.profile, reading)
        scans = [scan for scan, _ in crops.items]
        optim = config.optim if parent else config.optim.for_new_weights()
        for at in fit(task, read, config.fit, optim, config.out, scans, tracker=tracker):
            validated = partial(_validated, at, task, truths, validation, about, config)
            if ranks.from_first(validated):
                say(f"step {at.step}: no gain in {config.patience} validations; training ends here")
                break
    about = read_card(config.out)
    if about["validation"] is not None:
        say(
            f"kept are the weights of step {about['steps']}, whose validation {figure_of(about)} of "
            f"{len(validation)} scans is {about['validation']:.4f}"
        )
    if words := nothing_learnt(about):
        say(f"remark: {words}")
    return run_folder.finished(config.out)


def _validated(
    at: Moment, task, truths: Truths, validation: pd.DataFrame, about: dict, config: Config
) -> bool:
    """Score validation scans, and keep weights that are the best so far; whether training ends here."""
    earlier = [row.get("validation") for row in at.log.rows()]
    earlier = [score for score in earlier if score is not None]
    if n := len(validation):
        say(f"step {at.step}: validate {n} scan{'s' * (n > 1)}")
    cases = track(truths.held_out(validation), "validate", len(validation), "scans")
    score = task.validate(cases)
    figure = getattr(task, "figure", "score")
    if score is not None:
        at.log.write(at.step, validation=score)
        say(f"step {at.step}: validation {figure} {score:.4f}")
    elif len(validation):
        say(f"step {at.step}: no validation scan holds a class to score")
    if score is None or score >= max(earlier, default=-np.inf):
        modules = {"backbone": task.backbone, "task": Head(task)}
        told = {**about, "steps": at.step, "validation": score, "figure": figure}
        told["chance"] = getattr(task, "chance", None)
        save_model(config.out / "model", modules, told)
    if not config.patience or score is None:
        return False
    return since_best([*earlier, score]) >= config.patience


def _start(parent: dict) -> str:
    """What the weights were before this run."""
    if not parent:
        return "from scratch"
    if parent["kind"] == "imported":
        return f"imported from {parent['source']['file']}"
    if "method" in parent:
        return f"pretrained with {parent['method']['name']}"
    return f"fine-tuned before for {parent['task']['name']}"
