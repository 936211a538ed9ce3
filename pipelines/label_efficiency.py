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
from typing import Annotated

import pandas as pd

from medssl.evaluation.intervals import paired_difference
from medssl.stages import call


def main(
    store: Annotated[str, "folder that `medssl prepare` wrote"] = "store",
    backbone: Annotated[str, "run of a pretrained backbone"] = "run",
    out: Annotated[str, "folder for all that is written"] = "study",
    labelled: Annotated[int, "scans to fine-tune on"] = 4, draws: Annotated[int, "of these"] = 3,
    steps: Annotated[int, "of each fine-tuning"] = 150, lr: Annotated[float, "its rate"] = 4e-3,
    threads: Annotated[int, "of the CPU; 0: as torch chooses"] = 0,
    preset: Annotated[str, "of `medssl finetune`"] = "few_labels",
):  # fmt: skip
    out = Path(out)
    rows = []
    for draw in range(draws):
        scores = {}
        for arm in ("pretrained", "scratch"):
            run = out / f"{arm}-{labelled}-{draw}"
            fit = {"steps": steps, "every": steps // 2, "seed": draw, "threads": threads}
            call(  # a run that was done is not done again, nor taken for one of other settings
                "finetune", preset, store=store, backbone=backbone, from_scratch=arm == "scratch",
                labelled=labelled, draw=draw, fit=fit, optim={"lr": lr}, out=run,
            )  # fmt: skip
            call("evaluate", run=run, examples_shown=1)
            cases = pd.read_parquet(run / "evaluation/cases.parquet").groupby("id")
            scores[arm] = cases.agg(dice=("dice", "mean"), patient=("patient", "first"))
        both = scores["pretrained"].join(scores["scratch"]["dice"].rename("scratch"))
        rows.append(both.rename(columns={"dice": "pretrained"}).assign(draw=draw).reset_index())
    table = pd.concat(rows)
    table.to_csv(out / "paired.csv", index=False)
    # One value a test case, averaged over draws: the same patients are scored in every draw.
    mean = table.groupby("id")[["pretrained", "scratch"]].mean()
    patients = table.groupby("id")["patient"].first().to_numpy()
    arms = mean["pretrained"].to_numpy(), mean["scratch"].to_numpy()
    gain = paired_difference(*arms, patients, seed=0)
    each = table.groupby("draw")[["pretrained", "scratch"]].mean().round(4).to_dict("index")
    summary = {"labelled": labelled, "difference": asdict(gain), "mean_dice_by_draw": each}
    (out / "summary.json").write_text(json.dumps(summary, indent=1))
    print(json.dumps(summary, indent=1))
    return out / "summary.json"
