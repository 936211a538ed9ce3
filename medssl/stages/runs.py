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
from collections.abc import Iterable
from math import isnan
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import pandas as pd
from pydantic import Field

from medssl.config import Config as Base
from medssl.data.files import write_csv
from medssl.describe import command
from medssl.errors import UserError
from medssl.evaluation.baseline import Baseline
from medssl.evaluation.headline import headline, higher_is_better
from medssl.privacy import printable
from medssl.progress import say
from medssl.reports import run_card
from medssl.training import registry
from medssl.training.card import figure_of
from medssl.training.log import read_jsonl
from medssl.training.run import Figure, Run
from medssl.training.study_folder import Study

VALIDATION, TEST = "validation", "test"
COLUMNS = ("run", "what", "from", "state", VALIDATION, "figure")
WIDTH = 120  # of a terminal
GAP = "  "
LEAST = {"what": 16, "from": 8}  # to which columns are cut where others need the room
SHOWN_CLASSES, SHOWN_FIGURES = 3, 6


class Config(Base):
    positional: ClassVar = ("what", "folder")
    examples: ClassVar = (
        "medssl runs ls",
        "medssl runs ls studies verb=finetune task=segmentation sort=validation out=runs.csv",
        "medssl runs best studies task=segmentation",
        "medssl runs best studies figure='test dice, liver'",
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
        raise UserError(
            "EMPTY", config.folder, f"{len(found)} runs are there"
            + (f" ({', '.join(there)}), none that was asked for" if found else ""),
            "look in another folder, or ask for others",
        )  # fmt: skip
    if config.what == "best":
        return best(runs, config)
    table = listed(runs, config.folder, config.sort)
    if config.out:
        write_csv(config.out, table)
    _print(table)
    if studies := [r.folder for r in runs if isinstance(r, Study)]:
        say(f"fine-tunings of a study: medssl runs ls {studies[0]}/finetune")
    return config.out


def _read(folder: Path) -> Run | Study:
    return Study.found(folder) or registry.read(folder)


def _asked_for(run: Run | Study, config: Config) -> bool:
    chosen = {"verb": config.verb, "state": config.state}
    chosen |= {"finetune": config.task, "pretrain": config.method}
    there = {"verb": run.verb, "state": run.state, run.verb: run.name}
    return all(there.get(key) == word for key, word in chosen.items() if word)


def listed(runs: Iterable[Run | Study], folder: Path, sort: str = "run") -> pd.DataFrame:
    """A row a run or study."""
    table = pd.DataFrame(
        {
            "run": run.folder.relative_to(folder).as_posix(),
            **(_study_row(run) if isinstance(run, Study) else _row(run)),
        }
        for run in runs
    )
    by = {"figure": "estimate"}.get(sort, sort)
    return table.sort_values(by, ascending=sort == "run", kind="stable", ignore_index=True)


def _row(run: Run) -> dict:
    name, figure = _figure(run)
    card, config = run.card, run.config
    return {
        "verb": run.verb,
        "what": run.name,
        "target": " ".join(card.target) if card else "",
        "classes": list(card.classes.values()) if card else [],
        "from": run.origin,
        "labelled": card.trained_on if card and run.verb == "finetune" else None,
        "seed": config.fit.seed if config else None,
        "steps": run.steps,
        "asked": run.asked,
        "state": run.state,
        VALIDATION: card.validation if card else None,
        "validation figure": card.figure if card else "",
        "figure": name,
        **{k: getattr(figure, k, None) for k in ("estimate", "low", "high", "n_patients", "n_cases")},
        "date": run.date,
        "warnings": "; ".join([*run.faults, *run.marks]),
    }  # fmt: skip


def _study_row(study: Study) -> dict:
    """`steps` are fine-tunings; its figures stand in its report."""
    return {
        "verb": study.verb,
        "what": f"on {study.store} with {study.labelled} labels: {', '.join(study.arms)}",
        "steps": study.done,
        "asked": study.asked,
        "state": study.state,
        VALIDATION: None,
        "estimate": None,
        "date": study.date,
        "warnings": "",
    }


def _figure(run: Run) -> tuple[str, Figure | None]:
    """The main figure of a run's evaluation, or the first of its probe, and its name."""
    if run.evaluation and run.evaluation.headline:
        name, figure = run.evaluation.headline
        return f"{run.evaluation.split} {name}", figure
    for name, probe in run.probe.items():
        return f"probe {name}", probe.pretrained
    return "", None


def _print(table: pd.DataFrame) -> None:
    """A line each, no wider than a terminal unless the names of runs are; what is wrong with one below it."""
    rows = table.to_dict("records")
    runs = [_shown(row) for row in rows if row["verb"] != Study.verb]
    head = [{name: name for name in COLUMNS}] if runs else []
    wide = {name: max((len(row[name]) for row in head + runs), default=0) for name in COLUMNS}
    wide["run"] = max(wide["run"], *(len(row["run"]) for row in rows))
    wide = {name: n for name, n in wide.items() if n}
    for name in (name for name in LEAST if name in wide):
        over = sum(wide.values()) + len(GAP) * (len(wide) - 1) - WIDTH
        wide[name] = min(wide[name], max(LEAST[name], wide[name] - over))
    for row in head + rows:
        name = row["run"].ljust(wide["run"])
        if row.get("verb") == Study.verb:
            words = f"study {row['state']}, {row['steps']}/{row['asked']}, {row['what']}"
            cells = [name, _cut(words, max(LEAST["what"], WIDTH - len(name) - len(GAP)))]
        else:
            shown = row if row in head else _shown(row)
            cells = [name, *(_cut(shown[c], n).ljust(n) for c, n in wide.items() if c != "run")]
        print(printable(GAP.join(cells).rstrip()))
        if row.get("warnings"):
            print(printable(f"{GAP}{row['run']}: {row['warnings']}"))


def _shown(row: dict) -> dict[str, str]:
    """What COLUMNS say of a run."""
    names = row["classes"]
    of = row["target"] or _some(names)
    what = "pretrain " * (row["verb"] == "pretrain") + row["what"]
    done = "" if row["state"] == "finished" else f" {row['steps']}/{row['asked']}"
    score = row[VALIDATION]
    interval = ""
    if row["figure"]:
        words = row["figure"].replace(", mean of classes", "")
        interval = f"{words} {row['estimate']:z.3f} ({row['low']:z.3f} to {row['high']:z.3f})"
    return {
        "run": row["run"],
        "what": f"{what}: {of}" if of else what,
        "from": row["from"].partition(", ")[0],
        "state": row["state"] + done,
        VALIDATION: "" if pd.isna(score) else f"{row['validation figure']} {score:z.3f}".strip(),
        "figure": interval,
    }


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN_CLASSES]) + ", ..." * (len(names) > SHOWN_CLASSES)


