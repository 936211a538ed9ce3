"""What a fine-tuning learns from: which scans, and what is known of them."""

from typing import TYPE_CHECKING

import pandas as pd

from medssl.config import resolve
from medssl.data.folds import resplit
from medssl.data.leakage import PARTS, look_alikes, overlap, record, refuse_overlap
from medssl.data.store import Store
from medssl.data.subset import few, of_splits
from medssl.data.truths import TRUTHS, Truths
from medssl.errors import UserError
from medssl.tasks.base import TASKS

if TYPE_CHECKING:
    from medssl.stages.finetune import Config


def scans_of(config: "Config") -> tuple[Truths, pd.DataFrame, pd.DataFrame]:
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


def _check_asked(config: "Config", kind: type) -> None:
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


def refuse_leaks(
    parent: dict, labelled: pd.DataFrame, train: pd.DataFrame, config: "Config"
) -> None:
    """Raise UserError where held-out patients have been trained on, unless that is allowed."""
    # Validation patients may have chosen a parent's weights before; test patients may not.
    for splits, parts in ((["val"], ("pretrain", "train")), (["test"], PARTS)):
        held_out = of_splits(labelled, splits)
        for seen in (parent, record({}, train=train)):
            refuse_overlap(overlap(seen, held_out, parts), config.store, config.allow_overlap)
            look_alikes(seen, held_out, parts)
