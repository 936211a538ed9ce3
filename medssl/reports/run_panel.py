"""A run at a glance, as Jupyter shows it: `run_panel.of("runs/voco")`.

What it is and how far it got, its curves, what probes and evaluations found, the newest picture of
what the method does. It holds what may be shared: ids and figures, no paths.
"""

import json
from pathlib import Path

import pandas as pd

from medssl.data.display import Shown, panel
from medssl.errors import UserError, one_line
from medssl.evaluation.titles import title
from medssl.reports.chain import main_figures
from medssl.reports.charts import loss_curve
from medssl.reports.method_figures import caption
from medssl.reports.scores import with_interval
from medssl.reports.sections import COLLAPSE, jsonl
from medssl.reports.style import as_png, data_uri, width_on_page

HEADLINE = 6  # figures of an evaluation


def of(folder: Path) -> Shown:
    """The run in `folder`, also while it trains. Raises UserError RUN if none is there."""
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text())
        verb = "pretrain" if "method" in config else "finetune"
        name = config["method" if verb == "pretrain" else "task"]["name"]
        asked, seed = config["fit"]["steps"], config["fit"]["seed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            "RUN", folder, f"holds no readable config.json ({one_line(error)})",
            "give the folder of a run of pretrain or finetune",
        ) from error  # fmt: skip
    card, rows = _json(folder / "model/card.json"), jsonl(folder / "metrics.jsonl")
    learnt = "pretrain" if verb == "pretrain" else "train"
    facts = {
        "steps": f"{max((row['step'] for row in rows), default=0)} of {asked}",
        "backbone": card.get("backbone", {}).get("name"),
        "start": card.get("start"),
        "patients": len(card.get("patients", {}).get(learnt, [])),
        "alarm": card.get("alarm"),
        "seed": str(seed),
    }
    keys = ["loss", "validation"] if verb == "finetune" else ["loss", *COLLAPSE]
    figures = [(as_png(loss_curve(rows, keys, COLLAPSE, card.get("figure", ""))), "Over steps.")]
    newest = sorted((folder / "pictures").glob("step-*.png"))[-1:]
    figures += [(path.read_bytes(), caption(path)) for path in newest]
    found = {
        "Probes": _probe(_json(folder / "probe/probe.json")),
        "Evaluation": _evaluation(_json(folder / "evaluation/metrics.json").get("metrics", {})),
    }
    return Shown(
        panel(
            f"{folder.resolve().name}: {verb} {name}",
            {key: value for key, value in facts.items() if value},
            [(f"{k}, with 95 % intervals over patients.", t) for k, t in found.items() if len(t)],
            [(data_uri(png), width_on_page(png), words) for png, words in figures],
        )
    )


def _probe(found: dict) -> pd.DataFrame:
    networks = ("pretrained", "untrained", "difference")
    return pd.DataFrame(
        {"probe": probe, **{n: with_interval(of[n]) for n in networks}, **_of(of["difference"])}
        for probe, of in found.items()
    )


def _evaluation(metrics: dict) -> pd.DataFrame:
    return pd.DataFrame(
        {"score": title(score), "estimate": with_interval(value), **_of(value)}
        for score, value in list(main_figures(metrics).items())[:HEADLINE]
    )


def _of(value: dict) -> dict[str, int]:
    return {"patients": value["n_patients"], "seed": value["seed"]}


def _json(path: Path) -> dict:
    return json.loads(path.read_text()) if path.exists() else {}
