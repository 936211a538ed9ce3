"""Sections of a page that several reports have: of what scans, of what training, and how to do it again."""

import json
from pathlib import Path

import pandas as pd

from medssl.data.recipe import Recipe
from medssl.reports import charts, method_figures
from medssl.reports.cohort import by_split
from medssl.reports.html import Section

PICTURES = 2
COLLAPSE = ("spread", "rank")


def cohort_section(cohort: pd.DataFrame, card: dict) -> Section:
    used, refused = cohort[cohort["verdict"] == "used"], cohort[cohort["verdict"] == "refused"]
    facts = {
        "scans": len(used),
        "patients": used["patient"].nunique(),
        "refused files": len(refused),
        "modality": ", ".join(sorted(m for m in used["modality"].unique() if m)) or "not said",
    }
    tables = [(by_split(used), "Scans used, by split.")]
    recipe = str(Recipe(**card["recipe"])).replace("-", "\N{MINUS SIGN}")
    return Section("Cohort", f"Prepared with {recipe}.", facts=facts, tables=tables)


def pretraining_section(run: Path, last: int = 0, name: str = "") -> Section:
    """The curve of a pretraining up to a step (0: the last one), and the newest pictures of its method."""
    config = json.loads((run / "config.json").read_text())
    method, fit = _method(run), config["fit"]
    rows = [r for r in jsonl(run / "metrics.jsonl") if not last or r["step"] <= last]
    steps = last or max((r["step"] for r in rows), default=0)
    curve = charts.loss_curve(rows, ["loss", *COLLAPSE], from_zero=COLLAPSE)
    words = "Loss while pretraining"
    if any(sum(r.get(k) is not None for r in rows) > 1 for k in COLLAPSE):
        words += "; spread and effective rank of the features, which fall when they collapse"
    drawn = [(curve, f"{words}.", "curves over steps")]
    there = sorted((run / "pictures").glob("step-*.png"))
    newest = [p for p in there if int(p.name.split("-")[1]) <= steps][-PICTURES:]
    drawn += [(p.read_bytes(), method_figures.caption(p), f"what {method} does") for p in newest]
    text = f"{steps} steps without labels, {fit['batch_size']} scans a step."
    caution = ""
    if steps < fit["steps"]:
        caution = f"It was to take {fit['steps']} steps: these weights are from step {steps}."
    return Section(f"Pretraining with {name or method}", text, caution, figures=drawn)


def training_section(run: Path, card: dict) -> Section:
    fit = card["config"]["fit"]
    rows = jsonl(run / "metrics.jsonl")
    words = "Training loss"
    if sum(row.get("validation") is not None for row in rows) > 1:  # one is no curve
        words += f", and the {card.get('figure') or 'score'} on validation patients"
    curve = charts.loss_curve(rows, ["loss", "validation"], validated=card.get("figure", ""))
    drawn = [(curve, f"{words}.", "curves over steps")]
    steps = max((row["step"] for row in rows), default=fit["steps"])
    text = f"{steps} steps, {fit['batch_size']} samples a step."
    if steps < fit["steps"] and card["config"].get("patience"):
        text += (
            f" Up to {fit['steps']} were asked for; training ended as validation gained no more."
        )
    return Section("Fine-tuning", text, figures=drawn)


def provenance_section(card: dict, commands: list[str], facts: dict | None = None) -> Section:
    facts = facts or {"seed": card["config"]["fit"]["seed"]}
    facts = {**facts, "cohort": card["cohort"], **card["versions"]}
    text = (
        "From the prepared store; every key stands in config.json of a run's folder. Folders are "
        "given here by their last name, since this page is made to be passed on."
    )
    return Section("How to reproduce", text, facts=facts, commands=commands)


def _method(run: Path) -> str:
    path = run / "config.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    part = config.get("method") or config.get("task")  # a fine-tuned run may be a start, too
    return part["name"] if part else run.name


def jsonl(path: Path) -> list[dict]:
    """The complete lines of a log, which may be being written; none if there is no log."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]
