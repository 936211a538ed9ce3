"""The report of an evaluated run: from cohort to figures, as far back as its folders reach."""

import json
from pathlib import Path

import pandas as pd

from medssl.reports import figures
from medssl.reports.html import Section
from medssl.reports.html import write as write_page

PICTURES = 2
EXPLAINED = {
    "mae": "Input, the patches left visible, and the reconstruction of the hidden ones.",
    "voco": "A random crop on the base grid, and its true and predicted overlap with every cell.",
}


def write(
    folder: Path, run: Path, card: dict, result: dict, cases: pd.DataFrame, cohort: pd.DataFrame,
    shown: list[dict], pretrained: list[Path],
) -> Path:  # fmt: skip
    """Compose folder/report.html, and the overlays apart in folder/pictures.

    result      what metrics.json holds
    cohort      the manifest's table
    shown       cases to draw: id, dice, image, truth, prediction, classes
    pretrained  pretraining runs to show; those that are no longer there are left out
    """
    pretrained = [p for p in pretrained if (p / "metrics.jsonl").exists()]
    sections = [
        _results(result, cases, card),
        *([_overlays(folder, shown)] if shown else []),
        _cohort(cohort, card),
        *[_pretraining(p) for p in pretrained],
        _training(run, card),
        _provenance(run, card, result),
    ]
    config = card["config"]
    fresh = not config.get("backbone") or config.get("from_scratch")
    start = (
        "Trained from scratch"
        if fresh
        else f"Pretrained with {_method(Path(config['backbone']))}, fine-tuned"
    )
    subtitle = (
        f"{start} on {card['trained_on']} labelled scans of {len(card['patients']['train'])} patients; "
        f"scored on {result['n_cases']} scans of {result['n_patients']} other patients"
    )
    title = f"{card['task']['name'].capitalize()}: {', '.join(card['classes'].values())}"
    return write_page(folder / "report.html", title, subtitle, sections)


def _results(result: dict, cases: pd.DataFrame, card: dict) -> Section:
    found, gain = result["metrics"], result["difference_to_baseline"]
    text = (
        f"Scored on the {result['split']} split. The intervals are 95 % percentile bootstrap "
        f"intervals over patients (seed {result['seed']})."
    )
    if result["trained_on_held_out_patients"]:
        text += f" CAUTION: trained on held-out patients: {result['trained_on_held_out_patients']}."
    tables = [_intervals(found, "figure")]
    if gain:
        tables.append(_intervals(gain, "paired difference to the baseline"))
    rows = [{"name": k, **{x: v[x] for x in ("estimate", "low", "high")}} for k, v in found.items()]
    drawn = [(figures.dots_with_intervals(rows), "Estimates and 95 % intervals.", "figures")]
    if "truth" in cases and len(card["classes"]) == 2:
        positive = card["classes"]["1"]
        truth = (cases["truth"] == positive).to_numpy(int)
        curve = figures.roc(truth, cases[f"score_{positive}"].to_numpy())
        drawn.append((curve, f"Receiver operating characteristic for {positive}.", "ROC curve"))
    return Section("Figures", text, figures=drawn, tables=tables)


def _intervals(found: dict, heading: str) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                heading: name,
                "estimate": float(v["estimate"]),
                "95 % interval": f"{v['low']:.3f} to {v['high']:.3f}",
                "patients": v["n_patients"],
                "cases": v["n_cases"],
            }
            for name, v in found.items()
        ]
    )


def _overlays(folder: Path, shown: list[dict]) -> Section:
    drawn = []
    (folder / "pictures").mkdir(exist_ok=True)
    for case in shown:
        figure = figures.overlay(case["image"], case["truth"], case["prediction"], case["classes"])
        png = figures.as_png(figure)
        (folder / f"pictures/{case['id']}.png").write_bytes(png)
        caption = f"{case['id']}: mean Dice {case['dice']:.3f}. Truth solid, prediction dashed."
        drawn.append((png, caption, f"prediction laid over truth, {case['id']}"))
    text = "The best, the middle and the worst case of the split."
    return Section("Predictions on truth", text, figures=drawn)


def _cohort(cohort: pd.DataFrame, card: dict) -> Section:
    used, refused = cohort[cohort["verdict"] == "used"], cohort[cohort["verdict"] == "refused"]
    facts = {
        "scans": len(used),
        "patients": used["patient"].nunique(),
        "refused files": len(refused),
        "modality": ", ".join(sorted(m for m in used["modality"].unique() if m)) or "not said",
    }
    by_split = used.assign(split=used["split"].replace("", "none")).groupby("split")
    order = [s for s in ("train", "val", "test", "none") if s in by_split.groups]
    table = by_split.agg(scans=("id", "size"), patients=("patient", "nunique"))
    table = table.loc[order].reset_index()
    recipe = ", ".join(f"{k} {v}" for k, v in card["recipe"].items() if v not in (None, "", False))
    return Section("Cohort", f"Prepared with {recipe}.", tables=[table], facts=facts)


def _pretraining(run: Path) -> Section:
    config = json.loads((run / "config.json").read_text())
    method, fit = _method(run), config["fit"]
    curve = figures.loss_curve(_jsonl(run / "metrics.jsonl"), ["loss"])
    drawn = [(curve, "Loss while pretraining.", "loss curve")]
    newest = sorted((run / "pictures").glob("*.png"))[-PICTURES:]
    drawn += [(p.read_bytes(), EXPLAINED.get(method, ""), f"what {method} does") for p in newest]
    text = f"{fit['steps']} steps of {fit['batch_size']} scans without labels."
    return Section(f"Pretraining with {method}", text, figures=drawn)


def _training(run: Path, card: dict) -> Section:
    fit = card["config"]["fit"]
    curve = figures.loss_curve(_jsonl(run / "metrics.jsonl"), ["loss", "validation"])
    drawn = [(curve, "Training loss, and the score on validation patients.", "loss curve")]
    return Section("Fine-tuning", f"{fit['steps']} steps of {fit['batch_size']}.", figures=drawn)


def _provenance(run: Path, card: dict, result: dict) -> Section:
    facts = {"seed": card["config"]["fit"]["seed"], "cohort": card["cohort"], **card["versions"]}
    text = "Every key of this run stands in config.json of its folder."
    command = f"medssl evaluate {run.name} split={result['split']} seed={result['seed']}"
    return Section("How to reproduce", text, facts=facts, commands=[command])


def _method(run: Path) -> str:
    path = run / "config.json"
    return json.loads(path.read_text())["method"]["name"] if path.exists() else run.name


def _jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
