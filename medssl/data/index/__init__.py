"""Which scans a folder holds: found by content, put together, used or refused with a reason."""

import importlib
import warnings
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path

from medssl.data.index import checks
from medssl.data.index.ids import IDS, assign_ids, hide_names
from medssl.data.index.likely_masks import doubt_masks
from medssl.data.index.missing import doubt_incomplete
from medssl.data.index.row import Row, unreadable
from medssl.data.index.sniff import identify
from medssl.data.index.walk import walk
from medssl.data.patients import pseudonym
from medssl.data.processes import in_chunks
from medssl.data.volume import Volume
from medssl.errors import UserError
from medssl.progress import track

READERS = {
    "dicom": "medssl.data.index.dicom",
    "nifti": "medssl.data.index.nifti",
    "itk": "medssl.data.index.itk",
    "image2d": "medssl.data.index.image2d",
}

__all__ = ["IDS", "READERS", "Row", "identify", "image2d_labels", "read", "scan", "scan_files"]


def scan(root: Path, modality: str | None = None, ids: IDS = "auto", workers: int = 0) -> list[Row]:
    """One row a scan and one a refused file, for a folder or a single file; headers only.

    Every file below `root` is in the `files` of a row. `modality` is given to used scans whose
    format does not know it; `ids` says which file names may serve as ids (see `hide_names`);
    `workers` processes read headers side by side, or 0 for this one, to the same rows.
    Raises UserError only if `root` does not exist.
    """
    root = Path(root)
    files, closed = walk(root)
    return _rows(files, closed, root if root.is_dir() else root.parent, modality, ids, workers)


def scan_files(
    paths: list[Path], root: Path, modality: str | None = None, ids: IDS = "auto", workers: int = 0
) -> list[Row]:
    """The same as `scan` for these files and folders only; `root` is where ids are seen from."""
    found = [walk(Path(path)) for path in paths]
    files = list(dict.fromkeys(file for files, _ in found for file in files))
    closed = [entry for _, refused in found for entry in refused]
    return _rows(files, closed, Path(root), modality, ids, workers)


def _rows(
    files: list[Path], closed: list, root: Path, modality: str | None, ids: IDS, workers: int
) -> list[Row]:
    rows = [Row.refused([path], error) for path, error in closed]
    by_format, others = defaultdict(list), []
    kinds = track(in_chunks(_kind, files, workers), "look into files", len(files), "files")
    for path, kind in zip(files, kinds, strict=True):
        if isinstance(kind, UserError):
            others.append(Row.refused([path], kind))
        else:
            by_format[kind].append(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of them comes back as remarks
        for format, paths in sorted(by_format.items()):
            rows += _reader(format).inspect(paths, workers)
    rows = doubt_incomplete(rows, others)
    # The raw data of a used header can look like the start of another format.
    used = {path for row in rows if row.used for path in row.files}
    rows = [row for row in rows if row.used or not used.issuperset(row.files)]
    claimed = {path for row in rows for path in row.files}
    rows += [row for row in others if row.files[0] not in claimed]
    doubt_masks(rows)
    return _completed(rows, root, modality, ids)


def _kind(path: Path) -> str | UserError:
    try:
        return identify(path)
    except UserError as error:
        return error


def image2d_labels(path: Path) -> Volume:
    """A 2D label mask: as `read`, but palette images give their indices. Raises UserError."""
    return _guarded([path], _reader("image2d").read_labels, path)


def read(
    files: Row | list[Path], format: str | None = None, frames: list[list[int]] | None = None
) -> Volume:
    """The voxels of one scan, all finite. Without `format` the first file's content tells it.

    `frames` as in a Row, if files given by path are to be read in part (DICOM only).

    Raises UserError for anything that cannot be read.
    """
    paths = [Path(f) for f in (files.files if isinstance(files, Row) else files)]
    format = format or (files.format if isinstance(files, Row) else "") or identify(paths[0])
    frames = files.frames if isinstance(files, Row) else frames
    reader = _reader(format).read
    return _guarded(paths, partial(reader, frames=frames) if frames else reader, paths)


def _guarded(paths: list[Path], read_with, what) -> Volume:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            volume = read_with(what)
            checks.finite(volume.array, paths[0])
            return replace(volume, remarks=(*volume.remarks, *checks.values(volume.array)))
    except UserError:
        raise
    except Exception as error:  # a hostile file can raise anything inside a peer library
        raise unreadable(paths[0], error) from error


def _reader(format: str):
    return importlib.import_module(READERS[format])


def _completed(rows: list[Row], root: Path, modality: str | None, ids: IDS) -> list[Row]:
    rows.sort(key=lambda row: [str(file) for file in row.files[:1]])
    assign_ids(rows, root)
    hide_names(rows, ids)
    for row in rows:
        if row.used:
            row.modality = row.modality or (modality or "").upper()
            row.patient = row.patient or pseudonym(f"file:{row.id}", "p")
    return rows
