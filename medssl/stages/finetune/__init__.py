"""Train a head, and the backbone under it, on labelled scans.

`backbone=RUN` starts from a pretrained backbone (with `from_scratch=true` only its architecture is
taken); without it `arch` is trained from scratch. The validation split chooses which weights are
kept. Writes into the run folder: model/ (enough to predict), metrics.jsonl, checkpoints/.
"""

from collections.abc import Sequence
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
from medssl.backbones.base import build as build_backbone
from medssl.config import Config as Base
from medssl.config import Part, checked_parts, resolve
from medssl.data.crops import Crops
from medssl.data.folds import resplit
from medssl.data.leakage import PARTS, look_alikes, overlap, record, refuse_overlap
from medssl.data.recipe import Recipe
from medssl.data.store import Store
from medssl.data.subset import digest, few, of_splits
from medssl.data.truths import TRUTHS, Truths
from medssl.describe import plain, shareable
from medssl.errors import UserError
from medssl.progress import say, track
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

LARGEST = {2: 256, 3: 96}  # side of a size that is proposed, voxels
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
    _check_axes(config.task.options.get("size", ()), backbone, store)  # before any label is read
    classes = truths.classes(train)
    truths.read(classes)
    remarks = [f"training: {r}" for r in truths.remarks(train, classes, strict=True)]
    remarks += [f"validation: {r}" for r in truths.remarks(validation, classes, strict=True)]
    remarks += truths.gaps(train, validation)
    _refuse_leaks(parent, truths.labelled(), train, config)
    task = config.task.build(
        TASKS, "task", backbone, config.augment, classes, store.recipe.value_range
    )
    checked(task, "task", "size", "predict", "validate")
    _check_axes(task.size, backbone, store)
    _check_multiples(task, backbone)
    if config.decoder and parent:
        load_weights(config.backbone, _decoder(task), "decoder")
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
        modules = {"backbone": task.backbone, "task": _Head(task)}
        told = {**about, "steps": at.step, "validation": score, "figure": figure}
        told["chance"] = getattr(task, "chance", None)
        save_model(config.out / "model", modules, told)
    if not config.patience or score is None:
        return False
    return since_best([*earlier, score]) >= config.patience


def scans_of(config: Config) -> tuple[Truths, pd.DataFrame, pd.DataFrame]:
    """What is known of the store's scans, those that are trained on and those that validate."""
    kind = resolve(config.task.name, TASKS, "task")
    _check_asked(config, kind)
    store = Store.read_from(config.store)
    if config.splits:
        store.items = resplit(store.items, config.splits, config.fold)
    # A column as the user's table calls it.
    columns = [f"label_{t}" if f"label_{t}" in store.items else t for t in config.target]
    truths = truths_of(kind, store, columns, config.classes, config.model_dump())
    labelled = truths.labelled()
    train = few(of_splits(labelled, ["train"]), config.labelled, config.draw, truths.stratify)
    validation = few(of_splits(labelled, ["val"]), config.validation, 0, truths.stratify)
    if train.empty:
        raise UserError(
            "EMPTY", config.store, "no labelled scan has the split train",
            "give splits= or labels= to `medssl index`, then prepare again",
        )  # fmt: skip
    return truths, train, validation


def _check_asked(config: Config, kind: type) -> None:
    """Raise UserError CONFIG for what can be told before anything is read."""
    target = f"target={','.join(config.target)}"
    if config.target and kind.learns != "answers":
        cause, fix = (
            f"this task learns from {kind.learns}",
            "leave target out, or fine-tune classification",
        )
        raise UserError("CONFIG", target, cause, fix)
    if len(set(config.target)) < len(config.target):
        raise UserError("CONFIG", target, "names a column twice", "name every column once")
    if config.optim.schedule == "anneal":
        raise UserError(
            "CONFIG", "optim.schedule=anneal", "is for a branch of a pretraining run",
            "use schedule=cosine, which ends low",
        )  # fmt: skip
    if config.decoder and not config.backbone:
        cause = "there is no backbone= that a decoder could have been trained with"
        raise UserError("CONFIG", "decoder=true", cause, "give backbone=, or leave decoder out")


def _check_multiples(task, backbone: torch.nn.Module) -> None:
    """Whole scans are fitted into `task.size`; what is cut out of them is padded where it must be."""
    if task.learns == "answers" and any(
        n % d for n, d in zip(task.size, backbone.divisor, strict=True)
    ):
        raise UserError(
            "CONFIG", "task.size",
            f"found {plain(list(task.size))}, the network takes multiples of {plain(list(backbone.divisor))}",
            f"use {plain(_multiples(task.size, backbone))}",
        )  # fmt: skip


