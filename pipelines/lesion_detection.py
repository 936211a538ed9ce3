"""Detection of lesions in volumes: nodules, or any finding that a box can hold.

medssl run lesion_detection scans=SCANS/ boxes=nodules.csv splits=SPLIT.csv out=lesions

From scans and their boxes to AP and FROC on the test split. The boxes come as a table (voxels or mm), as
COCO JSON, or as a folder of masks, whose connected parts they are then around. Expect an hour on two cores
for tens of heads at 2 mm.
"""

from pathlib import Path
from typing import Annotated

from medssl.stages import call


def main(
    scans: Annotated[str, "folder of the scans"],
    boxes: Annotated[str, "CSV or COCO JSON of boxes, or a folder of masks"],
    splits: Annotated[str, "CSV with id or path, and split"],
    out: Annotated[str, "folder for all that is written"] = "lesions",
    modality: Annotated[str, "of formats that do not know it"] = "",
    preset: Annotated[str, "of `medssl prepare`"] = "ct_body",
    spacing: Annotated[list[float], "mm along each axis"] = (1.5, 1.5, 1.5),
    backbone: Annotated[str, "run of `medssl pretrain`; none: from scratch"] = None,
    smallest: Annotated[int, "parts of masks of fewer voxels are no findings"] = 8,
    steps: Annotated[int, "of fine-tuning"] = 1000,
    seed: Annotated[int, "of all draws"] = 0,
):
    out = Path(out)
    call(
        "index", scans=scans, labels=[boxes], splits=splits, modality=modality, out=out / "manifest"
    )
    call(
        "prepare", preset, manifest=out / "manifest", out=out / "store",
        recipe={"spacing": list(spacing)},
    )  # fmt: skip
    run = call(
        "finetune", "detection_3d", store=out / "store", backbone=backbone, out=out / "run",
        boxes_of_masks=Path(boxes).is_dir(), smallest=smallest, fit={"steps": steps, "seed": seed},
    )  # fmt: skip
    return call("evaluate", run=run)
