"""What is compared of every scan of a store, read once, a scan at a time, and kept on disk."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from medssl.curation.signatures import as_bytes
from medssl.data.crops import SLICE_AXIS
from medssl.data.entries import fingerprint
from medssl.data.files import write_atomically
from medssl.data.processes import each
from medssl.data.selection import WHOLE
from medssl.data.store import Store
from medssl.progress import track

FLAT = 0.05  # a slice whose contrast is below this share of its scan's shows nothing
FEWEST_LEVELS = 2  # of 256 between dark and bright, below which nothing is to be seen at all
DARK, BRIGHT = 2, 98  # percentiles


@dataclass
class Read:
    """table       item, slice (-1: whole scans) and blank of every unit, in anatomical order
    signatures  (units, ...), a file that is read where it lies
    """

    table: pd.DataFrame
    signatures: np.ndarray


def read(
    store: Store, ids: list[str], signature, unit: str, folder: Path, named: dict, workers: int = 0
) -> Read:
    """Signatures of the units of `ids`.

    `named` says what the signature is; what `folder` holds under the same name, unharmed, is not read
    again.
    """
    name = {**named, "unit": unit, "items": [[i, store.items.at[i, "key"]] for i in ids]}
    table = units(store, ids, unit)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about, array, blank = (folder / n for n in ("about.json", "signatures.npy", "blank.npy"))

    def there() -> str:
        return json.dumps({**name, "bytes": fingerprint([array, blank])})

    known = all(p.exists() for p in (about, array, blank)) and about.read_text() == there()
    if not known:
        about.unlink(missing_ok=True)
        looked = each(partial(_look, store, signature, unit), ids, workers, "torch")
        _write(
            track(looked, f"read {store.folder.name}", len(ids), "scans"), array, blank, len(table)
        )
        write_atomically(about, lambda p: p.write_text(there()), private=True)
    table["blank"] = np.load(blank)
    return Read(table, np.load(array, mmap_mode="c"))


def units(store: Store, ids: list[str], unit: str) -> pd.DataFrame:
    """A row for each scan or axial slice: item, slice."""
    counts = [store.shape(i)[SLICE_AXIS] if unit == "slices" else 1 for i in ids]
    slices = np.concatenate([np.arange(n) for n in counts]) if unit == "slices" else WHOLE
    return pd.DataFrame({"item": np.repeat(np.array(ids, object), counts), "slice": slices})


def images(store: Store, id: str, unit: str) -> np.ndarray:
    """float32 (N, C, *spatial): axial slices as (rows y, columns x), or the whole scan alone."""
    image = store.read(id)
    if unit == "scans":
        return image[None]
    return np.ascontiguousarray(image.transpose(3, 0, 2, 1))


def _look(store: Store, signature, unit: str, id: str) -> tuple[np.ndarray, np.ndarray]:
    """Signatures and blanks of the units of one scan."""
    shown, value_range = torch.from_numpy(images(store, id, unit)), store.recipe.value_range
    return signature.of(shown, value_range), flat(as_bytes(shown, value_range).numpy())


def flat(pixels: np.ndarray) -> np.ndarray:
    """Which of the images uint8 (N, *spatial) of one scan show nothing: air, or one value."""
    low, high = np.percentile(pixels.reshape(len(pixels), -1), [DARK, BRIGHT], axis=1)
    contrast = high - low
    return contrast <= max(FLAT * contrast.max(), FEWEST_LEVELS)


def _write(looked: Iterator[tuple], array: Path, blank: Path, n: int) -> None:
    """Write signatures as they come, so that memory does not grow with them."""
    at, kept, blanks = 0, None, np.zeros(n, bool)
    for found, flat_ones in looked:
        if kept is None:
            kept = np.lib.format.open_memmap(array, "w+", found.dtype, (n, *found.shape[1:]))
        kept[at : at + len(found)], blanks[at : at + len(found)] = found, flat_ones
        at += len(found)
    kept.flush()
    np.save(blank, blanks)
