"""Manifests as the datasets of other tools, and back.

`csv` and `datalist` list files where they lie; `nnunet`, `bids` and `nnssl` are folders that hold
copies. What a format has no place for (salted patient, study, split, labels) travels in fields that
its own readers ignore, so that a manifest comes back as it was.
"""

import importlib
from pathlib import Path
from types import ModuleType

from medssl.data.exchange.scans import Options, Scan, found, manifest_of, scans_of
from medssl.data.index import IDS
from medssl.data.manifest import Manifest
from medssl.errors import UserError

FORMATS = {
    "csv": "a table: id, path, patient, study, modality, split, mask, boxes, label_*",
    "datalist": "dataset.json of MONAI and the Medical Segmentation Decathlon",
    "nnunet": "a folder DatasetNNN_Name of nnU-Net v2, with splits_final.json",
    "bids": "a Brain Imaging Data Structure, masks under derivatives/",
    "nnssl": "a folder with pretrain_data.json of nnssl; volumes only",
}

__all__ = ["FORMATS", "Options", "Scan", "read", "recognise", "write"]


def write(manifest: Manifest, format: str, out: Path, options: Options) -> Path:
    """Write the used scans of a manifest; returns the file or folder that other tools are given.

    Raises UserError EXCHANGE for what the format cannot hold, before anything is written.
    """
    return _module(format).write(scans_of(manifest), Path(out), options)


def read(source: Path, format: str, root: Path | None = None, ids: IDS = "auto") -> Manifest:
    """The manifest of a dataset: headers read as `medssl index` does, the rest as the dataset says.

    All files must lie in `root`, by default the dataset's folder. Raises UserError: EXCHANGE for a
    listing that contradicts itself, OUTSIDE for paths out of `root`, MISSING for files not there.
    """
    source = Path(source)
    scans, top = _module(format).read(source)
    return manifest_of(found(scans, source, top, root), source, Path(root or top), ids)


def recognise(source: Path) -> str:
    """The format of a file or folder. Raises UserError EXCHANGE if it is none of them."""
    source = Path(source)
    for format in FORMATS:
        if _module(format).recognise(source):
            return format
    cause = "is neither a manifest nor a dataset of a known format"
    fix = f"give a manifest folder, or a dataset of {', '.join(FORMATS)}"
    raise UserError("EXCHANGE", source, cause, fix)


def _module(format: str) -> ModuleType:
    name = {"csv": "table"}.get(format, format)
    return importlib.import_module(f"medssl.data.exchange.{name}")
