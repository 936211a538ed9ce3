"""Prepared arrays on disk, compressed in chunks, so that a crop is read without the volume.

A store is a folder: `store.json` (format, recipe, where the manifest lies), `items.parquet` (one row
an item) and `arrays/`. An array's file name is a hash of the source files' bytes and of the recipe:
an entry made from other bytes or by another recipe can never be served.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.config import Keys
from medssl.data.files import write_atomically
from medssl.data.index.row import BURNED_IN
from medssl.data.manifest import Manifest
from medssl.data.preprocess import Grid, Prepared, Recipe
from medssl.errors import UserError, one_line

FORMAT = 3
CHUNK, BLOCK = 128, 32
FOREGROUND_POINTS = 1000


def entry_key(sources: list[str], recipe: Keys) -> str:
    """32 hex digits from fingerprints of source files, the recipe and the store's format."""
    import xxhash

    text = "|".join([str(FORMAT), recipe.model_dump_json(), *sources])
    return xxhash.xxh3_128(text.encode()).hexdigest()


def key_of(manifest: Manifest, item: str, recipe: Recipe) -> tuple[str, str]:
    """The key of a scan's entry, and the fingerprint of the scan's files."""
    source, mask = fingerprint(manifest.files(item)), manifest.row(item)["label_mask"]
    masks = [fingerprint([manifest.root / mask])] if mask else []
    return entry_key([source, *masks], recipe), source


