"""Look at a cohort before anything is trained on it: one page, qc.html.

What is there (modalities, voxel sizes, scans of a patient, thumbnails), what was refused and why,
the same pixels under several names, scans that may be masks of others, values that belie their
modality, unusual voxel sizes. Every used scan is read once. findings.json holds the same for
programs. Scans are called by their ids (manifest.csv has the files); reasons may name files, so both
are readable by their owner only.
Scans whose header says that text is burned into their pixels are not drawn; of other scans pictures
show pixels as they are: thumbnails=0 leaves them out.
"""

import json
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from medssl.config import Config as Base
from medssl.data.duplicates import contradictions, groups, pixel_fingerprint
from medssl.data.files import write_atomically, write_json
from medssl.data.index import dicom, read
from medssl.data.index.row import BURNED_IN
from medssl.data.manifest import Manifest
from medssl.data.outliers import likely_masks, mask_remark, modality_doubt, spacing_outliers
from medssl.data.processes import each
from medssl.data.volume import Volume, reorient
from medssl.errors import UserError
from medssl.progress import say, track
from medssl.reports import cohort
from medssl.seeding import generator

LONGEST_SIDE = 256


class Config(Base):
    positional: ClassVar = ("manifest",)
    examples: ClassVar = (
        "medssl qc manifest out=qc",
        "medssl qc manifest thumbnails=0 workers=8",
    )
    manifest: Path = Field(Path("manifest"), description="folder that `medssl index` wrote")
    out: Path = Field(Path("qc"), description="folder to write to")
    thumbnails: int = Field(24, description="pictures of used scans, drawn by chance", ge=0)
    workers: int = Field(0, description="processes that read side by side; 0: none", ge=0)
    seed: int = Field(0, description="which scans are drawn", ge=0)


def run(config: Config) -> Path:
    manifest = Manifest.read(config.manifest)
    used = manifest.used.set_index("id", drop=False).rename_axis(None)
    burned_in = manifest.table["remarks"].str.contains(BURNED_IN, regex=False)
    hidden = int((burned_in & (manifest.table["format"] != "")).sum()) if config.thumbnails else 0
    clean = used.index[~used["remarks"].str.contains(BURNED_IN, regex=False)]
    order = generator(config.seed, "thumbnails").permutation(len(clean))
    drawn = set(clean[order[: config.thumbnails]])
    work = partial(_look, manifest, drawn)
    looked = each(work, list(used.index), config.workers)
    results = list(track(looked, "look", len(used), "scans"))
    seen = pd.DataFrame(results, columns=["id", "fingerprint", "doubt", "picture", "unreadable"])
    seen = seen.set_index("id", drop=False).rename_axis(None)

    unreadable = seen[seen["unreadable"] != ""]
    copies = [
        {"ids": ids, "differ": contradictions(ids, used)}
        for ids in groups(seen["fingerprint"][seen["fingerprint"] != ""])
    ]
    findings = {
        "n_used": len(used),
        "n_refused": len(manifest.refused),
        "unreadable": unreadable["unreadable"].to_dict(),
        "copies": sorted(copies, key=lambda c: -len(c["differ"])),
        "likely_masks": list(likely_masks(used)["id"]),
        "modality_doubts": seen["doubt"][seen["doubt"] != ""].to_dict(),
        "unusual_spacing": spacing_outliers(used).to_dict("records"),
    }
    config.out.mkdir(parents=True, exist_ok=True)
    write_json(config.out / "findings.json", findings, private=True)
    pictures = [(id, p) for id, p in seen["picture"].items() if p is not None]
    refused = _refused_pictures(manifest) if config.thumbnails else []
    page, told = config.out / "qc.html", (manifest.table, findings, pictures, refused, hidden)
    write_atomically(page, lambda p: cohort.write(p, *told), private=True)
    if hidden:
        say(f"remark: not drawn, since {BURNED_IN}: {hidden} scans")
    if doubt := mask_remark(used, manifest.root):
        say(f"remark: {doubt}")
    told = ("unreadable", "copies", "likely_masks", "modality_doubts", "unusual_spacing")
    say(", ".join(f"{name.replace('_', ' ')}: {len(findings[name])}" for name in told))
    say(f"report: {page}")
    return config.out


def _look(manifest: Manifest, drawn: set[str], id: str) -> tuple:
    """(id, fingerprint, doubt, picture or None, why it cannot be read) of one scan."""
    try:
        volume = manifest.volume(id)
    except UserError as error:
        return id, "", "", None, f"{error.code}: {error.cause}"
    picture = _middle(volume) if id in drawn else None
    return id, pixel_fingerprint(volume), modality_doubt(volume), picture, ""


def _middle(volume: Volume) -> np.ndarray:
    """The middle axial slice as a radiologist sees it, or the film."""
    if volume.ndim == 2:
        return _thinned(volume.array.mean(0))
    array = reorient(volume, "RAS").array[0]
    return _thinned(array[::-1, ::-1, array.shape[2] // 2].T)


def _refused_pictures(manifest: Manifest) -> list[tuple[str, str, np.ndarray]]:
    """(id, code, picture) of refused scans of which the middle file, at least, can be read."""
    found = []
    for row in manifest.refused.itertuples():
        if len(found) == cohort.MOST_REFUSED:
            break
        if row.format and row.code not in ("IS_MASK", "COPY") and BURNED_IN not in row.remarks:
            files = json.loads(row.files)
            picture = _readable(manifest.root / files[len(files) // 2], row.format)
            found += [(row.id, row.code, picture)] if picture is not None else []
    return found


def _readable(path: Path, format: str) -> np.ndarray | None:
    """The picture in a file, or None if there is none: the table says why it was refused."""
    try:
        return _thinned(dicom.picture(path)) if format == "dicom" else _middle(read([path]))
    except (UserError, OSError):
        return None


def _thinned(image: np.ndarray) -> np.ndarray:
    """Every n-th pixel, so that no side is longer than 256."""
    step = -(-max(image.shape) // LONGEST_SIDE)
    return np.ascontiguousarray(image[::step, ::step], np.float32)
