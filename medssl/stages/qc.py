"""Look at a cohort before anything is trained on it: one page, qc.html.

What is there (modalities, voxel sizes, scans of a patient, thumbnails), what was refused and why,
the same pixels under several names, scans that may be masks of others, values that belie their
modality, unusual voxel sizes; of masks the size of every class (also in classes.csv), those that do
not fit their scan, and classes that are far from their usual size or missing. Every used scan is read
once, with its mask. findings.json holds the same for programs. Scans are called by their ids
(manifest.csv has the files); reasons may name files, so all are readable by their owner only.
Scans whose header says that text is burned into their pixels are not drawn; of other scans pictures
show pixels as they are: thumbnails=0 leaves them out.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from medssl.config import Config as Base
from medssl.data.duplicates import contradictions, groups, pixel_fingerprint
from medssl.data.files import write_atomically, write_csv, write_json
from medssl.data.index import dicom, read
from medssl.data.index.row import BURNED_IN
from medssl.data.manifest import Manifest
from medssl.data.mask_sizes import class_sizes, class_table, of_scans, tabulated, unusual_sizes
from medssl.data.outliers import likely_masks, mask_remark, modality_doubt, spacing_outliers
from medssl.data.processes import each
from medssl.data.volume import Volume, reorient
from medssl.errors import UserError
from medssl.progress import say, track
from medssl.reports import cohort
from medssl.reports.cohort import Picture
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
    drawn = dict.fromkeys(clean[order[: config.thumbnails]])
    work = partial(_look, manifest, drawn)
    looked = each(work, list(used.index), config.workers)
    seen = {look.id: look for look in track(looked, "look", len(used), "scans")}

    copies = [
        {"ids": ids, "differ": contradictions(ids, used)}
        for ids in groups(pd.Series(_said(seen, "fingerprint"), dtype=object))
    ]
    sizes = {id: look.sizes for id, look in seen.items() if look.sizes is not None}
    units = {id: "ml" if used.at[id, "shape"].count("x") == 2 else "%" for id in sizes}
    table = tabulated(sizes, units)
    classes, unusual = class_table(table), unusual_sizes(table, units)
    findings = {
        "n_used": len(used),
        "n_refused": len(manifest.refused),
        "unreadable": _said(seen, "unreadable"),
        "copies": sorted(copies, key=lambda c: -len(c["differ"])),
        "likely_masks": list(likely_masks(used)["id"]),
        "modality_doubts": _said(seen, "doubt"),
        "unusual_spacing": spacing_outliers(used).to_dict("records"),
        "n_masks": int((used["label_mask"] != "").sum()),
        "unusable_masks": _said(seen, "unusable_mask"),
        "empty_masks": [id for id, found in sizes.items() if found.empty],
        "unusual_masks": of_scans(unusual),
    }
    config.out.mkdir(parents=True, exist_ok=True)
    write_json(config.out / "findings.json", findings, private=True)
    write_csv(config.out / "classes.csv", classes, private=True)
    pictures = [look.picture for look in seen.values() if look.picture]
    odd, refused = [], []
    if config.thumbnails:
        odd = _odd_pictures(manifest, findings["unusual_masks"], clean, config.workers)
        refused = _refused_pictures(manifest)
    told = (manifest.table, findings, classes, pictures, odd, refused, hidden)
    page = config.out / "qc.html"
    write_atomically(page, lambda p: cohort.write(p, *told), private=True)
    if hidden:
        say(f"remark: not drawn, since {BURNED_IN}: {hidden} scans")
    if doubt := mask_remark(used, manifest.root):
        say(f"remark: {doubt}")
    told = [name for name, found in findings.items() if isinstance(found, (dict, list))]
    if findings["unusual_masks"]:
        worst = next(iter(findings["unusual_masks"]))
        say(cohort.LEAVE_OUT.format(id=worst))
    say(", ".join(f"{name.replace('_', ' ')}: {len(findings[name])}" for name in told))
    say(f"report: {page}")
    return config.out


@dataclass(frozen=True)
class Look:
    """What one scan and its mask show; empty where there is nothing to say."""

    id: str
    fingerprint: str = ""
    doubt: str = ""
    unreadable: str = ""
    unusable_mask: str = ""
    sizes: pd.Series | None = None
    picture: Picture | None = None


def _look(manifest: Manifest, drawn: Mapping[str, int | None], id: str) -> Look:
    """`drawn` says of which scans to make a picture, and which class of the mask it is to show."""
    try:
        volume = manifest.volume(id)
    except UserError as error:
        return Look(id, unreadable=f"{error.code}: {error.cause}")
    mask, unusable = None, ""
    try:
        mask = manifest.mask(id, volume)
    except UserError as error:
        unusable = f"{error.code}: {error.cause}"
    sizes = None if mask is None else class_sizes(mask)
    picture = _picture(id, volume, mask, drawn[id]) if id in drawn else None
    fingerprint, doubt = pixel_fingerprint(volume), modality_doubt(volume)
    return Look(id, fingerprint, doubt, "", unusable, sizes, picture)


def _said(seen: Mapping[str, Look], what: str) -> dict[str, str]:
    return {id: said for id, look in seen.items() if (said := getattr(look, what))}


def _odd_pictures(
    manifest: Manifest, unusual: Mapping[str, list[dict]], clean: pd.Index, workers: int
) -> list[Picture]:
    """The first scans of unusual masks once more, each where its most unusual class is largest."""
    first = [id for id in unusual if id in clean][: cohort.MOST_DRAWN]
    drawn = {id: unusual[id][0]["value"] for id in first}
    looked = each(partial(_look, manifest, drawn), first, workers)
    return [look.picture for look in looked if look.picture]


def _refused_pictures(manifest: Manifest) -> list[Picture]:
    """Refused scans of which the middle file, at least, can be read."""
    found = []
    for row in manifest.refused.itertuples():
        if len(found) == cohort.MOST_DRAWN:
            break
        if row.format and row.code not in ("IS_MASK", "COPY") and BURNED_IN not in row.remarks:
            files = json.loads(row.files)
            picture = _readable(row.id, manifest.root / files[len(files) // 2], row.format)
            found += [picture] if picture else []
    return found


def _readable(id: str, path: Path, format: str) -> Picture | None:
    """The picture in a file, or None if there is none: the table says why it was refused."""
    try:
        if format == "dicom":
            return Picture(id, _square(dicom.picture(path), (1, 1)))
        return _picture(id, read([path]))
    except Exception:  # what could not be read once may raise anything
        return None


def _picture(
    id: str, volume: Volume, mask: Volume | None = None, value: int | None = None
) -> Picture:
    """A film, or an axial slice as a radiologist sees it: the middle, or the one that shows most of
    the mask or of a class of it."""
    turned = reorient(volume, "RAS")
    arrays = [turned.array.mean(0) if volume.ndim == 2 else turned.array[0]]
    arrays += [reorient(mask, "RAS").array[0]] if mask else []
    spacing = turned.spacing
    if volume.ndim == 3:
        at = _fullest(arrays[1], value) if mask else volume.shape[2] // 2
        arrays, spacing = [a[::-1, ::-1, at].T for a in arrays], spacing[1::-1]
    return Picture(id, *(_square(a, spacing) for a in arrays))


def _fullest(labels: np.ndarray, value: int | None) -> int:
    """The axial slice with most of a class; without the class, of all classes."""
    marked = labels == value
    marked = marked if marked.any() else labels > 0
    return int(marked.sum((0, 1)).argmax()) if marked.any() else labels.shape[2] // 2


def _square(image: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """The nearest pixels on a grid of square ones, no side longer than 256."""
    extent = np.multiply(image.shape, spacing)
    shape = extent / max(min(spacing), extent.max() / LONGEST_SIDE)
    at = [
        np.linspace(0, old - 1, max(1, round(new))).round().astype(int)
        for old, new in zip(image.shape, shape, strict=True)
    ]
    return image[np.ix_(*at)]
