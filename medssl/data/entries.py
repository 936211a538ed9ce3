"""The files of a store: of each prepared scan its arrays, and what describes them.

An entry is called by a hash of the source files' bytes and of the recipe: one that was made from other
bytes or by another recipe can never be served. It is there once all of it is, and is read only as it was
written.
"""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from medssl.config import Keys
from medssl.data.files import write_atomically
from medssl.data.manifest import Manifest
from medssl.data.packed import pack, quantised
from medssl.data.preprocess import Prepared
from medssl.data.recipe import Recipe
from medssl.data.seals import ROTTEN, read_json, sealed_json
from medssl.errors import UserError, one_line

FORMAT = 8  # of a store
FOREGROUND_POINTS = 1000


def entry_key(sources: list[str], recipe: Keys) -> str:
    """32 hex digits from fingerprints of source files, the recipe and the store's format."""
    return _digest("|".join([str(FORMAT), recipe.model_dump_json(), *sources]))


def _digest(text: str) -> str:
    import xxhash

    return xxhash.xxh3_128(text.encode()).hexdigest()


def key_of(manifest: Manifest, item: str, recipe: Recipe) -> tuple[str, str]:
    """The key of a scan's entry, and the fingerprint of the scan's files."""
    source, mask = fingerprint(manifest.files(item)), manifest.row(item)["label_mask"]
    if frames := manifest.frames(item):  # two scans of one file are no copies of each other
        source = _digest(f"{source}|{json.dumps(frames)}")
    masks = [fingerprint(manifest.mask_files(item))] if mask else []
    if mask and manifest.recode:
        masks.append(json.dumps(sorted(manifest.recode.items())))
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


class Entries:
    """All entries of a store, in its folder `arrays`, by key."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._sound: set[tuple[str, str]] = set()  # files that are as they were written

    def add(self, key: str, prepared: Prepared, recipe: Recipe, pixels: str, looks: str) -> int:
        """Write the arrays of one item, and last of all what describes them. Returns their bytes.

        `pixels` is the fingerprint of the scan's values before they were prepared, `looks` of what
        it looks like.

        Raises UserError DISK if there is no room; what was written by then is no entry.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        image = prepared.image
        levels = quantised(image.array, *recipe.value_range, recipe.levels)
        sizes = {"image.b2nd": self._write(key, "image.b2nd", pack(levels))}
        floor = int(levels.min())
        del levels
        if prepared.mask is not None:
            mask = prepared.mask.array
            mask = mask.astype(np.uint8 if mask.max() < 256 else np.uint16)
            sizes["mask.b2nd"] = self._write(key, "mask.b2nd", pack(mask))
            sizes["points.npy"] = self._write(key, "points.npy", _as_file(_points(mask[0])))
        about = {
            "pixels": pixels,
            "likeness": looks,
            "channels": len(image.array),
            "shape": json.dumps([int(n) for n in image.shape]),
            "spacing": json.dumps([round(s, 6) for s in image.spacing]),
            "affine": json.dumps(image.affine.tolist()),
            "scan_shape": json.dumps([int(n) for n in prepared.scan_shape]),
            "scan_affine": json.dumps(prepared.scan_affine.tolist()),
            "floor": floor,
            "grid": json.dumps({k: list(map(int, v)) for k, v in asdict(prepared.grid).items()}),
            "like_labels": prepared.like_labels,
            "remarks": "; ".join(image.remarks),
            "content": {name: fingerprint([self._path(key, name)]) for name in sizes},
        }
        return sum(sizes.values()) + self._write(key, "json", sealed_json(about).encode())

    def has(self, key: str, mask: bool) -> bool:
        """Whether every file of an entry is there as it was written (what describes it is the last)."""
        try:
            content = self.about(key)["content"]
            whole = all(fingerprint([self._path(key, e)]) == d for e, d in content.items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False
        return whole and (not mask or "mask.b2nd" in content)

    def any(self) -> bool:
        """Whether something was prepared before."""
        return any(self.folder.rglob("*.json"))

    def was_written(self, key: str) -> bool:
        """Whether an entry was there once, whatever has become of it."""
        return self._path(key, "json").exists()

    def about(self, key: str) -> dict:
        """What describes an entry. Raises OSError or ValueError."""
        return read_json(self._path(key, "json").read_text())

    @contextmanager
    def sound(self, key: str, name: str, item: str) -> Iterator[Path]:
        """The path of a file of an item's entry, to be read within the block.

        Raises UserError STORE if it cannot be read, or its bytes are not those that were written: that is
        looked at before a process reads it first, and costs little beside decoding it.
        """
        path = self._path(key, name)
        try:
            if (key, name) not in self._sound:
                if fingerprint([path]) != self.about(key)["content"][name]:
                    raise ValueError(ROTTEN)
                self._sound.add((key, name))
            yield path
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                "STORE", item, f"its prepared array {path.name} cannot be read ({one_line(error)})",
                "run `medssl prepare` again as it was run: it keeps what is sound and makes this one anew",
            ) from error  # fmt: skip

    def _path(self, key: str, ending: str) -> Path:
        return self.folder / f"{key}.{ending}"

    def _write(self, key: str, ending: str, content: bytes) -> int:
        write_atomically(self._path(key, ending), lambda path: path.write_bytes(content))
        return len(content)


def _points(mask: np.ndarray) -> np.ndarray:
    there = np.zeros(np.iinfo(mask.dtype).max + 1, bool)
    for plane in mask:
        there[plane] = True
    rows = []
    for label in np.flatnonzero(there[1:]) + 1:
        where = np.flatnonzero(mask == label)
        spread = np.linspace(0, len(where) - 1, min(len(where), FOREGROUND_POINTS))
        chosen = np.unravel_index(where[spread.astype(int)], mask.shape)
        rows.append(np.column_stack([np.full(len(chosen[0]), label), *chosen]))
    return np.concatenate(rows).astype(np.int32) if rows else np.zeros((0, mask.ndim + 1), np.int32)


def _as_file(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()
