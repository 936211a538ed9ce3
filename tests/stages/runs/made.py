"""Runs and studies as folders, of which nothing was trained."""

import json

import pandas as pd

from tests.training.test_registry import CARD, CONFIG, EVALUATION, made


def scored(folder, dice, ids="abc", classes=("ball",), split="test", **more):
    """A run whose evaluation says one Dice of every case."""
    figure = {"low": dice - 0.1, "high": dice + 0.1, "n_patients": len(ids), "n_cases": len(ids)}
    names = ["dice, mean of classes", *(f"dice, {c}" for c in classes), "hd95_mm, mean of classes"]
    metrics = {name: {**figure, "estimate": dice} for name in names}
    about = {"metrics": metrics, "classes": list(classes), "split": split, "tolerance_mm": 1.0}
    rows = [
        {"id": i, "patient": i, "class": c, "dice": dice, "volume_ml_truth": 1.0}
        for i in ids for c in classes
    ]  # fmt: skip
    card = {**CARD, "classes": dict(enumerate(classes, 1)), **more.pop("card", {})}
    config = {**CONFIG, "scans": {"train": "t", "validation": "v"}, **more.pop("config", {})}
    made(folder, config, card, {**EVALUATION, **about, **more})
    pd.DataFrame(rows).to_parquet(folder / "evaluation/cases.parquet")
    return folder


STUDY = {
    "store": "/data/heads", "methods": ["voco"], "backbones": ["/runs/mae"], "arms": {}, "only": [],
    "labelled": [2, 0], "draws": 3, "seeds": 1, "trials": [{"optim": {"lr": 0.004}}, {}],
    "finetune": {"preset": "few_labels", "fit": {"steps": 80}}, "out": "/x",
}  # fmt: skip


def studied(folder, scored=12):
    """A study of three arms, with 2 labels in three draws and with all in one: 12 fine-tunings."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(STUDY))
    places = [(a, f"{c}-draw{d}-seed0-trial0") for a in ("from-scratch", "voco", "mae")
              for c, d in (("2", 0), ("2", 1), ("2", 2), ("all", 0))]  # fmt: skip
    for arm, name in places[:scored]:
        run = made(folder / "finetune" / arm / name)
        (run / "scored.json").write_text("{}")
    if scored == len(places):
        (folder / "report.html").touch()
    return folder


def gains(*rows):
    columns = ["arm", "labelled", "estimate", "low", "high", "p, corrected", "judged"]
    return pd.DataFrame(rows, columns=columns)
