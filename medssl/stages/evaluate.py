"""Score a fine-tuned model on held-out patients, and report.

Writes metrics.json (every figure with its 95 % interval over patients, n of patients and seed),
cases.parquet and cases.csv (one row a case, or a case and class), and report.html: the cohort, the
training, the figures, and predictions laid over the truth. Segmentations are scored on the scan's
own grid. With `baseline=` another evaluation of the same cases is compared, case by case.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from medssl.config import Config as Base
from medssl.data.leakage import overlap, refuse_overlap
from medssl.data.manifest import Manifest
from medssl.data.preprocess import restore
from medssl.data.store import Store
from medssl.data.subset import of_splits
from medssl.errors import UserError
from medssl.evaluation.intervals import (
    Interval,
    bootstrap,
    bootstrap_statistics,
    paired_difference,
)
from medssl.evaluation.metrics import classification_scores, segmentation_scores
from medssl.progress import say, track
from medssl.reports import chain
from medssl.stages.finetune import load_task, target_numbers
from medssl.training import run_folder


class Config(Base):
    positional: ClassVar = ("run",)
    examples: ClassVar = (
        "medssl evaluate runs/liver",
        "medssl evaluate runs/liver baseline=runs/scratch/evaluation split=test",
    )
    run: Path = Field(description="run folder of `medssl finetune`")
    out: Path | None = Field(None, description="folder to write to; none: RUN/evaluation")
    store: Path | None = Field(None, description="store to score on; none: the one of the run")
    split: str = Field("test", description="which scans to score")
    baseline: Path | None = Field(None, description="another evaluation folder to compare with")
    also: list[Path] = Field([], description="other pretraining runs to show in the report")
    tolerance: float = Field(1.0, description="of the normalised surface distance, mm", gt=0)
    resamples: int = Field(2000, description="bootstrap samples of the intervals", ge=100)
    seed: int = Field(0, description="of the bootstrap")
    examples_shown: int = Field(3, description="cases drawn in the report", ge=0)
    allow_overlap: bool = Field(False, description="score patients that were trained on, marked so")


def run(config: Config) -> Path:
    task, about = load_task(config.run)
    of_run = run_folder.read_config(config.run)
    store = Store.read_from(config.store or Path(of_run["store"]))
    items = of_splits(store.items, [config.split])
    items = items[items["has_mask"]] if not about["target"] else items
    if items.empty:
        raise UserError(
            "EMPTY", store.folder, f"no labelled scan has the split {config.split!r}",
            "choose another split=, or give splits= to `medssl index`",
        )  # fmt: skip
    seen = overlap(about, set(items["patient"]))
    refuse_overlap(seen, config.run, config.allow_overlap)
    out = config.out or config.run / "evaluation"
    out.mkdir(parents=True, exist_ok=True)

    if about["target"]:
        cases, metrics = _classification(task, store, items, about, config)
        shown = []
    else:
        cases, metrics, shown = _segmentation(task, store, items, config)
    cases.to_parquet(out / "cases.parquet", index=False)
    cases.to_csv(out / "cases.csv", index=False)
    compared = _compare(cases, config) if config.baseline else {}
    result = {
        "run": config.run.name,
        "split": config.split,
        "n_patients": int(items["patient"].nunique()),
        "n_cases": len(items),
        "seed": config.seed,
        "tolerance_mm": None if about["target"] else config.tolerance,
        "trained_on_held_out_patients": {part: len(who) for part, who in seen.items()},
        "metrics": {name: asdict(interval) for name, interval in metrics.items()},
        "difference_to_baseline": {name: asdict(interval) for name, interval in compared.items()},
    }
    (out / "metrics.json").write_text(json.dumps(result, indent=1))
    for name, interval in metrics.items():
        say(f"{name}: {interval}")
    for name, interval in compared.items():
        say(f"{name}, difference to {config.baseline}: {interval}")
    manifest = Manifest.read(store.manifest)
    parent = about["config"]["backbone"]
    pretrained = [*([Path(parent)] if parent else []), *config.also]
    report = chain.write(out, config.run, about, result, cases, manifest.table, shown, pretrained)
    say(f"report: {report}")
    return out


def _segmentation(task, store: Store, items: pd.DataFrame, config: Config):
    """Dice and surface distance of every case and class on the scan's own grid."""
    manifest = Manifest.read(store.manifest)
    rows = []
    for item in track(list(items.index), "evaluate", unit="scans"):
        scan = manifest.volume(item)
        truth = manifest.mask(item, scan)
        found = restore(
            task.predict(store.read(item)), store.grid(item), store.recipe.orientation, scan
        )
        each = segmentation_scores(
            found.array[0],
            truth.array[0].astype(np.int64),
            task.classes,
            scan.spacing,
            config.tolerance,
        )
        about = {"id": item, "patient": items.at[item, "patient"]}
        rows += [{**about, **row} for row in each]
    cases = pd.DataFrame(rows)
    metrics = {}
    for measure in ("dice", "nsd"):
        per_case = cases.groupby("id").agg(value=(measure, "mean"), patient=("patient", "first"))
        metrics[f"{measure}, mean of classes"] = _interval(
            per_case["value"], per_case["patient"], config
        )
        for name in task.classes.values():
            of_class = cases[cases["class"] == name]
            metrics[f"{measure}, {name}"] = _interval(
                of_class[measure], of_class["patient"], config
            )
    return cases, metrics, _examples(task, store, manifest, cases, config.examples_shown)


