"""Predict new scans with a fine-tuned model, in each scan's own geometry.

Segmentation writes one NIfTI a scan, on the grid of the scan (same shape, same affine).
Classification writes scores.csv. A scan that cannot be read or predicted is listed in refused.csv
with the reason, and the others go on.
"""

import csv
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import nibabel as nib
import numpy as np
from pydantic import Field

from medssl.config import Config as Base
from medssl.data.index import read, scan
from medssl.data.preprocess import Recipe, prepare, restore
from medssl.data.volume import Volume
from medssl.errors import UserError
from medssl.progress import say, track
from medssl.stages.finetune import load_task
from medssl.training.hardware import Hardware


class Config(Base, Hardware):
    positional: ClassVar = ("run", "scans")
    examples: ClassVar = (
        "medssl predict runs/liver NEW/ out=predictions",
        "medssl predict run=runs/liver scans=scan.nii.gz out=predictions",
    )
    run: Path = Field(description="run or model folder of `medssl finetune`")
    scans: Path = Field(description="a scan, or a folder of scans (DICOM, NIfTI, MHA/NRRD, films)")
    out: Path = Field(Path("predictions"), description="folder to write to")
    modality: str = Field("", description="modality of formats that do not say it")


def run(config: Config) -> Path:
    task, about = load_task(config.run, config.take())
    recipe = Recipe(**about["recipe"])
    rows = scan(config.scans, config.modality)
    used = [r for r in rows if r.verdict == "used"]
    refused = [(r.id, r.code, r.reason) for r in rows if r.verdict != "used"]
    config.out.mkdir(parents=True, exist_ok=True)
    scores = []
    for row in track(used, "predict", unit="scans"):
        try:
            volume = read(row)
            volume = replace(volume, modality=volume.modality or row.modality)
            prepared = prepare(volume, recipe, name=row.id)
            _check_fits(prepared.image, task.backbone, row.id)
            found = task.predict(prepared.image.array)
            if found.ndim == 1:
                scores.append({"id": row.id, **_named(found, task.classes)})
            else:
                write_nifti(
                    restore(found, prepared.grid, recipe.orientation, volume), config.out / row.id
                )
        except UserError as error:
            refused.append((row.id, error.code, f"{error.cause}. Fix: {error.fix}"))
    if scores:
        _write_csv(config.out / "scores.csv", list(scores[0]), [list(s.values()) for s in scores])
    _write_csv(config.out / "refused.csv", ["id", "code", "reason"], refused)
    say(f"predicted {len(rows) - len(refused)} scans, refused {len(refused)}")
    if len(refused) == len(rows):
        raise UserError(
            "EMPTY", config.scans, f"no scan could be predicted (of {len(rows)} files)",
            f"see {config.out / 'refused.csv'}",
        )  # fmt: skip
    return config.out


def _check_fits(image: Volume, backbone, name: str) -> None:
    channels = len(image.array)
    if image.ndim < backbone.ndim or channels != backbone.in_channels:
        raise UserError(
            "SHAPE", name,
            f"a scan of {image.ndim} axes and {channels} channels, the model takes {backbone.ndim} "
            f"axes and {backbone.in_channels} channels",
            "predict it with a model that was trained on such scans",
        )  # fmt: skip


def write_nifti(labels: Volume, path: Path) -> Path:
    """Write integer labels as .nii.gz (.png for a film) with the affine as given."""
    array = labels.array[0]
    if labels.ndim == 2:
        from PIL import Image

        path = path.with_name(path.name + ".png")
        Image.fromarray(array.astype(np.uint8)).save(path)
        return path
    path = path.with_name(path.name + ".nii.gz")
    image = nib.Nifti1Image(array, labels.affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def _named(scores: np.ndarray, classes: dict[int, str]) -> dict[str, float]:
    found = {f"score_{name}": round(float(scores[k]), 6) for k, name in classes.items()}
    return {"predicted": classes[int(scores.argmax())], **found}


def _write_csv(path: Path, header: list[str], rows: list) -> None:
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