def _cut(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 3] + "..."


def best(runs: list[Run | Study], config: Config) -> Path | None:
    """Print the best run of each kind; its folder if there is one kind only."""
    where, _, figure = config.figure.partition(" ")
    if where not in (VALIDATION, TEST) or (figure and where == VALIDATION):
        raise UserError(
            "CONFIG", f"figure={config.figure}", "is neither validation nor a figure of test",
            f"leave figure out, or, to choose by cases that were to be left alone, give "
            f"figure='test {config.figure}'",
        )  # fmt: skip
    kinds: dict[tuple, list[Judged]] = {}
    left_out = []
    for each in runs:
        found = _judged(each, where, figure)
        if isinstance(found, str):
            left_out.append(f"not compared: {each.folder} ({found})")
        else:
            kinds.setdefault(found.question, []).append(found)
    chosen = [_best_of(judged) for judged in kinds.values()]
    if len(kinds) > 1:
        say(f"these are {len(kinds)} kinds, whose figures cannot be compared with one another")
    for words in left_out:
        say(words)
    if not chosen:
        raise UserError(
            "EMPTY", config.folder, f"no run has a {where} figure to be judged by",
            "fine-tune with validation scans, or run `medssl evaluate` on the runs; those of a study lie in "
            "its folder finetune",
        )  # fmt: skip
    if where == TEST:
        say(
            "CAUTION: chosen by cases that were to be left alone: of the run chosen, their figures are now "
            "too good. Report others, or choose by validation"
        )
    else:
        say("chosen by validation; no test case had a say. The score has no interval")
    if len(chosen) == 1:
        return chosen[0]
    for path in chosen:
        print(printable(str(path)))
    return None


