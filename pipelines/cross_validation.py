"""Cross-validation by patient: which recipe does best on these scans, and how well?

medssl run cross_validation manifest=manifest store=store presets=few_labels,some_labels out=folds

Every preset is fine-tuned once a fold. Each fold's own validation part says which preset to take; figures
are of all patients, each told by the model that has not seen it. Expect as many runs as folds times presets,
folds/summary.csv, and in the end the command by which the chosen models predict together.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import pandas as pd

from medssl.errors import UserError
from medssl.evaluation.summary import summary
from medssl.progress import say
from medssl.stages import call


def main(
    manifest: Annotated[str, "folder that `medssl index` wrote"] = "manifest",
    store: Annotated[str, "folder that `medssl prepare` made of it"] = "store",
    out: Annotated[str, "folder for all that is written"] = "folds",
    presets: Annotated[list[str], "of `medssl finetune`, separated by commas"] = ("few_labels",),
    folds: Annotated[int, "how many"] = 5,
    target: Annotated[str, "label column to learn; none: masks"] = None,
    backbone: Annotated[str, "run of `medssl pretrain`; none: from scratch"] = None,
    fit: Annotated[dict[str, int], "in place of the presets' own, such as fit.steps=300"] = None,
    seed: Annotated[int, "of all draws"] = 0,
):
    if folds < 3:
        raise UserError(
            "CONFIG", f"folds={folds}", "leaves nothing to validate on", "use 3 or more"
        )
    out, rows, chosen = Path(out), [], {}
    splits = call("split", manifest=manifest, folds=folds, stratify=target or "",
                  labelled=not target, seed=seed, out=out / "splits")  # fmt: skip
    for preset in presets:
        runs = [
            call(
                "finetune", preset, store=store, backbone=backbone, target=[target] if target else [],
                splits=splits / f"fold_{k}.csv", fit={**(fit or {}), "seed": seed}, out=out / f"{preset}-{k}",
            )
            for k in range(folds)
        ]  # fmt: skip
        cases = pd.concat(
            [pd.read_parquet(call("evaluate", run=r) / "cases.parquet") for r in runs]
        )
        scores = [json.loads((r / "model/card.json").read_text())["validation"] for r in runs]
        chosen[preset] = sum(scores) / folds
        about = {"preset": preset, "validation": round(chosen[preset], 4)}
        rows += [{**about, "figure": k, **asdict(v)} for k, v in summary(cases).items()]
        pd.DataFrame(rows).round(4).to_csv(out / "summary.csv", index=False)
    best = max(chosen, key=chosen.get)
    others = ",".join(str(out / f"{best}-{k}") for k in range(1, folds))
    say(f"best on validation: {best}; medssl predict {out / best}-0 NEW/ also={others}")
    return out / "summary.csv"
