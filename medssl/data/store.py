"""Prepared arrays on disk, compressed in chunks, so that a crop is read without the volume.

A store is a folder: `store.json` (format, recipe, where the manifest lies), `items.parquet` (one row
an item) and `arrays/` (see `entries`).
"""

import io
import json
import os
import re
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.data import display
from medssl.data.entries import FORMAT, Entries, key_of
from medssl.data.files import write_atomically
from medssl.data.index.row import BURNED_IN
from medssl.data.located import located, moved
from medssl.data.manifest import Manifest
from medssl.data.manifest_checks import ID
from medssl.data.packed import open_packed, read_box, restored
from medssl.data.preprocess import Grid
from medssl.data.recipe import Recipe
from medssl.data.seals import check_parquet, read_json, sealed_json, sealed_parquet
from medssl.errors import UserError, one_line

_NUMBER = r"-?[\d.]+(e[+-]?\d+)?"
ITEM_FORMS = {
    "id": ID, "key": r"\w+", "shape": r"\[\d+(, \d+){1,2}\]",
    "spacing": rf"\[{_NUMBER}(, {_NUMBER}){{1,2}}\]", "grid": r"\{.*\}",
}  # fmt: skip


class Store:
    """Read access to prepared items. `items` is a table indexed by item id."""

    def __init__(self, folder: Path, recipe: Recipe, manifest: Path, items: pd.DataFrame):
        self.folder, self.recipe, self.manifest, self.items = folder, recipe, manifest, items
        self.entries = Entries(folder / "arrays")

    @classmethod
    def read_from(cls, folder: Path) -> "Store":
        """Open a store. Raises UserError when there is none or it has another format."""
        folder = Path(folder)
        version, manifest, recipe = _about(folder)
        if version != FORMAT:
            raise UserError(
                "STORE", folder, f"format {version}, this version reads {FORMAT}",
                "prepare the scans again",
            )  # fmt: skip
        try:
            content = (folder / "items.parquet").read_bytes()
            check_parquet(content)
            items = pd.read_parquet(io.BytesIO(content))
            _check_items(items)
            items = items.set_index("id", drop=False).rename_axis(None)
            return cls(folder, Recipe(**recipe), manifest, items)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                "STORE", folder, f"its recipe or items.parquet is damaged ({one_line(error)})",
                "prepare the scans again; what is there already is kept",
            ) from error  # fmt: skip

    @staticmethod
    def manifest_of(folder: Path) -> Path:
        """Where the manifest lies that a store was made from. Raises UserError STORE."""
        return _about(Path(folder))[1]

    def write_about(self) -> None:
        about = {
            "format": FORMAT,
            "recipe": self.recipe.model_dump(),
            "manifest": os.path.relpath(self.manifest, self.folder),
        }
        items = self.items.reset_index(drop=True)
        table = sealed_parquet(items.to_parquet(index=False))
        write_atomically(self.folder / "items.parquet", lambda p: p.write_bytes(table))
        text = sealed_json(about)  # says where the scans are
        write_atomically(self.folder / "store.json", lambda p: p.write_text(text), private=True)

    def check_current(self, manifest: Manifest) -> None:
        """Raise UserError STALE if patients, splits or labels were indexed anew since."""
        now = manifest.used.set_index("id").reindex(self.items.index)
        named = ("patient", "split", "boxes")
        kept = [c for c in self.items if c in named or c.startswith("label_")]
        for column in kept:
            if column not in now or not _same(now[column], self.items[column]):
                raise UserError(
                    "STALE", self.folder,
                    f"{column.removeprefix('label_')} of some scans is not what the manifest says now",
                    "run `medssl prepare` again; arrays that are there already are kept",
                )  # fmt: skip

    def check_unchanged(self, manifest: Manifest, item: str) -> None:
        """Raise UserError STALE if the files of an item are not those it was prepared from."""
        if key_of(manifest, item, self.recipe)[0] != self.items.at[item, "key"]:
            raise UserError(
                "STALE", item, "its files, or recoded values, have changed since it was prepared",
                "index and prepare again",
            )  # fmt: skip

    @property
    def ndim(self) -> int:
        return len(self.shape(self.items.index[0]))

    @property
    def channels(self) -> int:
        return int(self.items["channels"].iloc[0])

    @property
    def burned_in(self) -> pd.Series:
        """By item, whether text is burned into its pixels: such scans are not drawn."""
        known = "burned_in" in self.items
        return self.items["burned_in"] if known else pd.Series(False, self.items.index)

    def shape(self, item: str) -> tuple[int, ...]:
        """Spatial shape of a prepared item."""
        return tuple(json.loads(self.items.at[item, "shape"]))

    def scan_shape(self, item: str) -> tuple[int, ...]:
        """Spatial shape of the scan as it was."""
        return tuple(json.loads(self.items.at[item, "scan_shape"]))

    def spacing(self, item: str) -> tuple[float, ...]:
        """Voxel size of a prepared item, mm."""
        return tuple(json.loads(self.items.at[item, "spacing"]))

    def grid(self, item: str) -> Grid:
        """Where the prepared item lies in its scan."""
        return Grid(**{k: tuple(v) for k, v in json.loads(self.items.at[item, "grid"]).items()})

    def read(self, item: str, low=None, high=None) -> np.ndarray:
        """Image values float32 (C, *box); outside the item its own lowest value.

        The recipe's lowest would be a step at the border that no scan has, and instance norms
        would see how much was padded.
        """
        raw = self._read(item, "image", low, high, fill=int(self.items.at[item, "floor"]))
        return restored(raw, *self.recipe.value_range, self.recipe.levels)

    def read_mask(self, item: str, low=None, high=None) -> np.ndarray:
        """Labels (1, *box); outside the item 0. Raises UserError if the item has no mask."""
        if not self.items.at[item, "has_mask"]:
            raise UserError(
                "LABELS", item, "has no label mask",
                "index with labels= and prepare again, or choose other scans",
            )  # fmt: skip
        return self._read(item, "mask", low, high, fill=0)

    def boxes(self, item: str) -> tuple[np.ndarray, list[str], np.ndarray]:
        """Boxes given of an item, (n, 2 d) float64 in its prepared voxels (they may reach outside), what
        is in each, and whether it is a region to be ignored, bool (n,)."""
        of_scan = self.scan_boxes(item)
        to_prepared = np.linalg.inv(self.affine(item)) @ self.affine(item, of_scan=True)
        given = json.loads(self.items.at[item, "boxes"] or "[]")
        ignored = np.array([each.get("ignored", False) for each in given], bool)
        return moved(of_scan, to_prepared), [each["class"] for each in given], ignored

    def scan_boxes(self, item: str) -> np.ndarray:
        """The same boxes in voxels of the scan as it was. Raises UserError LABELS if one lies outside."""
        scan = self.affine(item, of_scan=True)
        return located(self.items.at[item, "boxes"] or "[]", scan, self.scan_shape(item), item)

    def affine(self, item: str, of_scan: bool = False) -> np.ndarray:
        """4x4, from voxels of a prepared item, or of its scan as it was, to RAS mm."""
        return np.array(json.loads(self.items.at[item, "scan_affine" if of_scan else "affine"]))

    def foreground(self, item: str) -> np.ndarray:
        """Up to 1000 voxels a class, drawn at preparation: int32 rows of (class, *index)."""
        with self._file(item, "points.npy") as path:
            return np.load(path, allow_pickle=False)

    def describe(self, row: pd.Series, key: str, source: str) -> dict:
        """The row of `items` for one scan, whose entry is there; `source` is its fingerprint."""
        kept = [
            c for c in row.index if c in ("id", "patient", "study", "modality", "split", "boxes")
        ]
        kept += [c for c in row.index if c.startswith("label_") and c != "label_mask"]
        about = self.entries.about(key)
        del about["content"]
        return {
            **{c: row[c] for c in kept},
            "key": key,
            "source": source,
            "remarks": "",
            **about,
            "has_mask": bool(row.get("label_mask", "")),
            "burned_in": BURNED_IN in row.get("remarks", ""),
        }

    def _repr_html_(self) -> str:
        return display.of_store(self)

    def _read(self, item: str, kind: str, low, high, fill) -> np.ndarray:
        with self._file(item, f"{kind}.b2nd") as path:
            return read_box(open_packed(path), low, high, fill)

    def _file(self, item: str, name: str) -> AbstractContextManager[Path]:
        return self.entries.sound(self.items.at[item, "key"], name, item)


def _about(folder: Path) -> tuple[int, Path, dict]:
    """Format, manifest and recipe, as store.json has them."""
    try:
        text = (folder / "store.json").read_text()
        about = json.loads(text)
        if about["format"] == FORMAT:  # another one is told before anything else
            about = read_json(text)
        return about["format"], (folder / about["manifest"]).resolve(), about["recipe"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            "STORE", folder, f"holds no readable store.json ({one_line(error)})",
            "make a store with `medssl prepare`",
        ) from error  # fmt: skip


def _check_items(items: pd.DataFrame) -> None:
    """Raise ValueError for a table that names files elsewhere, or is none of ours."""
    for column, form in ITEM_FORMS.items():
        odd = [v for v in items[column] if not isinstance(v, str) or not re.fullmatch(form, v)]
        if odd or items.empty:
            raise ValueError(f"{column} {odd[0]!r}"[:80] if odd else "no items")


def _same(a: pd.Series, b: pd.Series) -> bool:
    texts = [s.astype("object").where(s.notna(), "").astype(str) for s in (a, b)]
    return texts[0].equals(texts[1])
