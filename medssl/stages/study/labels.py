"""What all fine-tunings of a study learn from and are scored on, looked at before anything is trained."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pandas as pd

from medssl.data.leakage import overlap, record, refuse_overlap
from medssl.data.manifest import Manifest
from medssl.data.subset import of_splits
from medssl.data.truths import Masks, Truths
from medssl.errors import UserError
from medssl.progress import say
from medssl.stages.evaluate.remarks import too_strict
from medssl.stages.evaluate.scans import check_files
from medssl.stages.finetune.labels import scans_of
from medssl.stages.study.cells import Cell

KNOWN = [
    "patient",
    "split",
    "key",
    "source",
    "boxes",
]  # of a labelled scan, beside its label columns


def check_labels(
    every: Sequence[Cell], manifest: Manifest, split: str, tolerance: float, on_trial: bool,
    before: dict[str, dict],
) -> str:  # fmt: skip
    """Raise UserError where a fine-tuning would not have its labels, or not those of all classes, a trial its
    validation scans, or the split its cases or their files, or where these were seen by what they are to test
    or by a pretraining (`before`: what a card keeps of each); say what is to be told apart.

    Returns what stands for the labelled scans and all that is known of them.
    """
    most, classes, found = pd.DataFrame(), {}, []
    sizes: dict[int, int] = {}
    for cell in {(cell.labelled, cell.draw): cell for cell in every}.values():
        truths, train, validation = scans_of(cell.settings())
        learns, sizes[cell.labelled] = _classes(cell, truths, train), len(train)
        found.append((cell, set(learns.values())))
        if len(train) > len(most):
            most, classes = train, learns
    if len(set(sizes.values())) < len(sizes):
        cause = f"0, which is all, and {sizes[0]} are the same scans"
        raise UserError("CONFIG", "labelled", cause, "leave one of them out")
    with _keys_of_finetune():
        for items in (most, validation):
            truths.remarks(items, classes, strict=True)
    learnt = set().union(*(names for _, names in found))
    for cell, names in found:
        if lacking := sorted(learnt - names):
            raise UserError(
                "LABELS", _draw(cell), f"the scans drawn do not show {', '.join(lacking[:3])}, which others "
                "do: scores would be of other classes",
                "ask for more labels (labelled=); of masks and boxes name the classes: finetune.classes",
            )  # fmt: skip
    if on_trial and validation.empty:
        raise UserError(
            "EMPTY", cell.keys["store"], "no validation scan can choose among the trials",
            "give some labelled scans the split val, or give one trial only",
        )  # fmt: skip
    labelled = truths.labelled()
    scored = of_splits(labelled, [split])
    if scored.empty:
        there = ", ".join(sorted(labelled["split"].replace("", "none").unique()))
        cause = f"no labelled scan has it; there are {there}"
        raise UserError("CONFIG", f"split={split}", cause, "name one of them")
    check_files(manifest, truths, scored)
    seen = {f"split={split}": record(train=most, validation=validation)}
    with _keys_of_finetune():
        for where, card in {**seen, **before}.items():
            refuse_overlap(overlap(card, scored), where, every[0].settings().allow_overlap)
    say(f"study: {truths.told(classes, most)}")
    for remark in too_strict(manifest, scored, tolerance) if isinstance(truths, Masks) else []:
        say(f"remark: {remark}; give it now, as what is scored is not scored again")
    known = labelled.filter([*KNOWN, *labelled.filter(like="label_")]).sort_index()
    return hashlib.sha256(known.to_csv().encode()).hexdigest()


def _classes(cell: Cell, truths: Truths, train: pd.DataFrame) -> dict[int, str]:
    """The classes that a fine-tuning would learn. An error says of which draw it is."""
    try:
        return truths.classes(train)
    except UserError as error:
        if error.code != "LABELS":
            raise
        fix = f"{error.fix}; in a study keys are given as finetune.KEY, more scans as labelled="
        raise UserError(error.code, _draw(cell), f"{error.where}: {error.cause}", fix) from error


def _draw(cell: Cell) -> str:
    return f"labelled={cell.labelled}, draw {cell.draw}"


@contextmanager
def _keys_of_finetune() -> Iterator[None]:
    """An error says how its way out is written in a study."""
    try:
        yield
    except UserError as error:
        fix = f"{error.fix} (in a study as finetune.KEY=...)"
        raise UserError(error.code, error.where, error.cause, fix) from error
