"""Predict new scans with a fine-tuned model, in each scan's own geometry.

Segmentation writes one NIfTI a scan, on the grid of the scan (same shape, same affine), volumes.csv,
and with `dicom` DICOM-SEG and a structured report of the volumes, for the archive only.
Classification writes scores.csv; detection boxes.csv, in voxels and mm of the scan, and says which boxes
it calls; each table is written as Parquet, too. A scan that cannot be read or predicted is listed in
refused.csv with the reason, and the others go on. The same command goes on where it was cut off. Which
file an id stands for is in private/names.csv, for the owner only; all else tells nobody who a patient is.
"""

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from medssl.config import Config as Base
from medssl.data.dicom_results import write_boxes, write_results
from medssl.data.files import alone_in, write_csv
from medssl.data.index import IDS, Row, read, scan_files
from medssl.data.index.row import NO_SPACING
from medssl.data.paths import listed, scan_list
from medssl.data.preprocess import prepare, restore
from medssl.data.recipe import Recipe
from medssl.data.volume import Volume
from medssl.data.writing import affine_code, write_volume
from medssl.errors import UserError, one_line
from medssl.evaluation.detection import Boxes
from medssl.privacy import scrub_names
from medssl.progress import say, track
from medssl.stages.finetune.model import load_task
from medssl.stages.finetune.sizes import check_fits
from medssl.stages.predict.earlier import NAMES, Earlier, earlier
from medssl.stages.predict.rows import (
    BOXES,
    SCORES,
    VOLUMES,
    WRITTEN,
    apart,
    of_boxes,
    of_volumes,
    placed_in,
)
from medssl.tasks.ensemble import Ensemble
from medssl.training.card import figure_of, nothing_learnt
from medssl.training.checkpoint import read_card
from medssl.training.hardware import Hardware

ARCHIVE = "archive"
CALLED = {  # by ids=
    "auto": "its file's name where that is neutral, else, as DICOM series are, by a pseudonym",
    "names": "its file's name, or a pseudonym of a DICOM series",
    "pseudonyms": "a pseudonym",
}


class Config(Base, Hardware):
    positional: ClassVar = ("run", "scans")
    examples: ClassVar = (
        "medssl predict runs/liver NEW/ out=predictions",
        "medssl predict run=runs/liver scans=scan.nii.gz out=predictions",
    )
    run: Path = Field(description="run or model folder of `medssl finetune`")
    scans: Path = Field(
        description="a scan, a folder of scans (DICOM, NIfTI, MHA/NRRD, films), or a .txt that names such, "
        "one a line"
    )
    also: list[Path] = Field(
        [], description="other runs of the same question, such as of other folds: the mean of all predicts, "
        "and how far they are apart is written beside it",
    )  # fmt: skip
    out: Path = Field(Path("predictions"), description="folder to write to")
    modality: str = Field("", description="modality of formats that do not say it")
    ids: IDS = Field(
        "auto",
        description="what predictions are called: names (of files), pseudonyms (keyed hashes) or "
        "auto (a name only where it is neutral words and short numbers); private/names.csv in out "
        "says which is which",
    )
    dicom: bool = Field(
        False, description="also write DICOM-SEG and a report (SR) of volumes or boxes for DICOM series, "
        "into archive/, with the patient's identity, as an archive needs it",
    )  # fmt: skip
    codes: dict[str, str] = Field(
        {},
        description="of classes in DICOM, e.g. {liver: 'SCT:10200004:Liver'}; others by their name",
    )
    overwrite: bool = Field(
        False,
        description="replace predictions that lie in out already; after a kill the same command without it "
        "goes on",
    )


def run(config: Config) -> Path:
    task, about = _models(config)
    if words := nothing_learnt(about):
        say(f"remark: of this model {words}")
    elif about.get("validation") is not None:
        say(f"this model's {figure_of(about)} on validation scans was {about['validation']:z.3f}")
    recipe, weights = Recipe(**about["recipe"]), weights_of(config)
    rows, before = scans_of(config, weights)
    if before.done:
        say(f"{len(before.done)} scans were predicted before, by this model; going on")
    config.out.mkdir(parents=True, exist_ok=True)
    with alone_in(config.out):
        refused, remarks, archived = _predict(config, task, recipe, weights, rows, before)
    if config.dicom:
        say(
            f"{len(archived)} files for the archive, which name patients, in {config.out / ARCHIVE}"
        )
    for remark, ids in remarks.items():
        say(f"remark on {len(ids)} scan{'s' * (len(ids) > 1)} ({', '.join(ids[:3])}): {remark}")
    made = len(rows) - len(refused) - len(before.done)
    say(f"predicted {made} scan{'s' * (made != 1)}, refused {len(refused)}")
    if made:
        names = config.out / NAMES
        say(f"each is called by {CALLED[config.ids]}; {names} says which scan it is")
    if len(refused) == len(rows):
        raise UserError(
            "EMPTY", config.scans, f"no scan could be predicted (of {len(rows)} files)",
            f"see {config.out / 'refused.csv'}",
        )  # fmt: skip
    return config.out


