"""Score a fine-tuned model on held-out patients, and report.

Writes metrics.json (every figure with its 95 % interval over patients, n of patients and seed),
cases.parquet and cases.csv (one row a case, or a case and class), look_alikes.csv (cases that look like
a scan of the training), and report.html: the cohort, the
training, the figures, and predictions laid over the truth. Segmentations are scored on the scan's
own grid. With `baseline=` another evaluation of the same cases is compared, case by case.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from medssl.config import Config as Base
from medssl.data.files import write_csv
from medssl.data.leakage import look_alikes, overlap, refuse_overlap
from medssl.data.truths import Masks
from medssl.describe import words
from medssl.errors import UserError
from medssl.evaluation.headline import headline
from medssl.evaluation.intervals import Interval, below_interval, without_spread
from medssl.evaluation.metrics import TOLERANCE_MM
from medssl.evaluation.subgroups import by_group
from medssl.evaluation.summary import differences, summary
from medssl.evaluation.text_table import text_table
from medssl.evaluation.titles import title
from medssl.evaluation.volumes import volumes
from medssl.privacy import scrub
from medssl.progress import say
from medssl.reports import chain
from medssl.reports.scores import between
from medssl.stages import finetune, pretrain
from medssl.stages.evaluate import remarks as said
from medssl.stages.evaluate.scans import check_files, groups_of, scans_of
from medssl.stages.evaluate.scoring import SCORING
from medssl.stages.finetune.model import load_task
from medssl.training import registry, run_folder
from medssl.training.card import nothing_learnt
from medssl.training.checkpoint import tell_figures
from medssl.training.hardware import Hardware


class Config(Base, Hardware):
    positional: ClassVar = ("run",)
    examples: ClassVar = (
        "medssl evaluate runs/liver",
        "medssl evaluate runs/liver baseline=runs/scratch/evaluation split=test",
    )
    run: Path = Field(description="run folder of `medssl finetune`")
    out: Path | None = Field(None, description="folder to write to; none: RUN/evaluation")
    store: Path | None = Field(None, description="store to score on; none: the one of the run")
    split: str = Field("test", description="which scans to score")
    splits: Path | None = Field(
        None, description="file of splits; none: the one of the run, if any"
    )
    fold: int | None = Field(
        None, description="fold of such a file; none: the one of the run", ge=0
    )
    baseline: Path | None = Field(
        None, description="another evaluated run, or folder of an evaluation, to compare with"
    )
    by: list[str] = Field(
        [], description="label columns, or modality, format, spacing: figures of each value apart"
    )
    also: list[Path] = Field([], description="other pretraining runs to show in the report")
    tolerance: float = Field(
        TOLERANCE_MM,
        description="mm within which outlines agree, of NSD: about as far as those of two readers lie "
        "apart, and no less than a voxel",
        gt=0,
    )
    iou: float | None = Field(
        None, description="overlap from which on a box counts as found; none: 0.5 in films, 0.1 in volumes",
        gt=0, le=1,
    )  # fmt: skip
    lesions: bool = Field(False, description="also count separate parts of each class, as lesions")
    resamples: int = Field(2000, description="bootstrap samples of the intervals", ge=100)
    seed: int = Field(0, description="of the bootstrap")
    examples_shown: int = Field(3, description="cases drawn in the report", ge=0)
    examples_by: Literal["score", "truth"] = Field(
        "score",
        description="from the best to the worst, or from the smallest truth to the largest: the same "
        "cases whatever the model",
    )
    allow_overlap: bool = Field(False, description="score patients that were trained on, marked so")


def run(config: Config) -> Path:
    task, about = load_task(config.run, config.take())
    of_run = run_folder.read_config(config.run)
    manifest, truths, asked, items = scans_of(config, task, about, of_run)
    check_files(manifest, truths, items)
    remarks = said.of_backbone(about, of_run.get("backbone"))
    remarks += truths.remarks(items, task.classes, strict=False)
    labelled = truths.labelled()
    remarks += [
        f"{n} scans are of {name}, which the model has not learnt: they are left out"
        for name, n in sorted(truths.holding(asked[asked.index.isin(labelled.index)]).items())
        if name not in task.classes.values()
    ]
    groups = {name: groups_of(manifest, items, name) for name in config.by}
    seen = overlap(about, items)
    refuse_overlap(seen, config.run, config.allow_overlap)
    alike = look_alikes(about, items)
    baseline, out = None, config.out or config.run / "evaluation"
    if config.baseline:
        baseline, _ = registry.evaluated(config.baseline)
        if baseline.folder.resolve() == out.resolve():
            cause = "is the folder that this evaluation is written to"
            raise UserError("CONFIG", f"baseline={config.baseline}", cause, "give another run's")
        baseline.check(set(items.index), task.classes, config.tolerance)
    out.mkdir(parents=True, exist_ok=True)

    scoring = SCORING[task.learns](
        task, truths, manifest, items, config.tolerance, config.iou, config.lesions,
        config.examples_shown, config.examples_by,
    )  # fmt: skip
    cases = scoring.cases()
    if baseline:
        baseline.check_kind(cases)
        baseline.check_truths(cases)
    remarks += said.of_cases(cases)
    write_csv(out / "look_alikes.csv", alike)
    cases.to_parquet(out / "cases.parquet", index=False)
    write_csv(out / "cases.csv", cases)
    if isinstance(truths, Masks):
        remarks += said.without_spacing(manifest, items)
        remarks += said.too_strict(manifest, items, config.tolerance)
    bootstrapped = {"n": config.resamples, "seed": config.seed}
    metrics = summary(cases, **bootstrapped)
    subgroups = {name: by_group(cases, of, **bootstrapped) for name, of in groups.items()}
    compared = differences(cases, baseline.cases, **bootstrapped) if baseline else {}
    remarks += without_spread(metrics) + below_interval(metrics)
    result = {
        "run": scrub(config.run.resolve().name),
        "start": about["start"],
        "trained_on": about["trained_on"],
        "weights_sha256": about["weights_sha256"],
        "classes": list(task.classes.values()),
        "split": config.split,
        "n_patients": int(items["patient"].nunique()),
        "n_cases_of_unknown_patients": len(manifest.guessed_patients & set(items.index)),
        "n_cases": len(items),
        "n_unlabelled": len(asked) - len(items),
        "seed": config.seed,
        "tolerance_mm": config.tolerance if isinstance(truths, Masks) else None,
        "remarks": remarks,
        "examples_by": config.examples_by,
        "learnt_nothing": nothing_learnt(about),
        "trained_on_held_out_patients": {part: len(who) for part, who in seen.items()},
        "n_look_alikes_of_training_scans": int(alike["scan"].nunique()),
        "metrics": {name: asdict(interval) for name, interval in metrics.items()},
        "subgroups": {
            name: {
                value: {figure: asdict(interval) for figure, interval in found.items()}
                for value, found in of.items()
            }
            for name, of in subgroups.items()
        },
        "volumes": volumes(cases, **bootstrapped) if isinstance(truths, Masks) else {},
        "baseline": baseline.about if baseline else {},
        "difference_to_baseline": {name: asdict(interval) for name, interval in compared.items()},
    }
    (out / "metrics.json").write_text(json.dumps(result, indent=1))
    if not config.out:
        main = chain.main_figures(result["metrics"])
        tell_figures(config.run, {f"{config.split} {title(k)}": v for k, v in main.items()})
    if result["learnt_nothing"]:
        say(f"remark: of this model {result['learnt_nothing']}")
    for remark in remarks:
        say(f"remark: {remark}")
    if result["n_unlabelled"]:
        say(f"left out: {result['n_unlabelled']} scans of the split, without a label that is known")
    for name, interval in metrics.items():
        say(f"{title(name)}: {interval}")
    if isinstance(truths, Masks):
        say(
            f"NSD is of outlines within {config.tolerance:g} mm (tolerance=, {TOLERANCE_MM:g} by default)"
        )
    _say_groups(subgroups, headline(cases)[0])
    for name, interval in compared.items():
        say(f"{title(name)}, difference to {config.baseline}: {interval}")
    pretrained = {path: 0 for path in config.also}
    if about.get("parent"):
        pretrained = {Path(of_run["backbone"]): about["parent"]["steps"], **pretrained}
    commands = _commands(config, of_run, pretrained)
    shown = scoring.examples(cases)
    report = chain.write(
        out,
        config.run,
        about,
        result,
        cases,
        manifest.split_as(truths.store.items),
        shown,
        pretrained,
        commands,
    )
    say(f"report: {report}")
    return out


def _say_groups(subgroups: dict[str, dict[str, dict[str, Interval]]], figure: str) -> None:
    """The main figure of every group, on the terminal."""
    for name, of in subgroups.items():
        head = [name.removeprefix("label_"), title(figure), "95 % interval", "patients"]
        rows = [
            [value, *_numbers(i), str(i.n_patients)]
            for value, i in ((value, found[figure]) for value, found in of.items())
        ]
        for line in text_table([head, *rows]):
            say(line)


def _numbers(interval: Interval) -> tuple[str, str]:
    """An estimate and its ends, in words."""
    if np.isnan(interval.estimate):
        return "not defined", ""
    return f"{interval.estimate:z.3f}", between(asdict(interval))


def _commands(config: Config, of_run: dict, pretrained: Iterable[Path]) -> list[str]:
    """The command lines that lead from the store to this evaluation."""
    told = [(run, pretrain.Config, "pretrain") for run in pretrained]
    lines = []
    for run, kind, verb in [*told, (config.run, finetune.Config, "finetune")]:
        if (run / "config.json").exists():
            values = {**run_folder.read_config(run), "out": run.name}
            if verb == "finetune" or "method" in values:
                lines.append(" ".join(["medssl", verb, *words(kind, values)]))
    asked = words(Config, config.model_dump(mode="json"))
    return [*lines, " ".join(["medssl evaluate", *asked])]
