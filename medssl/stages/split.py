"""Make folds for cross-validation, by patient, stratified, or by whole sites, and write them as files.

Writes fold_0.csv and so on (that fold tests, the next one validates, the others train: every scan is
tested once), splits_final.json for nnU-Net, and datalist_folds.json for MONAI. `medssl finetune
splits=folds/fold_0.csv` takes one in place of the store's own splits; `evaluate` follows.
"""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from medssl.config import Config as Base
from medssl.data import folds
from medssl.data.manifest import Manifest
from medssl.data.splits import label_column
from medssl.errors import UserError
from medssl.progress import say


class Config(Base):
    positional: ClassVar = ("manifest",)
    examples: ClassVar = (
        "medssl split manifest folds=5 out=folds",
        "medssl split manifest folds=4 site=hospital out=by_site",
    )
    manifest: Path = Field(Path("manifest"), description="folder that `medssl index` wrote")
    out: Path = Field(Path("folds"), description="folder for the files")
    folds: int = Field(5, description="how many", ge=2)
    stratify: str = Field(
        "", description="label column whose classes every fold holds in proportion"
    )
    site: str = Field(
        "", description="label column whose values stay together, such as the hospital"
    )
    labelled: bool = Field(False, description="only scans with a label mask")
    seed: int = Field(0, description="which folds are drawn", ge=0)


def run(config: Config) -> Path:
    manifest = Manifest.read(config.manifest)
    if config.stratify and config.site:
        raise UserError(
            "CONFIG", "stratify", "whole sites cannot be dealt in proportion", "give one of the two"
        )
    used = manifest.used
    used = used[used["label_mask"] != ""] if config.labelled else used
    if used.empty:
        raise UserError(
            "EMPTY", config.manifest, "holds no such scan", "index scans that can be used"
        )
    stratify = label_column(manifest, config.stratify, "stratify")
    site = label_column(manifest, config.site, "site")
    fold = folds.folds(used, config.folds, config.seed, stratify, site)
    folds.write(used, fold, config.out)
    sizes = ", ".join(str(n) for n in fold.value_counts().sort_index())
    say(f"{config.folds} folds of {used['patient'].nunique()} patients: {sizes} scans")
    return config.out
