"""The fine-tunings of a study: which there are, how each is done, and which settings an arm takes."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd

from medssl import command_line
from medssl.config import flat, merge
from medssl.data.files import write_json
from medssl.errors import UserError, one_line
from medssl.reports.study.told import WHOLE
from medssl.stages import evaluate, finetune
from medssl.stages.study.arms import Start
from medssl.training.card import nothing_learnt
from medssl.training.checkpoint import drop_weights, read_card
from medssl.training.energy import apart, metered
from medssl.training.log import minutes_of
from medssl.training.run_folder import WEIGHTS
from medssl.training.study_folder import folder_name

T = TypeVar("T")
PRESET = "few_labels"
SHOWN = 3  # cases drawn of each first run
OWN = {"store", "out", "backbone", "from_scratch", "labelled", "draw", "fit.seed"}
EQUAL = {  # in all arms
    "preset", "fit.steps", "fit.batch_size", "fit.accumulate", "task.name", "splits", "fold",
    "validation", "target", "classes", "others", "boxes_of_masks",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One fine-tuning.

    labelled  scans asked for, 0: all
    trial     which of the settings that every arm tries
    keys      of `medssl finetune`, and its preset
    """

    arm: str
    labelled: int
    draw: int
    seed: int
    trial: int
    keys: dict

    @property
    def at(self) -> tuple[str, int]:
        return self.arm, self.labelled

    @property
    def first(self) -> bool:
        """Whether its cases are drawn."""
        return self.draw == self.seed == 0

    @property
    def folder(self) -> Path:
        return Path(self.keys["out"])

    @property
    def told(self) -> dict:
        """What training left: validation, labelled, minutes, kwh."""
        return self.read("trained.json", lambda path: json.loads(path.read_text()))

    @property
    def idle(self) -> bool:
        """Whether it has learnt next to nothing."""
        return bool(nothing_learnt(read_card(self.folder)))

    @property
    def cases(self) -> pd.DataFrame:
        return self.read("evaluation/cases.parquet", pd.read_parquet)

    @property
    def metrics(self) -> dict:
        return self.read("evaluation/metrics.json", lambda path: json.loads(path.read_text()))

    def read(self, name: str, reads: Callable[[Path], T]) -> T:
        """A file of the fine-tuning. Raises UserError RUN if it is damaged."""
        try:
            return reads(self.folder / name)
        except (OSError, ValueError) as error:
            raise UserError(
                "RUN", self.folder / name, f"cannot be read ({one_line(error)})",
                f"delete the folder {self.folder}; the same command does this fine-tuning again",
            ) from error  # fmt: skip

    def settings(self) -> finetune.Config:
        keys = {k: v for k, v in self.keys.items() if k != "preset"}
        return command_line.of(finetune.Config, "finetune", self.keys.get("preset", PRESET), keys)

    def __str__(self) -> str:
        labels = f"{self.labelled or 'all'} labels"
        return f"{self.arm}, {labels}, draw {self.draw}, seed {self.seed}, trial {self.trial}"


def cells(
    starts: Sequence[Start], labelled: Sequence[int], draws: int, seeds: int, keys: dict,
    trials: Sequence[dict], scratch_trials: Sequence[dict], out: Path,
) -> list[Cell]:  # fmt: skip
    """Every fine-tuning that may be asked for; `keys` are of all, an arm's own and a trial's laid on them."""
    found = []
    for count in labelled:
        for draw in range(draws if count else 1):  # of all of them there is one
            for seed in range(seeds):
                for start in starts:
                    tried = scratch_trials if start.from_scratch else trials
                    for trial, more in enumerate(tried):
                        name = f"{count or 'all'}-draw{draw}-seed{seed}-trial{trial}"
                        own = {
                            "backbone": str(start.backbone), "from_scratch": start.from_scratch,
                            "labelled": count, "draw": draw, "fit": {"seed": seed},
                            "out": str(out / folder_name(start.name) / name),
                        }  # fmt: skip
                        whole = merge(merge(merge(keys, start.keys), more), own)
                        found.append(Cell(start.name, count, draw, seed, trial, whole))
    return found


