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
from typing import ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from medssl.config import Config as Base
from medssl.data.files import write_csv
from medssl.data.folds import resplit
from medssl.data.leakage import look_alikes, overlap, refuse_overlap
from medssl.data.manifest import Manifest
from medssl.data.preprocess import restore
from medssl.data.store import Store
from medssl.data.subset import of_splits
from medssl.data.targets import mask_remarks, read_targets
from medssl.describe import words
from medssl.errors import UserError
from medssl.evaluation.baseline import Baseline
from medssl.evaluation.metrics import segmentation_scores
from medssl.evaluation.summary import differences, summary
from medssl.privacy import scrub
from medssl.progress import say, track
from medssl.reports import chain
from medssl.stages import finetune, pretrain
from medssl.stages.finetune import load_task
from medssl.training import run_folder
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
    baseline: Path | None = Field(None, description="another evaluation folder to compare with")
    also: list[Path] = Field([], description="other pretraining runs to show in the report")
    tolerance: float = Field(1.0, description="of the normalised surface distance, mm", gt=0)
    lesions: bool = Field(False, description="also count separate parts of each class, as lesions")
    resamples: int = Field(2000, description="bootstrap samples of the intervals", ge=100)
    seed: int = Field(0, description="of the bootstrap")
    examples_shown: int = Field(3, description="cases drawn in the report", ge=0)
    allow_overlap: bool = Field(False, description="score patients that were trained on, marked so")


def run(config: Config) -> Path:
    task, about = load_task(config.run, config.take())
    of_run = run_folder.read_config(config.run)
    store = Store.read_from(config.store or Path(of_run["store"]))
    manifest = Manifest.read(store.manifest)
    _check_recipe(store, about)
    store.check_current(manifest)
    splits = config.splits or of_run.get("splits")
    of_file = resplit(store.items, Path(splits), of_run.get("fold", 0)) if splits else store.items
    asked = of_splits(of_file, [config.split])
    if about["target"]:
        truths = _truths(task, asked, about["target"])
        items = asked[asked.index.isin(truths)]
    else:
        items = asked[asked["has_mask"]]
    if items.empty:
        raise UserError(
            "EMPTY", store.folder, f"no labelled scan has the split {config.split!r}",
            "choose another split=, or give splits= to `medssl index`",
        )  # fmt: skip
    remarks = [] if about["target"] else mask_remarks(store, items, task.classes, strict=False)
    seen = overlap(about, items)
    refuse_overlap(seen, config.run, config.allow_overlap)
    alike = look_alikes(about, items)
    baseline, out = None, config.out or config.run / "evaluation"
    if config.baseline:
        if config.baseline.resolve() == out.resolve():
            cause = "is the folder that this evaluation is written to"
            raise UserError("CONFIG", f"baseline={config.baseline}", cause, "give another run's")
        baseline = Baseline.read(config.baseline)
        baseline.check(set(items.index), task.classes, config.tolerance)
    out.mkdir(parents=True, exist_ok=True)

    if about["target"]:
        cases, shown = _whole_scans(task, store, items, truths), []
    else:
        cases = _segmentation(task, store, manifest, items, config)
        shown = _examples(task, store, _drawable(cases, items), config.examples_shown)
    of_classes = "truth" in cases and "usual" not in cases
    if of_classes and cases["predicted"].nunique() < cases["truth"].nunique():
        named = " or ".join(sorted(cases["predicted"].unique()))
        remarks.append(f"all {len(cases)} cases were called {named}, and no other class")
    write_csv(out / "look_alikes.csv", alike)
    cases.to_parquet(out / "cases.parquet", index=False)
    write_csv(out / "cases.csv", cases)
    bootstrapped = {"n": config.resamples, "seed": config.seed}
    metrics = summary(cases, **bootstrapped)
    compared = differences(cases, baseline.cases, **bootstrapped) if baseline else {}
    result = {
        "run": scrub(config.run.resolve().name),
        "start": about["start"],
        "trained_on": about["trained_on"],
        "classes": list(task.classes.values()),
        "split": config.split,
        "n_patients": int(items["patient"].nunique()),
        "n_cases_of_unknown_patients": len(manifest.guessed_patients & set(items.index)),
        "n_cases": len(items),
        "n_unlabelled": len(asked) - len(items),
        "seed": config.seed,
        "tolerance_mm": None if about["target"] else config.tolerance,
        "remarks": remarks,
        "trained_on_held_out_patients": {part: len(who) for part, who in seen.items()},
        "n_look_alikes_of_training_scans": int(alike["scan"].nunique()),
        "metrics": {name: asdict(interval) for name, interval in metrics.items()},
        "baseline": baseline.about if baseline else {},
        "difference_to_baseline": {name: asdict(interval) for name, interval in compared.items()},
    }
    (out / "metrics.json").write_text(json.dumps(result, indent=1))
    for remark in remarks:
        say(f"remark: {remark}")
    if result["n_unlabelled"]:
        say(f"left out: {result['n_unlabelled']} scans of the split, without a label that is known")
    for name, interval in metrics.items():
        say(f"{name}: {interval}")
    for name, interval in compared.items():
        say(f"{name}, difference to {config.baseline}: {interval}")
    pretrained = {path: 0 for path in config.also}
    if about.get("parent"):
        pretrained = {Path(of_run["backbone"]): about["parent"]["steps"], **pretrained}
    commands = _commands(config, of_run, pretrained)
    report = chain.write(
        out, config.run, about, result, cases, manifest.table, shown, pretrained, commands
    )
    say(f"report: {report}")
    return out


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


