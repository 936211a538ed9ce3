"""List what is there, whose it is, how it was acquired, and what is broken and why.

Broken files are listed once more in quarantine.csv: code, path, what is wrong and how to mend it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pandas as pd
from pydantic import Field

from medssl import config
from medssl.data import splits
from medssl.data.duplicates import as_one_patient
from medssl.data.files import write_csv
from medssl.data.index import IDS, scan
from medssl.data.labels import attach
from medssl.data.manifest import Manifest
from medssl.data.manifest_checks import LARGEST_LABEL
from medssl.data.outliers import mask_remark
from medssl.data.patient_pattern import compiled, example, name_patients
from medssl.errors import UserError, check_bad
from medssl.privacy import PSEUDONYM, printable

SHOWN = 5
EXPECTED = ("NOT_IMAGE", "IS_MASK", "IS_LABELS", "COPY", "LEFT_OUT")


class Config(config.Config):
    """What to list and what is known about it."""

    positional: ClassVar[tuple[str, ...]] = ("scans",)
    examples: ClassVar[tuple[str, ...]] = (
        "medssl index SCANS/",
        "medssl index images/ out=manifest labels=masks/,patients.csv modality=MR shares=0.7,0.1,0.2",
    )
    scans: Path = Field(description="folder or file of DICOM, NIfTI, MetaImage, NRRD or 2D images")
    out: Path = Field(Path("manifest"), description="folder for manifest.parquet and manifest.csv")
    labels: list[Path] = Field(
        [],
        description="folders of masks called like their scans (T1.nii's: T1.nii, T1_seg.nii), CSV "
        "tables, COCO JSON files",
    )
    recode: dict[int, int] = Field(
        {},
        description="mask values that count as another, so that '{48: 47}' makes one class of the two; 0: "
        "background",
    )
    ids: IDS = Field(
        "auto",
        description="what scans are called in all that follows: names (of files), pseudonyms (keyed "
        "hashes) or auto (a name only where it is neutral words and short numbers)",
    )
    leave_out: list[str] = Field([], description="ids of scans that are not to be used")
    splits: Path | None = Field(None, description="CSV with id or path, and split")
    copies: Path | None = Field(
        None,
        description="folder of `medssl reduce copies` on these scans: copies count as of one patient",
    )
    shares: list[config.Share] = Field(
        [], description="draw splits by patient: shares of train, val and test, such as 0.7,0.1,0.2"
    )
    stratify: str = Field("", description="label whose classes the drawn splits hold in proportion")
    seed: int = Field(0, description="which splits are drawn", ge=0)
    outside: bool = Field(
        False, description="masks that a table names may lie outside its folder and the scans"
    )
    modality: str = Field("", description="modality of formats that do not know it (CT, MR, ...)")
    max_bad: config.Share = Field(
        1.0, description="leave with exit status 3 if more is broken; a share of the entries"
    )
    workers: int = Field(0, description="processes that read headers side by side; 0: none", ge=0)
    patient_pattern: str = Field(
        "", description="regular expression on the relative path; its first group is the patient"
    )


def run(config: Config) -> Path:
    """Write the manifest's folder and return it; the scans are only read.

    Raises UserError for unusable labels and splits; an unusable scan is listed as refused.
    """
    pattern = compiled(config.patient_pattern) if config.patient_pattern else None
    manifest = Manifest.from_rows(
        config.scans, scan(config.scans, config.modality, config.ids, config.workers)
    )
    if pattern:
        name_patients(manifest, pattern)
    attach(manifest, config.labels, config.outside)
    manifest.recode = _recode(manifest, config.recode)
    manifest.leave_out(config.leave_out)
    if config.splits:
        splits.attach_splits(manifest, config.splits)
    if config.copies:
        as_one_patient(manifest, config.copies)
    if config.shares:
        splits.draw_splits(manifest, config.shares, config.seed, config.stratify)
    splits.check(manifest.table)
    manifest.write(config.out)
    print(report(manifest))
    for remark in remarks(manifest, config.scans):
        print(f"remark: {printable(remark)}")
    faults = _faults(manifest)
    listed = config.out / "quarantine.csv"
    write_csv(listed, faults[["code", "path", "cause", "fix"]], private=True)
    total = len(manifest.used) + len(faults)
    check_bad(len(faults), total, config.max_bad, listed)
    if manifest.used.empty:
        n = len(manifest.refused)
        cause = f"none of {n} entries is a scan that can be used" if n else "holds no file"
        raise UserError("EMPTY", config.scans, cause, f"see {listed}" if n else "check the path")
    return config.out


def remarks(manifest: Manifest, root: Path) -> Iterator[str]:
    """What is not known of used scans and later steps ask for, each with the way to say it.

    `root` is the folder of the scans, as people call it.
    """
    used, guessed = manifest.used, manifest.guessed_patients
    if doubt := mask_remark(used, root):
        yield doubt
    if silent := (used["modality"] == "").sum():
        yield (
            f"{silent} of {len(used)} scans do not say their modality: give modality=MR (or CT, DX, ...), "
            "or each is taken as what the recipe of `medssl prepare` expects"
        )
    if guessed:
        paths = used.loc[used["id"].isin(guessed), "path"].tolist()
        yield (
            f"patients of {len(guessed)} scans are not known: each counts as a patient of its own. "
            f"Give a column patient_id in labels=, or a regular expression on paths: {example(paths)}"
        )
    hidden = used[used["id"].str.fullmatch(PSEUDONYM)]
    if len(hidden):
        told = f"{len(hidden)} scans go by salted ids, such as {hidden['id'].iloc[0]}"
        told += "; manifest.csv has the path of each"
        if (hidden["format"] != "dicom").any():  # series of DICOM have no names to keep
            told += ". ids=names keeps names of files, also where they tell who a patient is"
        yield told


def _recode(manifest: Manifest, codes: dict[int, int]) -> dict[int, int]:
    cause = ""
    if codes and (min(codes) < 1 or min(codes.values()) < 0):
        cause, fix = "values are numbered from 1 up, and become another one or 0", "correct it"
    elif max([*codes, *codes.values()], default=0) > LARGEST_LABEL:
        cause, fix = f"values up to {LARGEST_LABEL} are kept", "choose smaller ones"
    elif codes and not (manifest.used["label_mask"] != "").any():
        cause, fix = "no scan has a mask", "name masks in labels=, or leave it out"
    if cause:
        raise UserError("CONFIG", "recode", cause, fix)
    if codes:
        told = ", ".join(f"{value} counts as {code}" for value, code in codes.items())
        manifest.notes.append(f"in masks {told}")
    return codes


def _faults(manifest: Manifest) -> pd.DataFrame:
    """Refused entries that somebody should look at, with cause and fix apart."""
    refused = manifest.refused
    faults = refused[~refused["code"].isin(EXPECTED)]
    parts = [reason.partition(". Fix: ") for reason in faults["reason"]]
    return faults.assign(cause=[part[0] for part in parts], fix=[part[2] for part in parts])


def report(manifest: Manifest) -> str:
    """The summary, and the first faults that nobody expects in a folder of scans."""
    lines, faults = [manifest.summary()], _faults(manifest)
    for _, row in faults.head(SHOWN).iterrows():
        lines.append(f"  {row['code']} {' '.join(row['path'].split())}: {row['reason']}")
    if len(faults) > SHOWN:
        lines.append(f"  ... and {len(faults) - SHOWN} more in quarantine.csv")
    return "\n".join(printable(line) for line in "\n".join(lines).splitlines())
