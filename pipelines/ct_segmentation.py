"""Organs in CT, from many scans without labels and a few with.

medssl run ct_segmentation scans=SCANS/ masks=MASKS/ splits=SPLIT.csv out=ct

From DICOM or NIfTI as they come from the archive to figures on the test split: copies are dropped, VoCo
pretrains the network on every training scan, labelled or not, and a study says what that is worth at each
number of labelled scans: ct/study/report.html. Expect a day on one GPU for a hundred scans with the defaults;
small=true takes minutes on a CPU, at 6 mm, to try the way.
"""

from pathlib import Path
from typing import Annotated

from medssl.stages import call


def main(
    scans: Annotated[str, "folder of the scans"],
    masks: Annotated[str, "folder of label masks, for some of them"],
    splits: Annotated[str, "CSV with id or path, patient_id and split"],
    out: Annotated[str, "folder for all that is written"] = "ct",
    labelled: Annotated[list[int], "scans to fine-tune on; 0: all"] = (4, 16, 0),
    draws: Annotated[int, "of these"] = 3,
    pretraining: Annotated[int, "steps without labels; 0: as the preset says"] = 0,
    steps: Annotated[int, "of each fine-tuning; 0: as the preset says"] = 0,
    small: Annotated[bool, "coarse scans and small networks"] = False,
    seed: Annotated[int, "of the pretraining and the bootstrap"] = 0,
):
    out = Path(out)
    call("index", scans=scans, labels=[masks], splits=splits, modality="CT", out=out / "manifest")
    recipe = {"spacing": [6.0, 6.0, 6.0]} if small else {}
    call("prepare", "ct_body", manifest=out / "manifest", out=out / "store", recipe=recipe)
    kept = call("reduce", "copies", store=out / "store", out=out / "kept")
    ways = ("voco_small", "segmentation_small") if small else ("voco", "segmentation")
    return call(
        "study", store=out / "store", methods=[ways[0]], labelled=labelled, draws=draws, seed=seed,
        pretrain={"selection": str(kept), "fit": _fit(pretraining)},
        finetune={"preset": ways[1], "fit": _fit(steps)}, out=out / "study",
    )  # fmt: skip


def _fit(steps: int) -> dict:
    return {"steps": steps, "every": max(1, steps // 4)} if steps else {}
