"""Set evaluated runs side by side, each paired with one of them, the baseline.

Refuses runs that were scored on other cases, classes, labels or tolerances. Writes compare.csv (a row a
figure and run: the figure, its difference to the baseline, both with 95 % intervals over patients, and
p-values, corrected for their number) and report.html (the same, forest plots, ROC curves laid over each
other, and the settings in which the runs differ).
"""

import shlex
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from medssl.config import Config as Base
from medssl.config import flat
from medssl.data.files import write_csv
from medssl.describe import words
from medssl.errors import UserError
from medssl.evaluation.comparison import cannot_show, compare, differing, resamples_for
from medssl.evaluation.intervals import of_unknown_patients, too_few
from medssl.evaluation.titles import sentence
from medssl.privacy import scrub
from medssl.progress import say
from medssl.reports import comparison
from medssl.reports.scores import probability
from medssl.training import registry
from medssl.training.run import Figure, Run
from medssl.training.run_folder import FREE


class Config(Base):
    positional: ClassVar = ("runs",)
    examples: ClassVar = (
        "medssl compare runs/scratch runs/organs",
        "medssl compare runs/a runs/b runs/scratch baseline=runs/scratch figure='dice, liver'",
    )
    runs: list[Path] = Field(
        description="runs that were evaluated, or folders of evaluations; the first is the baseline"
    )
    baseline: Path | None = Field(None, description="what all others are compared with, instead")
    out: Path = Field(Path("comparison"), description="folder to write to")
    figure: str = Field("", description="the main figure; empty: dice, auroc, ... of the task")
    resamples: int | None = Field(
        None,
        description="bootstrap samples of the intervals; none: 2000, more where many figures are compared",
        ge=100,
    )
    seed: int = Field(0, description="of the bootstrap")


def run(config: Config) -> Path:
    folders = [config.baseline, *config.runs] if config.baseline else config.runs
    real = list(dict.fromkeys(f.resolve() for f in folders))
    if len(real) < 2:
        raise UserError(
            "CONFIG", "runs", f"{len(real)} run was given", "give two or more to compare"
        )
    folders = [next(f for f in folders if f.resolve() == r) for r in real]
    given = {name: registry.evaluated(f) for name, f in zip(_names(real), folders, strict=True)}
    (base, (first, of_first)), *others = given.items()
    for _, (scored, _) in others:
        scored.check_kind(first.cases)
        scored.check(
            set(first.cases["id"]), dict(enumerate(first.metrics.get("classes", []))),
            first.metrics.get("tolerance_mm"),
        )  # fmt: skip
        scored.check_truths(first.cases)
    cases = {name: scored.cases for name, (scored, _) in given.items()}
    known = set(first.metrics.get("metrics", {}))
    if config.figure and config.figure not in known:
        raise UserError(
            "CONFIG", f"figure={config.figure}", "is no figure of these evaluations",
            f"choose one of {'; '.join(sorted(known))}",
        )  # fmt: skip
    n = config.resamples or resamples_for(len(known), len(given))
    table = compare(cases, config.figure, n=n, seed=config.seed)
    settings = None
    if all(run for _, run in given.values()):
        settings = differing({name: _settings(run) for name, (_, run) in given.items()}, FREE)
    cautions = _cautions(given, table, n)
    config.out.mkdir(parents=True, exist_ok=True)
    write_csv(config.out / "compare.csv", table)
    report = comparison.write(
        config.out / "report.html",
        comparison.Compared(
            of_first.name if of_first else "evaluations", first.metrics.get("split", "test"), table,
            cases, list(first.metrics.get("classes", [])), settings, n, config.seed,
            cautions, _commands(given, config),
        ),
    )  # fmt: skip
    _say(table, base)
    if words := comparison.corrections(table):
        say(words)
    for caution in cautions:
        say(f"remark: {caution}")
    say(f"report: {report}")
    return config.out


def _names(folders: list[Path]) -> list[str]:
    """What tells folders apart: as few of their last parts as it takes, an evaluation by its run."""
    parts = [f.parent.parts if f.name == "evaluation" else f.parts for f in folders]
    for n in range(1, max(map(len, parts)) + 1):
        names = [scrub("/".join(p[-n:])) for p in parts]
        if len(set(names)) == len(names):
            return names
    return [f"run {n}" for n in range(1, len(folders) + 1)]


def _settings(run: Run) -> dict:
    """What was set, and on how many scans it was trained."""
    told = flat(run.card.config) if run.card else {}
    if run.card:
        told["start"] = run.card.start
        told["trained on"] = run.card.trained_on
        told["network"] = run.card.backbone.name
    return told


def _cautions(given: dict, table, resamples: int) -> list[str]:
    found = [too_few(int(table["n_patients"].max()))]
    for name, (scored, run) in given.items():
        if leaked := scored.metrics.get("trained_on_held_out_patients"):
            parts = ", ".join(f"{n} in {part}" for part, n in leaked.items())
            found.append(f"{name} had been trained on patients that it was scored on ({parts}).")
        if alike := scored.metrics.get("n_look_alikes_of_training_scans"):
            found.append(f"{alike} scored scans look like one that {name} was trained on.")
        if run and run.state != "finished":
            found.append(f"{name} is {run.state}, at step {run.steps} of {run.asked}.")
        if run and (unlearnt := run.warnings.get("learnt nothing")):
            found.append(f"Of {name} {unlearnt}.")
    remarks = {name: scored.metrics.get("remarks", []) for name, (scored, _) in given.items()}
    shared = set.intersection(*map(set, remarks.values()))
    found += map(sentence, sorted(shared))
    found += [f"{name}: {r}." for name, of in remarks.items() for r in of if r not in shared]
    unknown = next(iter(given.values()))[0].metrics.get("n_cases_of_unknown_patients", 0)
    found.append(of_unknown_patients(unknown))
    if words := cannot_show(table, resamples):
        found.append(f"{words}.")
    return [words for words in found if words]


def _commands(given: dict, config: Config) -> list[str]:
    quoted = [shlex.quote(name) for name in given]
    runs = zip(quoted, given.values(), strict=True)
    lines = [f"medssl evaluate {name}" for name, (_, run) in runs if run]
    asked = words(Config, config.model_dump(mode="json", exclude={"runs", "baseline", "out"}))
    return [*lines, " ".join(["medssl compare", *quoted, *asked])]


def _say(table, base: str) -> None:
    """The main figure of every run, on the terminal."""
    main = table[table["main"]]
    for row in main.to_dict("records"):
        words = f"{row['figure']}, {row['run']}: {Figure(**row)}"
        if row["run"] == base:
            words += ", the baseline"
        else:
            words += (
                f"; difference to {base} {row['difference']:+z.3f} ({row['difference low']:+z.3f} to "
                f"{row['difference high']:+z.3f}), p {probability(row['p'])}, corrected "
                f"{probability(row['p corrected'])}: {row['reading'] or 'not defined'}"
            )
        say(words)