def _segmentation(
    task, store: Store, manifest: Manifest, items: pd.DataFrame, config: Config
) -> pd.DataFrame:
    """Dice and surface distances of every case and class on the scan's own grid."""
    rows = []
    for item in track(list(items.index), "evaluate", unit="scans"):
        store.check_unchanged(manifest, item)
        scan = manifest.volume(item)
        truth = manifest.mask(item, scan)
        scores = task.predict(store.read(item))
        found = restore(
            scores, store.grid(item), store.recipe.orientation, scan, task.winners, task.clean
        )
        each = segmentation_scores(
            found.array[0], truth.array[0].astype(np.int64), task.classes, scan.spacing,
            config.tolerance, config.lesions,
        )  # fmt: skip
        about = {"id": item, "patient": items.at[item, "patient"]}
        rows += [{**about, **row} for row in each]
    return pd.DataFrame(rows)


def _drawable(cases: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Cases that a report may show: a name written into the pixels would be passed on with it."""
    marked = set(items.index[items.get("burned_in", pd.Series(False, index=items.index))])
    if marked:
        say(f"remark: {len(marked)} scans with text in their pixels are scored, and not drawn")
    return cases[~cases["id"].isin(marked)]


def _examples(task, store: Store, cases: pd.DataFrame, n: int) -> list[dict]:
    """Best, middle and worst case: the prepared image, its truth and the prediction."""
    ranked = cases.groupby("id")["dice"].mean().dropna().sort_values(ascending=False)
    if ranked.empty:
        return []
    places = np.unique(np.linspace(0, len(ranked) - 1, min(n, len(ranked))).round().astype(int))
    return [
        {
            "id": item,
            "dice": float(ranked[item]),
            "image": store.read(item)[0],
            "truth": store.read_mask(item)[0],
            "prediction": task.labels(task.predict(store.read(item))),
            "classes": task.classes,
        }
        for item in ranked.index[places]
    ]


def _truths(task, items: pd.DataFrame, columns: list[str]) -> dict[str, object]:
    """What is true of each item, as the task's answer takes it."""
    there = [c for c in columns if c in items]
    if len(there) < len(columns):
        return {}
    return read_targets(task.answer.reads, items, columns, task.classes)


def _whole_scans(
    task, store: Store, items: pd.DataFrame, truths: dict[str, object]
) -> pd.DataFrame:
    """Truth, prediction and scores of every case."""
    rows = []
    for item in track(list(items.index), "evaluate", unit="scans"):
        logits = task.logits(store.read(item))
        told = task.answer.row(task.answer.scores(logits))
        if hasattr(task.answer, "before"):
            told |= task.answer.before(logits)
        about = {"id": item, "patient": items.at[item, "patient"]}
        rows.append({**about, **task.answer.truth(truths[item]), **told})
    return pd.DataFrame(rows)