class Judged(NamedTuple):
    """`question` is the same for runs whose scores can be compared, `asked` is it in words."""

    run: Run
    question: tuple
    asked: str
    score: float
    higher: bool


def _best_of(judged: list[Judged]) -> Path:
    """Say how they rank; the folder of the first."""
    ranked = sorted(judged, key=lambda j: -j.score if j.higher else j.score)
    first = ranked[0]
    say(f"{first.asked}, {'higher' if first.higher else 'lower'} is better:")
    learnt_from = sorted({each.run.card.trained_on for each in ranked})
    for each in ranked:
        state = (
            [] if each.run.state == "finished" else [f"{each.run.state} at step {each.run.steps}"]
        )
        if len(learnt_from) > 1:
            state.insert(0, f"{each.run.card.trained_on} labelled scans")
        words = ", ".join(state + each.run.marks)
        say(f"  {each.score:z.4f}  {each.run.folder}" + (f" ({words})" if words else ""))
    if len(learnt_from) > 1:
        say(
            f"  CAUTION: they learnt from {learnt_from[0]} to {learnt_from[-1]} labelled scans: more labels "
            "score higher, whatever a run starts from. What helps with few is told by runs of as many"
        )
    if sum(j.score == first.score for j in ranked) > 1:
        say("  several are equally good; the first of them is given")
    if len(ranked) == 1:
        say("  the only one of its kind")
    return first.run.folder


def _judged(run: Run | Study, where: str, figure: str) -> Judged | str:
    """What a run was asked and how well it answered, or why that cannot be told."""
    if isinstance(run, Study):
        return f"a study: see {run.report}, or give {run.folder}/finetune"
    if run.faults:
        return "; ".join(run.faults)
    if run.verb != "finetune":
        return "without labels there is no such score: medssl probe it, or fine-tune from it"
    if not run.card:
        return "it has no model yet"
    classes = list(run.card.classes.values())
    about = (run.name, *run.card.target, *classes)
    words = f"{run.name}, {', '.join(run.card.target) or _some(classes)}"
    if where == VALIDATION:
        if run.card.validation is None:
            return "it has no validation score"
        scans = run.config.scans.get(VALIDATION)
        if scans is None:
            return "its config.json, which knows the validation scans, is not there"
        # The score is taken on prepared scans, and of boxes on those that were made of masks.
        read = (run.config.boxes_of_masks, run.config.smallest, str(run.card.recipe))
        n = len(run.card.patients.get(VALIDATION, []))
        figure = figure_of(run.card.model_dump())
        words += f", by validation {figure} on scans of the same {n} patients"
        return Judged(run, (*about, scans, *read), words, run.card.validation, True)
    if not run.evaluation:
        return f"it has no evaluation: medssl evaluate {run.folder}"
    for grave in ("test seen", "other weights"):
        if grave in run.warnings:
            return run.warnings[grave]
    scored = Baseline.read(run.folder / "evaluation")
    name = figure or headline(scored.cases)[0]
    found = run.evaluation.metrics.get(name)
    if found is None or isnan(found.estimate):
        there = ", ".join(list(run.evaluation.metrics)[:SHOWN_FIGURES])
        return f"it has no {name}; there are {there}"
    words += f", by {name} of the same {found.n_cases} cases of {run.evaluation.split}"
    return Judged(
        run, (*about, name, scored.question), words, found.estimate, higher_is_better(name)
    )


def show(folder: Path) -> str:
    """One run or study in words."""
    run = _read(folder)
    if isinstance(run, Study):
        stage = importlib.import_module("medssl.stages.study")
        return run_card.of_study(run, command(stage.Config, run.verb, run.values))
    if not run.values and not run.card:
        raise UserError(
            "RUN", folder, "; ".join(run.faults) or "is no folder of a run",
            "give the folder of a run; medssl runs ls finds them",
        )  # fmt: skip
    log = folder / "metrics.jsonl"
    rows = read_jsonl(log) if log.exists() else []
    stage = importlib.import_module(f"medssl.stages.{run.verb}") if run.verb else None
    said = stage and command(stage.Config, run.verb, run.values, stage.TABLES)
    return run_card.text(run, rows, said)