def _interval(values: pd.Series, patients: pd.Series, config: Config) -> Interval:
    return bootstrap(
        values.to_numpy(float), patients.to_numpy(), n=config.resamples, seed=config.seed
    )


def _examples(task, store: Store, manifest: Manifest, cases: pd.DataFrame, n: int) -> list[dict]:
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
            "prediction": task.predict(store.read(item)).argmax(0),
            "classes": task.classes,
        }
        for item in ranked.index[places]
    ]


def _classification(task, store: Store, items: pd.DataFrame, about: dict, config: Config):
    """Scores of every case; AUROC, AUPRC and accuracy with intervals."""
    numbers = target_numbers(items[about["target"]], task.classes)
    items = items[items.index.isin(numbers)]
    scores = np.stack(
        [task.predict(store.read(i)) for i in track(list(items.index), "evaluate", unit="scans")]
    )
    truth = np.array([numbers[i] for i in items.index])
    cases = pd.DataFrame(
        {
            "id": items.index,
            "patient": items["patient"].to_numpy(),
            "truth": [task.classes[k] for k in truth],
            "predicted": [task.classes[k] for k in scores.argmax(1)],
            **{f"score_{name}": scores[:, k] for k, name in task.classes.items()},
        }
    )

    def scored(rows: np.ndarray) -> dict[str, float]:
        return classification_scores(truth[rows], scores[rows])

    return cases, bootstrap_statistics(
        scored, items["patient"].to_numpy(), n=config.resamples, seed=config.seed
    )


def _compare(cases: pd.DataFrame, config: Config) -> dict[str, Interval]:
    """Paired differences, this run minus the baseline, over the cases that both scored."""
    path = config.baseline / "cases.parquet"
    if not path.exists():
        raise UserError(
            "EMPTY", path, "there is no such evaluation", "run `medssl evaluate` on the baseline"
        )
    other = pd.read_parquet(path)
    keys = [k for k in ("id", "class") if k in cases]
    both = cases.merge(other, on=keys, suffixes=("", "_baseline"))
    if len(both) != len(cases) or len(both) != len(other):
        raise UserError(
            "MISMATCH", path, f"{len(both)} of {len(cases)} rows have a partner in the baseline",
            "evaluate both runs on the same store and split",
        )  # fmt: skip
    measures = [m for m in ("dice", "nsd") if m in cases]
    if not measures:
        both["right"] = (both["predicted"] == both["truth"]).astype(float)
        both["right_baseline"] = (both["predicted_baseline"] == both["truth"]).astype(float)
        measures = ["right"]
    out = {}
    for m in measures:
        mean = both.groupby("id").agg(
            a=(m, "mean"), b=(f"{m}_baseline", "mean"), patient=("patient", "first")
        )
        out[m] = paired_difference(
            mean["a"].to_numpy(float), mean["b"].to_numpy(float), mean["patient"].to_numpy(),
            n=config.resamples, seed=config.seed,
        )  # fmt: skip
    return out
