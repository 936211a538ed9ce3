"""How many labels does a pretrained backbone save?

medssl run label_efficiency store=store backbone=runs/voco out=study

Fine-tunes from the backbone and from scratch (same network, steps and scans) with more and more labelled
scans, several draws of each, after both have tried two rates on validation scans; study/report.html and
study/curve.png. Expect, for 1, 2, 4 and 8 labels and three draws of the hippocampus set, an hour on two
cores.
"""

from pathlib import Path
from typing import Annotated

from medssl.stages import call


def main(
    store: Annotated[str, "folder that `medssl prepare` wrote"] = "store",
    backbone: Annotated[str, "run of a pretrained backbone"] = "run",
    out: Annotated[str, "folder for all that is written"] = "study",
    labelled: Annotated[list[int], "scans to fine-tune on; 0: all"] = (1, 2, 4, 8),
    draws: Annotated[int, "of these"] = 3,
    steps: Annotated[int, "of each fine-tuning"] = 150,
    threads: Annotated[int, "of the CPU; 0: as torch chooses"] = 0,
    preset: Annotated[str, "of `medssl finetune`"] = "few_labels",
    target: Annotated[str, "label column to learn; none: masks"] = None,
    jobs: Annotated[int, "processes at a time"] = 1,
):
    keys = {"target": [target]} if target else {}
    fit = {"steps": steps, "every": max(1, steps // 2), "threads": threads}
    return call(
        "study", store=store, backbones=[backbone], labelled=labelled, draws=draws, jobs=jobs,
        finetune={"preset": preset, "fit": fit, **keys}, out=Path(out),
        trials=[{"optim": {"lr": 4e-3, "backbone_rate": rate}} for rate in (0.1, 0.5)],
        scratch_trials=[{"optim": {"lr": lr}} for lr in (4e-3, 8e-3)],
    )  # fmt: skip
