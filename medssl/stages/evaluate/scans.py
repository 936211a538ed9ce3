"""The scans that an evaluation scores, and the groups that they fall into."""

from pathlib import Path

import pandas as pd

from medssl.data.folds import resplit
from medssl.data.manifest import Manifest
from medssl.data.store import Store
from medssl.data.subset import of_splits
from medssl.data.truths import Masks, Truths
from medssl.errors import UserError
from medssl.evaluation.subgroups import grouped
from medssl.stages.finetune.labels import truths_of

ACQUIRED = ("modality", "format", "spacing", "orientation", "shape")


def scans_of(
    config, task, about: dict, of_run: dict
) -> tuple[Manifest, Truths, pd.DataFrame, pd.DataFrame]:
    """What is known of the store's scans, those of the split, and those of them that are scored."""
    store = Store.read_from(config.store or Path(of_run["store"]))
    manifest = Manifest.read(store.manifest)
    _check_recipe(store, about)
    store.check_current(manifest)
    splits, fold = config.splits or of_run.get("splits"), of_run.get("fold", 0)
    if splits:
        store.items = resplit(
            store.items, Path(splits), fold if config.fold is None else config.fold
        )
    truths = truths_of(type(task), store, about["target"], task.classes, of_run, scored=True)
    if config.lesions and not isinstance(truths, Masks):
        raise UserError(
            "CONFIG", "lesions=true", f"counts parts of masks, and the task learnt from {task.learns}",
            "leave it out",
        )  # fmt: skip
    asked, labelled = of_splits(store.items, [config.split]), truths.labelled()
    truths.read(task.classes)
    known = labelled.index if truths.targets is None else truths.targets
    items = asked[asked.index.isin(known)]
    if items.empty:
        raise UserError(
            "EMPTY", store.folder,
            f"no scan of the split {config.split!r} ({len(asked)}) has a label that the model has learnt",
            "choose another split=, or give splits= to `medssl index`",
        )  # fmt: skip
    return manifest, truths, asked, items


def check_files(manifest: Manifest, truths: Truths, items: pd.DataFrame) -> None:
    """Raise UserError STALE if a file that will be scored on has changed or gone since it was indexed."""
    if isinstance(truths, Masks):  # the others are scored on what lies in the store
        for item in items.index:
            manifest.current_files(item)


def groups_of(manifest: Manifest, items: pd.DataFrame, name: str) -> pd.Series:
    """Each item's group by a column of the manifest. Raises UserError LABELS for one that is not there, or
    that may tell who a patient is."""
    label = f"label_{name.removeprefix('label_')}"
    if label not in items and name not in ACQUIRED:
        there = [c.removeprefix("label_") for c in items if c.startswith("label_")]
        cause = f"found {name!r}, there are {', '.join([*there, *ACQUIRED])}"
        raise UserError("LABELS", "by", cause, "name one of them")
    values = (
        items[label]
        if label in items
        else manifest.table.set_index("id")[name].reindex(items.index)
    )
    return grouped(values)


def _check_recipe(store: Store, about: dict) -> None:
    """The store must be prepared as the model learnt it."""
    recipe = store.recipe.model_dump()
    if other := [k for k, v in recipe.items() if about["recipe"].get(k) != v]:
        raise UserError(
            "MISMATCH", store.folder,
            f"its recipe is not the one the model was trained with ({', '.join(other)} differ)",
            "prepare the scans as the model's were, into another store",
        )  # fmt: skip
    channels = about["backbone"]["options"]["in_channels"]
    if store.channels != channels:
        raise UserError(
            "MISMATCH", store.folder, f"has {store.channels} channels, the model takes {channels}",
            "choose a store of such scans",
        )  # fmt: skip