def _predict(
    config: Config, task: Ensemble, recipe: Recipe, weights: str, rows: list[Row], before: Earlier
) -> tuple[list[tuple], dict[str, list[str]], list[Path]]:
    """Predict what is not done, scan by scan, and write the tables: what was refused (id, code, reason),
    remarks with the ids that they are of, and the files for the archive."""
    left = [r for r in rows if r.used and r.id not in before.done]
    refused = [(r.id, r.code, scrub_names(r.reason, r.files)) for r in rows if not r.used]
    before.begin(config.out)
    remarks, archived = defaultdict(list), []
    for row in track(left, "predict", unit="scans"):
        try:
            volume = read(row)
            volume = replace(volume, modality=volume.modality or row.modality)
            prepared = prepare(volume, recipe, name=row.id)
            check_fits(prepared.image.array, task.backbone, row.id)
            for remark in prepared.image.remarks:
                remarks[remark].append(row.id)
            found, spread = task.predict(prepared.image.array)
            if isinstance(found, Boxes):
                placed = placed_in(found, prepared, volume)
                known = NO_SPACING not in row.remarks
                told = of_boxes(found, placed, spread, task, volume, known)
                if config.dicom:
                    archived += _archive_boxes(config, found, placed, row, task, volume, weights)
                before.note(config.out, row.id, BOXES, told)
            elif found.ndim == 1:
                told = [{**task.answer.row(found), **apart(task, spread)}]
                before.note(config.out, row.id, SCORES, told)
            else:
                grid = prepared.grid
                labels = restore(found, grid, recipe.orientation, volume, task.winners, task.clean)
                mask = write_volume(labels, config.out / row.id, affine_code(row.files, row.format))
                told = of_volumes(labels, task.classes, prepared.image.spacing, spread)
                if config.dicom:
                    archived += _archive(config, labels, row, task.classes, weights)
                before.note(config.out, row.id, VOLUMES, told, mask)
        except UserError as error:
            reason = scrub_names(f"{error.cause}. Fix: {error.fix}", row.files)
            refused.append((row.id, error.code, reason))
        except (RuntimeError, ValueError, ArithmeticError, MemoryError, OSError) as error:
            # One scan that no prediction can be made of stops no other.
            reason = scrub_names(f"{type(error).__name__}: {one_line(error)}", row.files)
            fix = "look at its shape and spacing"
            refused.append((row.id, "PREDICT", f"{reason}. Fix: {fix}"))
    for name in WRITTEN:
        table = before.table(name)
        if len(table):
            write_csv(config.out / name, table)
            table.to_parquet((config.out / name).with_suffix(".parquet"), index=False)
    refusals = pd.DataFrame(refused, columns=["id", "code", "reason"])
    write_csv(config.out / "refused.csv", refusals)
    return refused, remarks, archived


def scans_of(config: Config, weights: str) -> tuple[list[Row], Earlier]:
    """What lies at `scans`, used or refused, and what the model of these weights has found before. Raises
    UserError."""
    paths, root = _asked(config.scans)
    rows = scan_files(paths, root, config.modality, config.ids)
    if not rows:
        raise UserError("EMPTY", config.scans, "holds no file", "give a folder that holds scans")
    asked = {"dicom": config.dicom, "codes": config.codes, "modality": config.modality}
    return rows, earlier(config.out, rows, weights, asked, config.overwrite)


def _asked(scans: Path) -> tuple[list[Path], Path]:
    """The scans and folders to predict, and the folder from which their ids are seen.

    A .txt names them, one a line, as seen from its own folder. Raises UserError SCANS for those that are
    not there, all at once.
    """
    named = scan_list(scans)
    if named == [scans]:
        return named, scans if scans.is_dir() else scans.parent
    if missing := [str(path) for path in named if not path.exists()]:
        raise UserError(
            "SCANS", scans, f"names {len(missing)} of {len(named)} that are not there ({listed(missing, 5)})",
            "mend the lines, or take them out",
        )  # fmt: skip
    if not named:
        raise UserError("EMPTY", scans, "names no scan", "write a path on each line")
    folders = [path if path.is_dir() else path.parent for path in named]
    return named, Path(os.path.commonpath([os.path.abspath(folder) for folder in folders]))


def weights_of(config: Config) -> str:
    """Hashes that stand for the weights of all models."""
    cards = (read_card(run) for run in (config.run, *config.also))
    return "+".join(card["weights_sha256"] for card in cards)


def _models(config: Config) -> tuple[Ensemble, dict]:
    """The run and those beside it, and the first one's card."""
    loaded = [load_task(run, config.take()) for run in (config.run, *config.also)]
    first = loaded[0][1]
    for run, (_, about) in zip(config.also, loaded[1:], strict=True):
        if other := [k for k in ("recipe", "classes", "target") if about[k] != first[k]]:
            raise UserError(
                "MISMATCH", run, f"its {', '.join(other)} is not that of {config.run.name}",
                "average runs of the same question on scans prepared alike",
            )  # fmt: skip
    return Ensemble([task for task, _ in loaded]), first


def _archive(config: Config, labels: Volume, row: Row, classes: dict[int, str], weights: str):
    """Files for the archive; a scan that is no DICOM series has none."""
    if labels.ndim != 3:
        say(f"remark on {row.id}: a mask of a film is not written for an archive")
        return []
    return _archived(
        config,
        row,
        lambda path: write_results(labels, row.files, path, classes, weights, config.codes),
    )


def _archive_boxes(
    config: Config, found: Boxes, placed: np.ndarray, row: Row, task: Ensemble, scan: Volume, weights: str
):  # fmt: skip
    """A report of the boxes that are called; without one there is nothing to report."""
    called = found.score >= task.threshold
    if not called.any():
        return []
    names = [task.classes[int(k)] for k in found.label[called]]
    return _archived(
        config, row, lambda path: write_boxes(
            placed[called], names, found.score[called], scan, row.files, path, weights, config.codes
        ),
    )  # fmt: skip


def _archived(config: Config, row: Row, write: Callable[[Path], list[Path]]) -> list[Path]:
    if row.format != "dicom":
        say(f"remark on {row.id}: it is no DICOM series, nothing is written for an archive")
        return []
    folder = config.out / ARCHIVE
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        return write(folder / row.id)
    except UserError as error:
        say(f"remark on {row.id}: not written for an archive: {error.cause}. Fix: {error.fix}")
        return []
