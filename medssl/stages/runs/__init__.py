"""List runs, tell which is best among those that can be compared, or show one.

Nothing is kept anywhere but in the folders of the runs themselves:

ls    every run at or below a folder: what it was asked, what it started from, how far it has come
      (finished, running, stopped, or damaged and why), its validation score, the main figure of its
      evaluation with the 95 % interval over patients, and what is wrong with it. A study is one line;
      its fine-tunings are listed by `medssl runs ls STUDY/finetune`. out=runs.csv holds more columns
best  the best run of each kind: the same task, target and classes, and the same scans that it is judged
      by. They are judged by the validation score, and by a figure of the test cases only where
      figure=test says so: the one that was chosen by them is too good there
show  one run or study: what it is, started from and saw, what was set, its health, its figures with
      intervals, the command that makes it again, and warnings
"""

import importlib
import shlex
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from medssl.config import Config as Base
from medssl.data.files import write_csv
from medssl.describe import command
from medssl.errors import UserError
from medssl.progress import say
from medssl.reports import run_card
from medssl.stages.runs.choosing import best
from medssl.stages.runs.listing import VALIDATION, listed, print_table
from medssl.training import registry
from medssl.training.log import read_jsonl
from medssl.training.run import Run
from medssl.training.study_folder import Study


class Config(Base):
    positional: ClassVar = ("what", "folder")
    examples: ClassVar = (
        "medssl runs ls",
        "medssl runs ls studies verb=finetune task=segmentation sort=validation out=runs.csv",
        "medssl runs best studies task=segmentation",
        "medssl runs best studies figure='test dice, liver'",
        "medssl runs best study/finetune labelled=4",
        "medssl runs show studies/liver",
    )
    what: Literal["ls", "best", "show"] = Field(
        "ls", description="list all, tell the best, show one"
    )
    folder: Path = Field(
        Path("."), description="where to look for runs and studies, or the one to show"
    )
    verb: Literal["", "pretrain", "finetune", "study"] = Field(
        "", description="only runs of this verb"
    )
    task: str = Field("", description="only runs of this task")
    method: str = Field("", description="only runs of this method")
    state: Literal["", "finished", "running", "stopped", "damaged"] = Field(
        "", description="only runs of this state"
    )
    labelled: int = Field(
        0, description="only fine-tunings on so many labelled scans; 0: any", ge=0
    )
    sort: Literal["run", "date", "validation", "figure"] = Field(
        "run", description="order of the list; newest, or highest, first"
    )
    figure: str = Field(
        VALIDATION, description="what best goes by: validation, test, or test and a figure's name"
    )
    out: Path | None = Field(None, description="CSV file to write the list to")


def run(config: Config) -> Path | None:
    if not config.folder.is_dir():
        raise UserError("RUN", config.folder, "is no folder", "give a folder that holds runs")
    if config.what == "show":
        print(show(config.folder))
        return None
    found = [_read(path) for path in registry.find(config.folder)]
    runs = [r for r in found if _asked_for(r, config)]
    if not runs:
        there = sorted({" ".join(filter(None, [r.verb, r.name])) or r.state for r in found})
        counts = sorted({n for r in found if (n := _labelled(r))})
        there += [f"on {', '.join(map(str, counts))} labelled scans"] * bool(
            config.labelled and counts
        )
        fix = "look in another folder, or ask for others"
        if studies := [r.folder for r in found if isinstance(r, Study)]:
            fix += f"; fine-tunings of a study lie in {shlex.quote(f'{studies[0]}/finetune')}"
        raise UserError(
            "EMPTY", config.folder, f"{len(found)} runs are there"
            + (f" ({', '.join(there)}), none that was asked for" if found else ""), fix,
        )  # fmt: skip
    if config.what == "best":
        return best(runs, config.figure, config.folder)
    table = listed(runs, config.folder, config.sort)
    if config.out:
        write_csv(config.out, table)
    print_table(table)
    if studies := [r.folder for r in runs if isinstance(r, Study)]:
        say(f"fine-tunings of a study: medssl runs ls {shlex.quote(f'{studies[0]}/finetune')}")
    return config.out


def _read(folder: Path) -> Run | Study:
    return Study.found(folder) or registry.read(folder)


def _asked_for(run: Run | Study, config: Config) -> bool:
    chosen = {"verb": config.verb, "state": config.state}
    chosen |= {"finetune": config.task, "pretrain": config.method}
    there = {"verb": run.verb, "state": run.state, run.verb: run.name}
    if config.labelled and _labelled(run) != config.labelled:
        return False
    return all(there.get(key) == word for key, word in chosen.items() if word)


def _labelled(run: Run | Study) -> int:
    """Labelled scans that it learnt from; 0 where it did not, or nothing tells."""
    return run.card.trained_on if isinstance(run, Run) and run.card else 0


def show(folder: Path) -> str:
    """One run or study in words."""
    run = _read(folder)
    if isinstance(run, Study):
        stage = importlib.import_module("medssl.stages.study")
        return run_card.of_study(run, command(stage.Config, run.verb, run.values))
    if not run.values and not run.card:
        cause = "; ".join(run.faults) or "is no folder of a run"
        fix = "give the folder of a run; medssl runs ls finds them"
        if below := [path for path in registry.find(folder) if path != folder]:
            fix = f"give one of the {len(below)} in it, such as {below[0]}; runs ls tells of them"
            if not (folder / "config.json").exists():
                cause = "holds runs, and is none"
        raise UserError("RUN", folder, cause, fix)
    log = folder / "metrics.jsonl"
    rows = read_jsonl(log) if log.exists() else []
    stage = importlib.import_module(f"medssl.stages.{run.verb}") if run.verb else None
    said = stage and command(stage.Config, run.verb, run.values, stage.TABLES)
    return run_card.text(run, rows, said)