def check_keys(given: dict[str, dict], equal: bool) -> None:
    """Raise UserError CONFIG for keys that are the study's to set, or (`equal`) the same in all arms."""
    for where, keys in given.items():
        for key in sorted(flat(keys)):
            if key in OWN:
                cause = "is set by the study"
                fix = f"leave it out; the study's own keys say {key.rpartition('.')[2]}"
            elif equal and not EQUAL.isdisjoint({key, key.partition(".")[0]}):
                cause, fix = "is the same in every arm", f"give finetune.{key}"
            else:
                continue
            raise UserError("CONFIG", f"{where}: {key}", cause, fix)


def train(cell: Cell) -> None:
    """Fine-tune, and write what validation scans said of it."""
    anew = not (cell.folder / "metrics.jsonl").exists()
    with metered() as cost:
        folder = finetune.run(cell.settings())
    card = read_card(folder)
    told = {"validation": card["validation"], "labelled": card["trained_on"]}
    told |= {"minutes": minutes_of(folder), **cost.energy(anew)}
    write_json(folder / "trained.json", told)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def score(cell: Cell, split: str, tolerance: float, keep: bool) -> None:
    """Fine-tune, unless that was done on trial, and evaluate."""
    # A trial that was rejected has none any more, and may be chosen once a study has grown.
    if not ((cell.folder / "trained.json").exists() and (cell.folder / WEIGHTS).exists()):
        train(cell)
    evaluate.run(
        evaluate.Config(
            run=cell.folder, split=split, tolerance=tolerance, examples_shown=SHOWN if cell.first else 0,
            examples_by="truth", allow_overlap=cell.settings().allow_overlap,
        )
    )  # fmt: skip
    write_json(cell.folder / "scored.json", cell.told)
    if not keep:
        drop_weights(cell.folder)


def validations(tried: Sequence[Cell]) -> dict[tuple[str, int], dict[int, float]]:
    """Of each arm and number of labels the mean score on validation scans of every trial. Raises UserError
    EMPTY where it is not defined, as of scans that are all of one class."""
    scores: dict[tuple[str, int], dict[int, list[float]]] = {}
    for cell in tried:
        score = cell.told["validation"]
        if score is None:
            raise UserError(
                "EMPTY", cell.folder, "its validation score, which is to choose a trial, is not defined",
                "give validation scans that hold every class, or one trial only, in another out=",
            )  # fmt: skip
        scores.setdefault(cell.at, {}).setdefault(cell.trial, []).append(score)
    return {at: {k: sum(v) / len(v) for k, v in of.items()} for at, of in scores.items()}


def costs(done: Sequence[Cell], pretrainings: dict[str, dict]) -> pd.DataFrame:
    """A row an arm: minutes and kWh of its pretraining and of all its fine-tunings, and the steps of its
    pretraining, made and `whole`: without a limit on its minutes. Energy is told where no two of them shared
    the device."""
    every = [*pretrainings.values(), *(cell.told for cell in done)]
    alone, rows = apart(of["span"] for of in every if "span" in of), []
    for arm in dict.fromkeys(cell.arm for cell in done):
        before = pretrainings.get(arm, {})
        told = [cell.told for cell in done if cell.arm == arm]
        energy = [of["kwh"] if alone else None for of in (*told, *([before] if before else []))]
        rows.append({
            "arm": arm, "pretraining, minutes": before.get("minutes"),
            "pretraining, steps": before.get("steps"), WHOLE: before.get("whole"),
            "fine-tuning, minutes": sum(of["minutes"] for of in told),
            "fine-tunings": len(told), "kWh": None if None in energy else sum(energy),
        })  # fmt: skip
    return pd.DataFrame(rows).astype({"pretraining, steps": "Int64", WHOLE: "Int64"})
