"""The whole chain on phantom CT scans: medssl run quickstart out=demo

Expect about three minutes on two cores, and demo/report.html: four labelled scans, from scratch and
from a backbone pretrained on the unlabelled ones, scored on patients that neither has seen.
"""

import shutil
from pathlib import Path

from medssl.stages import call


def main(out="demo", patients=16, labelled=4, steps=240, seed=0):
    out = Path(out)
    scans = out / "scans"
    if not scans.exists():
        from medssl.data.phantom import make

        make(scans, ct_patients=int(patients), formats=("nifti", "dicom"), seed=int(seed))
    call(
        "index", scans=scans / "ct/images", labels=[scans / "ct/labels", scans / "ct/scans.csv"],
        modality="CT", out=out / "manifest",
    )  # fmt: skip
    call("prepare", "ct_body", manifest=out / "manifest", out=out / "store", recipe=RECIPE)
    call("pretrain", "voco_small", store=out / "store", out=out / "pretrained", **PRETRAIN)
    few = dict(
        store=out / "store", backbone=out / "pretrained", labelled=int(labelled), classes=ORGANS
    )
    fit = {"steps": int(steps), "every": int(steps) // 2, "batch_size": 4, "seed": int(seed)}
    few |= {"fit": fit, "task": TASK, "validation": 2}
    scratch = call("finetune", "few_labels", **few, from_scratch=True, out=out / "scratch")
    pretrained = call("finetune", "few_labels", **few, out=out / "finetuned")
    call("evaluate", run=scratch)
    report = call("evaluate", run=pretrained, baseline=scratch / "evaluation")
    call("predict", run=pretrained, scans=scans / "ct/dicom", out=out / "predictions")
    shutil.copy(report / "report.html", out / "report.html")
    print(f"report: {out / 'report.html'}")
    return out / "report.html"


ORGANS = {1: "liver", 2: "spleen", 3: "kidneys", 4: "lungs", 5: "heart"}
RECIPE = {"spacing": [6, 6, 6], "crop": False, "window": [-1000, 500]}
PRETRAIN = {
    "method": {"crop": [32, 24, 32]},
    "backbone": {"channels": [16, 32, 64]},
    "fit": {"steps": 120, "batch_size": 2, "every": 60},
}
TASK = {"size": [32, 32, 32], "foreground": 0.8}