def fingerprint(files: list[Path]) -> str:
    """32 hex digits from the bytes of files, one behind the other."""
    import xxhash

    digest = xxhash.xxh3_128()
    for file in files:
        with open(file, "rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


class Store:
    """Read access to prepared items. `items` is a table indexed by item id."""

    def __init__(self, folder: Path, recipe: Recipe, manifest: Path, items: pd.DataFrame):
        self.folder, self.recipe, self.manifest, self.items = folder, recipe, manifest, items
        self._open: dict[str, object] = {}

    @classmethod
    def read_from(cls, folder: Path) -> "Store":
        """Open a store. Raises UserError when there is none or it has another format."""
        folder = Path(folder)
        try:
            about = json.loads((folder / "store.json").read_text())
            known = about["format"], about["manifest"], about["recipe"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                "STORE", folder, f"holds no readable store.json ({one_line(error)})",
                "make a store with `medssl prepare`",
            ) from error  # fmt: skip
        version, manifest, recipe = known
        if version != FORMAT:
            raise UserError(
                "STORE", folder, f"format {version}, this version reads {FORMAT}",
                "prepare the scans again",
            )  # fmt: skip
        try:
            items = pd.read_parquet(folder / "items.parquet")
            items = items.set_index("id", drop=False).rename_axis(None)
            return cls(folder, Recipe(**recipe), (folder / manifest).resolve(), items)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                "STORE", folder, f"its recipe or items.parquet is damaged ({one_line(error)})",
                "prepare the scans again; what is there already is kept",
            ) from error  # fmt: skip

    def write_about(self) -> None:
        about = {
            "format": FORMAT,
            "recipe": self.recipe.model_dump(),
            "manifest": os.path.relpath(self.manifest, self.folder),
        }
        items = self.items.reset_index(drop=True)
        write_atomically(self.folder / "items.parquet", lambda p: items.to_parquet(p, index=False))
        text = json.dumps(about, indent=1)  # says where the scans are
        write_atomically(self.folder / "store.json", lambda p: p.write_text(text), private=True)

    def check_current(self, manifest: Manifest) -> None:
        """Raise UserError STALE if patients, splits or labels were indexed anew since."""
        now = manifest.used.set_index("id").reindex(self.items.index)
        kept = [c for c in self.items if c in ("patient", "split") or c.startswith("label_")]
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
                "STALE", item, "its files have changed since it was prepared",
                "index and prepare again",
            )  # fmt: skip

    @property
    def ndim(self) -> int:
        return len(self.shape(self.items.index[0]))

    @property
    def channels(self) -> int:
        return int(self.items["channels"].iloc[0])

    def shape(self, item: str) -> tuple[int, ...]:
        """Spatial shape of a prepared item."""
        return tuple(json.loads(self.items.at[item, "shape"]))

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
        bottom, top = self.recipe.value_range
        raw = self._read(item, "image", low, high, fill=int(self.items.at[item, "floor"]))
        return (raw.astype(np.float32) + 32767) * np.float32((top - bottom) / 65534) + bottom

    def read_mask(self, item: str, low=None, high=None) -> np.ndarray:
        """Labels (1, *box); outside the item 0. Raises UserError if the item has no mask."""
        if not self.items.at[item, "has_mask"]:
            raise UserError(
                "LABELS", item, "has no label mask",
                "index with labels= and prepare again, or choose other scans",
            )  # fmt: skip
        return self._read(item, "mask", low, high, fill=0)

    def foreground(self, item: str) -> np.ndarray:
        """Up to 1000 voxels a class, drawn at preparation: int32 rows of (class, *index)."""
        path = self._path(self.items.at[item, "key"], "points.npy")
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise _damaged(item, error) from error

    def add(self, key: str, prepared: Prepared) -> None:
        """Write the arrays of one item; an entry that is there already is kept."""
        (self.folder / "arrays").mkdir(parents=True, exist_ok=True)
        if prepared.mask is not None:
            mask = prepared.mask.array
            mask = mask.astype(np.uint8 if mask.max() < 256 else np.uint16)
            self._write(key, "mask", mask)
            points = _points(mask[0])
            path = self._path(key, "points.npy")
            write_atomically(path, lambda p: _save_array(p, points))
        image = prepared.image
        self._write(key, "image", self._quantised(image.array))
        about = {
            "channels": len(image.array),
            "shape": json.dumps([int(n) for n in image.shape]),
            "spacing": json.dumps([round(s, 6) for s in image.spacing]),
            "floor": int(self._quantised(image.array.min())),
            "grid": json.dumps({k: list(map(int, v)) for k, v in asdict(prepared.grid).items()}),
            "like_labels": prepared.like_labels,
        }
        write_atomically(self._path(key, "json"), lambda p: p.write_text(json.dumps(about)))

    def has(self, key: str, mask: bool) -> bool:
        """Whether every file of an entry is in place (what describes it is written last)."""
        endings = ["json", "image.b2nd", *(["mask.b2nd", "points.npy"] if mask else [])]
        return all(self._path(key, ending).exists() for ending in endings)

    def describe(self, row: pd.Series, key: str, source: str) -> dict:
        """The row of `items` for one scan, whose entry is there; `source` is its fingerprint."""
        kept = [
            c for c in row.index if c in ("id", "patient", "study", "modality", "split", "boxes")
        ]
        kept += [c for c in row.index if c.startswith("label_") and c != "label_mask"]
        return {
            **{c: row[c] for c in kept},
            "key": key,
            "source": source,
            **json.loads(self._path(key, "json").read_text()),
            "has_mask": bool(row.get("label_mask", "")),
            "burned_in": BURNED_IN in row.get("remarks", ""),
        }

    def _repr_html_(self) -> str:
        shown = self.items[["id", "patient", "modality", "split", "shape", "spacing", "has_mask"]]
        return f"<p>{len(self.items)} prepared items</p>{shown.head(10).to_html(index=False)}"

    def _quantised(self, values: np.ndarray) -> np.ndarray:
        """Values of the recipe's range as int16, the whole of which is used."""
        bottom, top = self.recipe.value_range
        return (np.rint((values - bottom) * (65534 / (top - bottom))) - 32767).astype(np.int16)

    def _path(self, key: str, ending: str) -> Path:
        return self.folder / "arrays" / f"{key}.{ending}"

    def _write(self, key: str, kind: str, array: np.ndarray) -> None:
        import blosc2

        space = array.shape[1:]
        chunks = (1, *(min(n, CHUNK) for n in space))
        blocks = (1, *(min(n, BLOCK) for n in space))
        packing = blosc2.CParams(
            codec=blosc2.Codec.ZSTD, clevel=5, typesize=array.itemsize, nthreads=1
        )

        def write(path: Path) -> None:
            blosc2.asarray(
                np.ascontiguousarray(array), chunks=chunks, blocks=blocks, cparams=packing,
                urlpath=str(path), mode="w",
            )  # fmt: skip

        write_atomically(self._path(key, f"{kind}.b2nd"), write)

    def _read(self, item: str, kind: str, low, high, fill) -> np.ndarray:
        array = self._array(item, kind)
        if low is None:
            return array[:]
        shape = array.shape[1:]
        a = [min(max(lo, 0), n) for lo, n in zip(low, shape, strict=True)]
        b = [max(min(h, n), 0) for h, n in zip(high, shape, strict=True)]
        part = array[(slice(None), *(slice(x, y) for x, y in zip(a, b, strict=True)))]
        if tuple(b) == tuple(high) and tuple(a) == tuple(low):
            return part
        before = [max(-lo, 0) for lo in low]
        size = [h - lo for lo, h in zip(low, high, strict=True)]
        out = np.full((array.shape[0], *size), fill, part.dtype)
        out[
            (slice(None), *(slice(s, s + n) for s, n in zip(before, part.shape[1:], strict=True)))
        ] = part
        return out

    def _array(self, item: str, kind: str):
        import blosc2

        key = self.items.at[item, "key"]
        path = self._path(key, f"{kind}.b2nd")
        if str(path) not in self._open:
            if len(self._open) >= 256:
                self._open.clear()
            try:
                self._open[str(path)] = blosc2.open(str(path), mode="r", dparams={"nthreads": 1})
            except (OSError, RuntimeError, ValueError) as error:
                raise _damaged(item, error) from error
        return self._open[str(path)]

    def __getstate__(self):
        return {**self.__dict__, "_open": {}}


def _same(a: pd.Series, b: pd.Series) -> bool:
    texts = [s.astype("object").where(s.notna(), "").astype(str) for s in (a, b)]
    return texts[0].equals(texts[1])


def _damaged(item: str, error: Exception) -> UserError:
    return UserError(
        "STORE", item, f"its prepared arrays cannot be opened ({one_line(error)})",
        "delete what is damaged and run `medssl prepare` again; it writes what is missing",
    )  # fmt: skip


def _points(mask: np.ndarray) -> np.ndarray:
    rows = []
    for label in np.unique(mask[mask > 0]):
        where = np.argwhere(mask == label)
        step = max(1, len(where) // FOREGROUND_POINTS)
        chosen = where[::step][:FOREGROUND_POINTS]
        rows.append(np.column_stack([np.full(len(chosen), label), chosen]))
    return np.concatenate(rows).astype(np.int32) if rows else np.zeros((0, mask.ndim + 1), np.int32)


def _save_array(path: Path, array: np.ndarray) -> None:
    with open(path, "wb") as stream:
        np.save(stream, array, allow_pickle=False)