def _multiples(size: Sequence[float], backbone: torch.nn.Module) -> list[int]:
    """The nearest size that the network takes."""
    return [max(1, round(n / d)) * d for n, d in zip(size, backbone.divisor, strict=True)]


def truths_of(
    task: type, store: Store, target: list[str], classes: dict, settings: dict, scored: bool = False
) -> Truths:
    """What a kind of task learns from; `settings` of a fine-tuning say how masks and boxes are read.

    scored  what the model has not learnt is background
    """
    kind = TRUTHS[task.learns]
    reads = task.answer_of.reads if hasattr(task, "answer_of") else ""
    others = settings.get("others", False)
    how = {
        "others": others or scored,
        "expected": others and bool(settings.get("classes")),
        "of_masks": settings.get("boxes_of_masks", False),
        "smallest": settings.get("smallest", 1),
    }
    return kind(store, target, reads, classes, **how)


def _check_axes(size: Sequence[int], backbone: torch.nn.Module, store: Store) -> None:
    """Raise UserError CONFIG for a size of other axes than the network's, with one that would do."""
    d = backbone.ndim
    if not size or len(size) == d:
        return
    if store.ndim < d:
        cause = f"has {d} axes, the scans are films"
        raise UserError("CONFIG", "arch", cause, "take a network of two axes, such as arch=timm")
    usual = np.median([store.shape(i)[:d] for i in store.items.index], axis=0)
    fitting = _multiples(usual * min(1, LARGEST[d] / usual.max()), backbone)
    raise UserError(
        "CONFIG", "task.size", f"has {len(size)} values, the backbone has {d} axes",
        f"give {d}, multiples of {plain(list(backbone.divisor))}: for these scans such as "
        f"task.size={plain(fitting)}",
    )  # fmt: skip


def _decoder(task: torch.nn.Module) -> torch.nn.Module:
    """The blocks of a task's decoder: all of it but the layer that names the classes."""
    if not hasattr(task, "decoder"):
        raise UserError(
            "CONFIG", "decoder=true", "this task has no decoder", "leave decoder out, or segment"
        )
    return task.decoder.blocks


class _Head(torch.nn.Module):
    """A task without its backbone, so that each weight is saved once."""

    def __init__(self, task: torch.nn.Module):
        super().__init__()
        self.parts = torch.nn.ModuleDict(
            {k: m for k, m in task.named_children() if k != "backbone"}
        )
        for name, buffer in task.named_buffers(recurse=False):
            self.register_buffer(name, buffer)


def load_task(folder: Path, device: torch.device | str = "cpu") -> tuple[torch.nn.Module, dict]:
    """The fine-tuned task of a run or model folder, ready to predict on a device, and its card."""
    about = read_card(folder)
    if about.get("kind") != "finetuned":
        raise UserError(
            "CHECKPOINT", folder, f"holds a {about.get('kind')} model, which cannot predict",
            "fine-tune it first: medssl finetune ... backbone=" + str(folder),
        )  # fmt: skip
    backbone = build_backbone(about["backbone"]["name"], **about["backbone"]["options"])
    classes = {int(k): v for k, v in about["classes"].items()}
    recipe = Recipe(**about["recipe"])
    task = Part(**about["task"]).build(
        TASKS, "task", backbone, Augment(), classes, recipe.value_range
    )
    load_weights(folder, backbone, "backbone")
    load_weights(folder, _Head(task), "task")
    return to_channels_last(task, backbone.ndim).to(device).eval(), about


def check_fits(image: np.ndarray, backbone: torch.nn.Module, name: str) -> None:
    """Raise UserError if a prepared item (C, *space) is not what the network takes."""
    channels, axes = len(image), image.ndim - 1
    if axes < backbone.ndim or channels != backbone.in_channels:
        raise UserError(
            "SHAPE", name,
            f"a scan of {axes} axes and {channels} channels, the model takes {backbone.ndim} "
            f"axes and {backbone.in_channels} channels",
            "use a model that was trained on such scans",
        )  # fmt: skip


def _start(parent: dict) -> str:
    """What the weights were before this run."""
    if not parent:
        return "from scratch"
    if parent["kind"] == "imported":
        return f"imported from {parent['source']['file']}"
    if "method" in parent:
        return f"pretrained with {parent['method']['name']}"
    return f"fine-tuned before for {parent['task']['name']}"


def _refuse_leaks(
    parent: dict, labelled: pd.DataFrame, train: pd.DataFrame, config: Config
) -> None:
    # Validation patients may have chosen a parent's weights before; test patients may not.
    for splits, parts in ((["val"], ("pretrain", "train")), (["test"], PARTS)):
        held_out = of_splits(labelled, splits)
        for seen in (parent, record({}, train=train)):
            refuse_overlap(overlap(seen, held_out, parts), config.store, config.allow_overlap)
            look_alikes(seen, held_out, parts)
