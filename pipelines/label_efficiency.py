"""Does pretraining help with few labels?

medssl run label_efficiency store=store backbone=runs/voco out=study

Fine-tunes from the backbone and from scratch (same architecture, steps and seed) on the same few
labelled scans, several draws, and writes study/paired.csv and study/summary.json: the paired
difference of mean Dice on the test split with its 95 % interval over patients. Expect, for 4 labels
and 3 draws of the hippocampus set, about 12 minutes on two cores.
"""

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from medssl.evaluation.intervals import paired_difference
from medssl.stages import call


def main(
    store="store", backbone="run", out="study", labelled=4, draws=3, steps=150, lr=4e-3, threads=0,
    preset="few_labels",
):  # fmt: skip
    out = Path(out)
    rows = []
    for draw in range(draws):
        scores = {}
        for arm in ("pretrained", "scratch"):
            run = out / f"{arm}-{labelled}-{draw}"
            if not (run / "evaluation/cases.parquet").exists():
                fit = {"steps": steps, "every": steps // 2, "seed": draw, "threads": threads}
                call(
                    "finetune", preset, store=store, backbone=backbone, from_scratch=arm == "scratch",
                    labelled=labelled, draw=draw, fit=fit, optim={"lr": lr}, out=run,
                )  # fmt: skip
                call("evaluate", run=run, examples_shown=1)
            cases = pd.read_parquet(run / "evaluation/cases.parquet")
            scores[arm] = cases.groupby("id").agg(
                dice=("dice", "mean"), patient=("patient", "first")
            )
        both = scores["pretrained"].join(scores["scratch"]["dice"].rename("scratch"))
        rows.append(both.rename(columns={"dice": "pretrained"}).assign(draw=draw).reset_index())
    table = pd.concat(rows)
    table.to_csv(out / "paired.csv", index=False)
    # One value a test case, averaged over draws: the same patients are scored in every draw.
    mean = table.groupby("id").agg(
        a=("pretrained", "mean"), b=("scratch", "mean"), patient=("patient", "first")
    )
    gain = paired_difference(
        mean["a"].to_numpy(), mean["b"].to_numpy(), mean["patient"].to_numpy(), seed=0
    )
    each = table.groupby("draw")[["pretrained", "scratch"]].mean().round(4).to_dict("index")
    summary = {"labelled": labelled, "difference": asdict(gain), "mean_dice_by_draw": each}
    (out / "summary.json").write_text(json.dumps(summary, indent=1))
    print(json.dumps(summary, indent=1))
    return out / "summary.json"
