"""Segmentation of small MR volumes.

medssl run mr_segmentation images=IMAGES masks=MASKS splits=SPLIT.csv out=mr

From a folder of images and one of masks to figures on the test split. Expect, for 260 volumes of the
hippocampus set, about 10 minutes on two cores with the default 700 steps.
"""

from pathlib import Path
from typing import Annotated

from medssl.stages import call


def main(
    images: Annotated[str, "folder of the volumes"],
    masks: Annotated[str, "folder of masks named like them"],
    splits: Annotated[str, "CSV with id or path, and split"],
    out: Annotated[str, "folder for all that is written"] = "mr",
    steps: Annotated[int, "of fine-tuning"] = 700,
    seed: Annotated[int, "of all draws"] = 0,
):
    out = Path(out)
    call("index", scans=images, labels=[masks], splits=splits, modality="MR", out=out / "manifest")
    call("prepare", "mr_crop", manifest=out / "manifest", out=out / "store")
    run = call(
        "finetune", "segmentation_small", store=out / "store", out=out / "run",
        fit={"steps": int(steps), "seed": int(seed)},
    )  # fmt: skip
    return call("evaluate", run=run)
