"""Datasets as other tools know them, from a manifest and to one.

Every format is a module with `write(manifest, folder, how)`, `read(path, how)` and
`recognises(path)`. A written folder holds the format's own files, the scans and masks under neutral
names as links or copies, and `medssl.json` with what the format cannot hold, so that what was
written is read as it was: ids, patients, studies, modalities, splits, labels and boxes.
"""

import importlib
from pathlib import Path
from types import ModuleType

from medssl.errors import UserError

FORMATS = {
    "nnssl": "medssl.data.exchange.nnssl",
    "nnunet": "medssl.data.exchange.nnunet",
    "datalist": "medssl.data.exchange.datalist",
    "bids": "medssl.data.exchange.bids",
    "csv": "medssl.data.exchange.table",
}


def format_of(name: str) -> ModuleType:
    """The module of a format."""
    return importlib.import_module(FORMATS[name])


def recognised(path: Path) -> str:
    """The format of a folder or file. Raises UserError DATASET if it is none that is known."""
    if not path.exists():
        raise UserError("DATASET", path, "there is no such file or folder", "check the path")
    for name in FORMATS:
        if format_of(name).recognises(path):
            return name
    cause = f"is in none of the formats {', '.join(FORMATS)}"
    raise UserError("DATASET", path, cause, "give its folder, or say which by format=")
