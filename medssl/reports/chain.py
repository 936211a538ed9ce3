"""The report of an evaluated run: from cohort to figures, as far back as its folders reach."""

import json
from pathlib import Path

import pandas as pd

from medssl.reports import figures
from medssl.reports.html import Section
from medssl.reports.html import write as write_page

PICTURES = 2


def write(
    path: Path,
    run: Path,
    card: dict,
    result: dict,
    cases: pd.DataFrame,
    cohort: pd.DataFrame,
    shown,
):
    """Compose report.html. `result` is metrics.json, `cohort` the manifest, `shown` drawn cases."""
    parent = card["config"].get("backbone")
    sections = [_results(result, cases, card), _pictures(shown), _cohort(cohort, card)]
    if parent and (Path(parent) / "metrics.jsonl").exists():
        sections.append(_pretraining(Path(parent)))
    sections += [_training(run, card), _provenance(run, card, result)]
    words = f"{len(card['patients'].get('train', []))} training patients"
    subtitle = f"{result['n_cases']} held-out scans of {result['n_patients']} patients; {words}"
    name = card["task"]["name"].capitalize()
    return write_page(path, f"{name}: {result['run']}", subtitle, [s for s in sections if s])


def _results(result: dict, cases: pd.DataFrame, card: dict) -> Section:
    table = _interval_table(result["metrics"])
    drawn = [
        (
            figures.dots_with_intervals(_rows(result["metrics"])),
            "Mean and 95 % interval over patients.",
            "metrics",
        )
    ]
    tables = [table]
    text = (
        f"Scored on the {result['split']} split. Intervals are percentile bootstrap over patients "
        f"(seed {result['seed']})."
    )
    if result["difference_to_baseline"]:
        tables.append(
            _interval_table(result["difference_to_baseline"]).rename(
                columns={"figure": "paired difference to baseline"}
            )
        )
    leaked = result["trained_on_held_out_patients"]
    if leaked:
        text += f" CAUTION: held-out patients had been trained on: {leaked}."
    if "truth" in cases and len(card["classes"]) == 2:
        positive = card["classes"]["1"]
        truth = (cases["truth"] == positive).to_numpy(int)
        drawn.append(
            (
                figures.roc(truth, cases[f"score_{positive}"].to_numpy()),
                "Receiver operating characteristic.",
                "ROC",
            )
        )
    return Section("Figures", text, figures=drawn, tables=tables)


def _rows(metrics: dict) -> list[dict]:
    return [
        {"name": k, **{x: v[x] for x in ("estimate", "low", "high")}} for k, v in metrics.items()
    ]


def _interval_table(metrics: dict) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "figure": name,
                "estimate": round(v["estimate"], 3),
                "95 % interval": f"{v['low']:.3f} to {v['high']:.3f}",
                "patients": v["n_patients"],
                "cases": v["n_cases"],
            }
            for name, v in metrics.items()
        ]
    )


def _pictures(shown: list[dict]) -> Section | None:
    if not shown:
        return None
    drawn = [
        (
            figures.overlay(s["image"], s["truth"], s["prediction"], s["classes"], ""),
            f"{s['id']}: mean Dice {s['dice']:.3f}. Truth solid, prediction dashed.",
            f"overlay of prediction on truth, {s['id']}",
        )
        for s in shown
    ]
    return Section(
        "Predictions on truth", "Best, middle and worst case of the split.", figures=drawn
    )


def _cohort(cohort: pd.DataFrame, card: dict) -> Section:
    used, refused = cohort[cohort["verdict"] == "used"], cohort[cohort["verdict"] == "refused"]
    facts = {
        "scans": len(used),
        "patients": used["patient"].nunique(),
        "refused files": len(refused),
        "modality": ", ".join(sorted(m for m in used["modality"].unique() if m)) or "not said",
    }
    by_split = used.assign(split=used["split"].replace("", "none")).groupby("split")
    table = by_split.agg(scans=("id", "size"), patients=("patient", "nunique")).reset_index()
    recipe = ", ".join(f"{k} {v}" for k, v in card["recipe"].items() if v not in (None, "", False))
    return Section("Cohort", f"Prepared with: {recipe}.", tables=[table], facts=facts)


def _pretraining(run: Path) -> Section:
    rows = _jsonl(run / "metrics.jsonl")
    config = json.loads((run / "config.json").read_text())
    drawn = [(figures.loss_curve(rows, ["loss"]), "Loss while pretraining.", "loss curve")]
    newest = sorted((run / "pictures").glob("*.png"))[-PICTURES:]
    drawn += [
        (p.read_bytes(), "What the method saw, asked and answered.", "method") for p in newest
    ]
    text = f"{config['method']['name']}, {config['fit']['steps']} steps of {config['fit']['batch_size']}."
    return Section("Pretraining", text, figures=drawn)


def _training(run: Path, card: dict) -> Section:
    rows = _jsonl(run / "metrics.jsonl")
    drawn = [
        (
            figures.loss_curve(rows, ["loss", "validation"]),
            "Loss and validation score.",
            "loss curve",
        )
    ]
    fit = card["config"]["fit"]
    return Section("Fine-tuning", f"{fit['steps']} steps of {fit['batch_size']}.", figures=drawn)


def _provenance(run: Path, card: dict, result: dict) -> Section:
    facts = {"seed": card["config"]["fit"]["seed"], "cohort": card["cohort"], **card["versions"]}
    return Section(
        "How to reproduce", "Every key of this run is in config.json of its folder.", facts=facts,
        commands=[f"medssl evaluate {run} split={result['split']} seed={result['seed']}"],
    )  # fmt: skip


def _jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
