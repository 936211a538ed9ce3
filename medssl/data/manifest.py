"""What there is: one row a scan and one a refused file, on disk as Parquet, beside it as CSV."""

import io
import json
import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from medssl.data import display
from medssl.data.files import write_atomically, write_csv
from medssl.data.index import Row, identify, image2d_labels, read, scan_files
from medssl.data.index.ids import neutral_id
from medssl.data.index.row import relative, stamp
from medssl.data.manifest_checks import LARGEST_LABEL, check_table, checked_about
from medssl.data.patients import pseudonym
from medssl.data.seals import check_parquet, sealed_parquet
from medssl.data.volume import Volume, differences, reorient, same_grid
from medssl.errors import UserError, one_line

SCHEMA = 1
NAME = "manifest.parquet"
APART = (".mhd", ".nhdr", ".hdr", ".img")  # their voxels may lie in a file of its own
COLUMNS = (
    "id", "patient", "study", "path", "files", "frames", "format", "modality", "shape", "spacing",
    "orientation", "split", "label_mask", "boxes", "remarks", "verdict", "code", "reason", "stamp",
)  # fmt: skip


class Manifest:
    """A table of scans; paths in it are relative to `root`, and all columns but labels are text.

    `label_<name>` columns hold what label tables say of a scan; `notes` what was found while
    labelling. The files that a row needs are in `files`, a JSON list in slice order. `recode` holds
    mask values that count as another one.
    """

    def __init__(
        self,
        root: Path,
        table: pd.DataFrame,
        notes: Iterable[str] = (),
        recode: dict[int, int] | None = None,
    ):
        self.root, self.table, self.notes = Path(os.path.realpath(root)), table, list(notes)
        self.recode = recode or {}

    def part(self, table: pd.DataFrame) -> "Manifest":
        """The same of some rows."""
        return Manifest(self.root, table, self.notes, self.recode)

    @classmethod
    def from_rows(cls, root: Path, rows: list[Row]) -> "Manifest":
        root = Path(root) if Path(root).is_dir() else Path(root).parent
        records = [row.record(root) for row in rows]
        return cls(root, pd.DataFrame(records, columns=list(COLUMNS), dtype="str"))

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Open a manifest's folder or file. Raises UserError if there is none of this schema."""
        path, table = _opened(path, pyarrow.parquet.read_table)
        root, about = _root(path, table.schema)
        table = table.to_pandas()
        check_table(table, COLUMNS, path)
        recode = {int(value): code for value, code in about.get("recode", {}).items()}
        return cls(root, table, about["notes"], recode)

    @classmethod
    def root_of(cls, path: Path) -> Path:
        """The folder of the scans, without reading the table. Raises UserError as `read` does."""
        return _root(*_opened(path, pyarrow.parquet.read_schema))[0]

    def write(self, folder: Path) -> Path:
        """Write `manifest.parquet` and, to be looked at, `manifest.csv`. Returns the folder.

        They hold the paths of scans, so only their owner may read them.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        root = os.path.relpath(self.root, os.path.realpath(folder))
        about = {"schema": SCHEMA, "root": root, "notes": self.notes, "recode": self.recode}
        table = pyarrow.Table.from_pandas(self.table, preserve_index=False)
        metadata = {**(table.schema.metadata or {}), b"medssl": json.dumps(about).encode()}
        table = table.replace_schema_metadata(metadata)
        content = io.BytesIO()
        pyarrow.parquet.write_table(table, content)
        sealed = sealed_parquet(content.getvalue())
        write_atomically(folder / NAME, lambda path: path.write_bytes(sealed), private=True)
        write_csv(folder / "manifest.csv", self.table, private=True)
        return folder

    def add_refused(self, rows: list[Row]) -> None:
        """List files that are no scans of the folder, such as broken masks."""
        for row in rows:
            row.id = neutral_id(relative(row.files[0], self.root))
        more = pd.DataFrame([row.record(self.root) for row in rows], dtype="str")
        table = pd.concat([self.table, more], ignore_index=True)
        text = [c for c in table if pd.api.types.is_string_dtype(self.table[c])]
        self.table = table.fillna(dict.fromkeys(text, "")).astype(self.table.dtypes)

    def mark_table(self, source: Path) -> None:
        """Say of a table of labels or splits that lies among the scans what it is."""
        here = self.table["path"] == relative(Path(os.path.realpath(source)), self.root)
        told = ["IS_LABELS", "a table of labels or splits"]
        self.table.loc[here & (self.table["format"] == ""), ["code", "reason"]] = told

    def leave_out(self, ids: Collection[str]) -> None:
        """Refuse scans by their ids, such as those whose masks are found to be wrong. Raises UserError
        CONFIG for an id that no used scan has."""
        if unknown := sorted(set(ids) - set(self.used["id"])):
            cause = f"no used scan is called {', '.join(unknown[:3])}"
            raise UserError("CONFIG", "leave_out", cause, "give ids as manifest.csv has them")
        told = ["refused", "LEFT_OUT", "left out, as leave_out= of medssl index asks"]
        self.table.loc[self.table["id"].isin(ids), ["verdict", "code", "reason"]] = told

    @property
    def used(self) -> pd.DataFrame:
        return self.table[self.table["verdict"] == "used"]

    @property
    def refused(self) -> pd.DataFrame:
        return self.table[self.table["verdict"] != "used"]

    @property
    def guessed_patients(self) -> set[str]:
        """Ids of used scans of which nothing says whose they are; each got a patient of its own."""
        used = zip(self.used["id"], self.used["patient"], strict=True)
        return {id for id, patient in used if patient == pseudonym(f"file:{id}", "p")}

    def row(self, id: str) -> pd.Series:
        """One scan. Raises UserError for an unknown id."""
        found = self.table[self.table["id"] == id]
        if found.empty:
            raise UserError("MANIFEST", id, "there is no scan of this id", "see the id column")
        return found.iloc[0]

    def files(self, id: str) -> list[Path]:
        """The files of a scan, in slice order."""
        return [self.root / file for file in json.loads(self.row(id)["files"])]

    def current_files(self, id: str) -> list[Path]:
        """The same, as they were indexed. Raises UserError STALE if one has changed or gone."""
        files, row = self.files(id), self.row(id)
        if row.get("stamp") and stamp(files) != row["stamp"]:
            cause = f"{row['path']} has changed or gone since it was indexed"
            raise UserError("STALE", id, cause, "run `medssl index` again")
        return files

    def frames(self, id: str) -> list[list[int]]:
        """The numbers of the frames of each file that belong to a scan; none: whole files do."""
        return json.loads(self.row(id).get("frames") or "[]")

    def volume(self, id: str) -> Volume:
        """The voxels of a used scan. Raises UserError if it was refused or cannot be read."""
        row = self.row(id)
        if row["verdict"] != "used":
            cause = f"the scan is refused ({row['code']}: {row['reason']})"
            raise UserError("REFUSED", id, cause, "choose a used scan")
        volume = read(self.current_files(id), row["format"], self.frames(id))
        return replace(volume, modality=volume.modality or row["modality"])

    def mask_files(self, id: str) -> list[Path]:
        """The files of a scan's mask: voxels may lie in another than the one that is named."""
        path = self.root / self.row(id)["label_mask"]
        if not path.name.lower().endswith(APART):
            return [path]
        (row,) = scan_files([path], path.parent, "", "names") or [None]
        return row.files if row and row.files else [path]

    def mask(self, id: str, scan: Volume | None = None) -> Volume | None:
        """The integer label mask (1, *shape) on the scan's grid, or None if the scan has none.

        `scan` spares reading the scan again. Axes in another order or direction are turned to the
        scan's, as of a NIfTI mask beside a DICOM series. A film's mask needs the same rows and columns only,
        its palette indices count as labels, and 255 as the only label becomes 1. Values in `recode` are
        replaced, all at once. Raises UserError GEOMETRY if the grids differ and LABELS if the mask holds no
        whole numbers.
        """
        mask = self.mask_as_filed(id, scan)
        return mask and self.recoded(mask)

    def mask_as_filed(self, id: str, scan: Volume | None = None) -> Volume | None:
        """The same with the values of its file, before `recode`."""
        name = self.row(id)["label_mask"]
        if not name:
            return None
        path = self.root / name
        scan = self.volume(id) if scan is None else scan
        film = identify(path) == "image2d"
        mask = image2d_labels(path) if film else read([path])
        if scan.ndim == 2 and mask.shape == scan.shape:
            mask = replace(mask, affine=scan.affine)
        if scan.ndim == mask.ndim == 3:
            mask = reorient(mask, scan.orientation)
        if not same_grid(scan, mask):
            cause = f"its mask lies on another grid than the scan: {differences(scan, mask)}"
            raise UserError("GEOMETRY", id, cause, "resample the mask onto the scan's grid")
        return mask.with_array(_labels(mask.array, film, path))

    def recoded(self, mask: Volume) -> Volume:
        """A mask as filed with the values in `recode` replaced."""
        if not self.recode:
            return mask
        now = np.arange(max(int(mask.array.max()), *self.recode) + 1)
        now[list(self.recode)] = list(self.recode.values())
        smallest = np.result_type(mask.array.dtype, np.min_scalar_type(now.max()))
        return mask.with_array(now.astype(smallest)[mask.array])

    def summary(self) -> str:
        """A few lines for people: what is used, how it is split and labelled, what is refused."""
        used, refused = self.used, self.refused
        lines = [
            f"{len(used)} scans used, patients: {used['patient'].nunique()}; "
            f"{len(refused)} entries refused"
        ]
        kinds = (
            used["format"] + " " + used["modality"].where(used["modality"] != "", "(no modality)")
        )
        lines.append("formats: " + display.counts(kinds))
        if (used["split"] != "").any():
            lines.append("splits: " + display.counts(used["split"].replace("", "none")))
        labels = {c: used[c].notna() & (used[c].astype("str") != "") for c in self.label_columns}
        labels = {c.removeprefix("label_"): int(given.sum()) for c, given in labels.items()}
        labels["mask"], labels["boxes"] = [(used[c] != "").sum() for c in ("label_mask", "boxes")]
        if any(labels.values()):
            lines.append("labels: " + ", ".join(f"{k} {v}" for k, v in labels.items() if v))
        if len(refused):
            lines.append("refused: " + display.counts(refused["code"]))
        return "\n".join(lines + self.notes)

    def split_as(self, items: pd.DataFrame) -> pd.DataFrame:
        """The table with the splits of a store's items, which a file of splits may have drawn anew."""
        splits = self.table["id"].map(items["split"])
        return self.table.assign(split=splits.fillna(self.table["split"]))

    @property
    def label_columns(self) -> list[str]:
        """The columns that label tables brought."""
        return [c for c in self.table if c.startswith("label_") and c != "label_mask"]

    def _repr_html_(self) -> str:
        return display.of_manifest(self)


