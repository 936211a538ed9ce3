"""The whole chain on phantom CT scans: medssl run quickstart out=demo

Expect about three and a half minutes on two cores, and demo/report.html: four labelled scans, from
scratch and from a backbone pretrained on the unlabelled ones, scored on patients neither has seen.
"""

import csv
import shutil
from pathlib import Path
from typing import Annotated

from medssl.data.phantom import make
from medssl.stages import call

ORGANS = {1: "liver", 2: "spleen", 3: "kidneys", 4: "lungs", 5: "heart"}
VOCO = {"method": {"size": [32, 24, 32]}, "backbone": {"channels": [16, 32, 64]}}
MAE = {"method": {"size": [64, 48, 64]}, "backbone": {"width": 96, "depth": 4}}
HEAD = {
    "task": {"size": [32, 32, 32], "foreground": 0.9, "overlap": 0.25},
    "optim": {"lr": 1e-2},
    "validation": 2,
}
AUGMENT = {"gain": 0.1, "offset": 0.05, "gamma": 0.1, "noise": 0.03}


def main(
    out: Annotated[str, "folder for all that is written"] = "demo",
    patients: Annotated[int, "phantom patients to make"] = 16,
    labelled: Annotated[int, "scans to fine-tune on"] = 4,
    pretraining: Annotated[int, "steps without labels, for each method"] = 150,
    steps: Annotated[int, "of fine-tuning"] = 300,
    seed: Annotated[int, "of all draws"] = 0,
):
    out = Path(out)
    scans, store = out / "scans/ct", out / "store"
    if not (scans / "scans.csv").exists():
        make(out / "scans", ct=patients, formats=("nifti", "dicom"), seed=seed)
    call(
        "index", scans=scans / "images", labels=[scans / "labels", scans / "scans.csv"],
        modality="CT", out=out / "manifest",
    )  # fmt: skip
    call("prepare", "ct_body", manifest=out / "manifest", out=store, recipe={"spacing": [6, 6, 6]})
    fit = {"steps": pretraining, "batch_size": 4, "every": pretraining // 2, "seed": seed}
    voco = call(
        "pretrain", "voco_small", store=store, out=out / "voco", **VOCO, fit=fit | {"batch_size": 2}
    )
    mae = call("pretrain", "mae_small", store=store, out=out / "mae", **MAE, fit=fit)

    fit |= {"steps": steps, "every": steps // 4}
    few = {"store": store, "backbone": voco, "labelled": labelled, "classes": ORGANS, "fit": fit}
    few |= {**HEAD, "augment": AUGMENT}
    scratch = call("finetune", "few_labels", **few, from_scratch=True, out=out / "scratch")
    tuned = call("finetune", "few_labels", **few, out=out / "finetuned")
    baseline = call("evaluate", run=scratch)
    scores = call("evaluate", run=tuned, baseline=baseline, also=[mae])
    with open(scans / "scans.csv") as table:
        unseen = next(row["id"] for row in csv.DictReader(table) if row["split"] == "test")
    new = {"scans": scans / "dicom" / unseen, "out": out / "predictions", "overwrite": True}
    call("predict", run=tuned, **new)
    return Path(shutil.copy(scores / "report.html", out / "report.html"))
