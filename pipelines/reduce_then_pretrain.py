"""Does dropping near copies help? Pretraining on all slices, and on those that `medssl reduce` keeps.

medssl run reduce_then_pretrain store=heads labelled=films target=label_class out=less

After Wolf et al. 2024, "Less is More": on all, on the kept ones as many passes, on them as many steps;
then fine-tuning on a few films of another store, also from scratch. Every seed draws weights, order and
labels. Expect, for 6,677 slices of 60 heads, three hours on two cores, summary.csv and differences.csv.
"""

import json
from math import ceil
from pathlib import Path
from typing import Annotated

import pandas as pd

from medssl.evaluation.efficiency import efficiency
from medssl.stages import call
from medssl.training.log import minutes_of


def main(
    store: Annotated[str, "folder that `medssl prepare` wrote, to pretrain on"],
    labelled: Annotated[str, "another, of labelled films or slices"],
    target: Annotated[str, "label column to classify by"],
    out: Annotated[str, "folder for all that is written"] = "less",
    reduce: Annotated[str, "preset of `medssl reduce`"] = "hash6",
    preset: Annotated[str, "of `medssl pretrain`"] = "simclr_2d_small",
    passes: Annotated[float, "over all slices"] = 5, batch: Annotated[int, "slices a step"] = 32,
    few: Annotated[int, "labels to fine-tune on"] = 100, steps: Annotated[int, "of that"] = 300,
    size: Annotated[int, "rows and columns that films are fitted into"] = 64,
    seeds: Annotated[list[int], "a run of everything each"] = (0, 1, 2),
    threads: Annotated[int, "of the CPU; 0: as torch chooses"] = 0,
):  # fmt: skip
    out = Path(out)
    kept = call("reduce", reduce, store=store, out=out / "kept")
    about = json.loads((kept / "selection.json").read_text())
    long, short = (ceil(passes * about[n] / batch) for n in ("items", "kept"))
    arms = {"all": long, "kept_passes": short, "kept_steps": long}
    cases, hours = {arm: [] for arm in [*arms, "scratch"]}, {arm: [] for arm in arms}
    for seed in seeds:
        shared = {"seed": seed, "threads": threads}
        for arm, n in arms.items():
            fit = shared | {"steps": n, "every": ceil(n / 4), "batch_size": batch}
            run, of = out / f"{arm}-{seed}", None if arm == "all" else kept
            call("pretrain", preset, store=store, selection=of, fit=fit, out=run)
            hours[arm].append(minutes_of(run) / 60)
        for arm in cases:  # scratch takes the architecture of the last run
            run = out / f"{arm}-{seed}" if arm in arms else run
            tuned = call("finetune", "classification", store=labelled, target=target, labelled=few,
                         draw=seed, backbone=run, from_scratch=arm not in arms, task={"size": [size] * 2},
                         fit=shared | {"steps": steps}, out=out / f"{arm}-{seed}-{few}")  # fmt: skip
            cases[arm].append(pd.read_parquet(call("evaluate", run=tuned) / "cases.parquet"))
    read = pd.Series({arm: about["items" if arm == "all" else "kept"] for arm in arms})
    tables, others = {(arm, few): cases[arm] for arm in cases}, ["scratch", *list(arms)[1:]]
    found = efficiency(tables, dict.fromkeys(others, "all"), {"auroc": 1})["auroc"]
    found.differences().to_csv(out / "differences.csv", index=False)
    more = {"slices": read, "steps": pd.Series(arms), "hours": pd.DataFrame(hours).mean()}
    found.curve().set_index("arm").assign(**more).convert_dtypes().to_csv(out / "summary.csv")
    return out / "summary.csv"
