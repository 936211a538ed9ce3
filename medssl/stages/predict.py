"""Predict new scans with a fine-tuned model, in each scan's own geometry.

Segmentation writes one NIfTI a scan, on the grid of the scan (same shape, same affine).
Classification writes scores.csv. A scan that cannot be read or predicted is listed in refused.csv
with the reason, and the others go on. Which file an id stands for is in private/names.csv, for the
owner only; all else tells nobody who a patient is.
"""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from medssl.config import Config as Base
from medssl.data.files import refuse_inside, write_csv
from medssl.data.index import IDS, Row, nifti, read, scan
from medssl.data.preprocess import prepare, restore
from medssl.data.recipe import Recipe
from medssl.data.writing import SCANNER, write_image
from medssl.errors import UserError
from medssl.privacy import scrub_names
from medssl.progress import say, track
from medssl.stages.finetune import check_fits, load_task
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
    ids: IDS = Field(
        "auto",
        description="what predictions are called: names (of files), pseudonyms (keyed hashes) or "
        "auto (a name only where it is neutral words and short numbers); private/names.csv in out "
        "says which is which",
    )
    overwrite: bool = Field(False, description="replace predictions that lie in out already")


def run(config: Config) -> Path:
    refuse_inside(config.out, config.scans)
    task, about = load_task(config.run, config.take())
    recipe = Recipe(**about["recipe"])
    rows = scan(config.scans, config.modality, config.ids)
    if not rows:
        raise UserError("EMPTY", config.scans, "holds no file", "give a folder that holds scans")
    used = [r for r in rows if r.verdict == "used"]
    refused = [(r.id, r.code, scrub_names(r.reason, r.files)) for r in rows if not r.used]
    config.out.mkdir(parents=True, exist_ok=True)
    if not config.overwrite:
        _refuse_existing(config.out, [r.id for r in used])
    _write_names(config, rows)
    scores = []
    for row in track(used, "predict", unit="scans"):
        try:
            volume = read(row)
            volume = replace(volume, modality=volume.modality or row.modality)
            prepared = prepare(volume, recipe, name=row.id)
            check_fits(prepared.image.array, task.backbone, row.id)
            found = task.predict(prepared.image.array)
            if found.ndim == 1:
                scores.append({"id": row.id, **_named(found, task.classes)})
            else:
                grid = prepared.grid
                labels = restore(found, grid, recipe.orientation, volume, task.labels)
                write_image(labels, config.out / row.id, _affine_code(row))
        except UserError as error:
            reason = scrub_names(f"{error.cause}. Fix: {error.fix}", row.files)
            refused.append((row.id, error.code, reason))
    if scores:
        write_csv(config.out / "scores.csv", pd.DataFrame(scores))
    listed = pd.DataFrame(refused, columns=["id", "code", "reason"])
    write_csv(config.out / "refused.csv", listed)
    say(f"predicted {len(rows) - len(refused)} scans, refused {len(refused)}")
    if len(refused) == len(rows):
        raise UserError(
            "EMPTY", config.scans, f"no scan could be predicted (of {len(rows)} files)",
            f"see {config.out / 'refused.csv'}",
        )  # fmt: skip
    return config.out


def _write_names(config: Config, rows: list[Row]) -> None:
    """Which file every id stands for: for the owner's eyes, apart from what may be passed on."""
    folder = config.out / "private"
    folder.mkdir(mode=0o700, exist_ok=True)
    root = config.scans if config.scans.is_dir() else config.scans.parent
    names = pd.DataFrame([(r.id, r.record(root)["path"]) for r in rows], columns=["id", "path"])
    write_csv(folder / "names.csv", names, private=True)


def _refuse_existing(out: Path, ids: list[str]) -> None:
    names = ["scores.csv", *(f"{i}{ending}" for i in ids for ending in (".nii.gz", ".png"))]
    there = [name for name in names if (out / name).exists()]
    if there:
        raise UserError(
            "EXISTS", out, f"holds {len(there)} earlier predictions ({', '.join(there[:3])})",
            "choose another out=, or replace them with overwrite=true",
        )  # fmt: skip


def _affine_code(row: Row) -> int:
    """What a NIfTI source says its affine leads to (scanner, aligned, template space)."""
    if row.format != "nifti":
        return SCANNER
    return nifti.read_header(row.files[0]).space or SCANNER


def _named(scores: np.ndarray, classes: dict[int, str]) -> dict[str, float]:
    found = {f"score_{name}": round(float(scores[k]), 6) for k, name in classes.items()}
    return {"predicted": classes[int(scores.argmax())], **found}