def _opened(path: Path, read: Callable) -> tuple[Path, object]:
    """A manifest's file, and what is read of it."""
    path = Path(path) / NAME if Path(path).is_dir() else Path(path)
    fix = "make one with `medssl index`"
    if not path.exists():
        raise UserError("MANIFEST", path, "there is no such manifest", fix)
    try:
        content = path.read_bytes()
        check_parquet(content)
        return path, read(pyarrow.BufferReader(content))
    except PermissionError as error:
        cause, mend = f"cannot be opened ({error.strerror})", "mend its permissions"
        raise UserError("MANIFEST", path, cause, mend) from error
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise UserError("MANIFEST", path, f"is damaged ({one_line(error)})", fix) from error


def _root(path: Path, schema: pyarrow.Schema) -> tuple[Path, dict]:
    """The folder of the scans, and all that a manifest's file says of itself."""
    about = checked_about((schema.metadata or {}).get(b"medssl", b"{}"), SCHEMA, path)
    return Path(os.path.normpath(path.resolve().parent / about["root"])), about


def _labels(array: np.ndarray, film: bool, path: Path) -> np.ndarray:
    if array.dtype.kind == "f":
        whole = np.rint(array)
        if not np.array_equal(whole, array):
            raise UserError("LABELS", path, "the mask holds fractions", "save labels as integers")
        array = whole.astype(np.int32)
    if array.min() < 0:
        raise UserError("LABELS", path, f"the mask holds {array.min()}", "number labels from 0 up")
    if array.max() > LARGEST_LABEL:
        cause = f"the mask holds {array.max()}, labels up to {LARGEST_LABEL} are kept"
        raise UserError("LABELS", path, cause, "number labels from 1 up")
    if film and array.max() == 255 and np.isin(array, (0, 255)).all():
        array = array // 255
    return array
