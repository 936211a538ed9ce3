"""The same pixels under other names, in other formats, other headers or by other patients."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medssl.data.manifest import Manifest
from medssl.data.tables import read_table
from medssl.data.volume import Volume
from medssl.errors import UserError

SLAB = 16  # planes at a time, to spare memory


def pixel_fingerprint(volume: Volume) -> str:
    """32 hex digits from the values of a scan, whatever type, format and header held them.

    Turned and mirrored copies share it: headers, which say how an array lies, are not asked. A film
    saved in three equal channels is the film.
    """
    import xxhash

    array = volume.array
    if len(array) > 1 and all(np.array_equal(array[0], other) for other in array[1:]):
        array = array[:1]
    array = _as_it_lies(array)
    digest = xxhash.xxh3_128(str(array.shape).encode())
    for slab in _slabs(array):
        digest.update(np.ascontiguousarray(slab))
    return digest.hexdigest()


def _as_it_lies(array: np.ndarray) -> np.ndarray:
    """(C, *spatial) with its axes in an order, and each in a direction, that its values alone decide.

    Sums of the values' bits over all other axes are exact, and so the same however the array lay. An
    axis points to where they are larger; the shorter axis comes first, of equal ones the smaller sums.
    """
    profiles = [np.zeros(n, np.uint64) for n in array.shape[1:]]
    low = 0
    for slab in _slabs(array):
        bits = slab.view(np.uint32)
        for axis, profile in enumerate(profiles):
            others = tuple(a for a in range(bits.ndim) if a != axis + 1)
            part = slice(low, low + bits.shape[1]) if axis == 0 else slice(None)
            profile[part] += bits.sum(others, dtype=np.uint64)
        low += bits.shape[1]
    turned = []
    for axis, profile in enumerate(profiles):
        mirrored = profile[::-1].tolist() < profile.tolist()
        array = np.flip(array, axis + 1) if mirrored else array
        turned.append(profile[::-1].tolist() if mirrored else profile.tolist())
    order = sorted(range(len(turned)), key=lambda axis: (len(turned[axis]), turned[axis]))
    return array.transpose(0, *(axis + 1 for axis in order))


def _slabs(array: np.ndarray) -> Iterator[np.ndarray]:
    """float32 parts along the first spatial axis; minus zero becomes zero."""
    for low in range(0, array.shape[1], SLAB):
        yield array[:, low : low + SLAB].astype(np.float32) + np.float32(0)


def groups(fingerprints: pd.Series) -> list[list[str]]:
    """Ids that share a fingerprint, in order of first appearance; those alone are left out."""
    found = defaultdict(list)
    for id, fingerprint in fingerprints.items():
        found[fingerprint].append(id)
    return [ids for ids in found.values() if len(ids) > 1]


def contradictions(ids: list[str], used: pd.DataFrame) -> list[str]:
    """What copies of one scan say differently: patient, split, label X. `used` has ids as index."""
    rows = used.loc[ids]
    told = [c for c in used if c in ("patient", "split") or c.startswith("label_")]
    told = [c for c in told if c != "label_mask"]
    return [
        c.replace("label_", "label ", 1)
        for c in told
        if rows[c].astype("object").nunique(False) > 1
    ]


def as_one_patient(manifest: Manifest, source: Path) -> None:
    """Let copies of a scan, as `medssl reduce copies` lists them, count as of one patient, whoever they are
    said to be of: drawn splits then keep them together, and intervals count them once.

    source  its folder, or copies.csv. Raises UserError COPIES where it names none of the scans.
    """
    file = source / "copies.csv" if source.is_dir() else Path(source)
    table = read_table(file)
    if not {"scan", "copy"} <= set(table):
        cause = f"has no columns scan and copy (found {', '.join(table.columns)})"
        raise UserError("COPIES", file, cause, "give the folder that `medssl reduce copies` wrote")
    used = manifest.used
    pairs = table[table["scan"].isin(used["id"]) & table["copy"].isin(used["id"])]
    if len(table) and pairs.empty:
        cause = f"names none of these {len(used)} scans"
        raise UserError(
            "COPIES", file, cause, "search for copies in a store of the same scans, ids alike"
        )
    patient = used.set_index("id")["patient"]
    names = sorted(patient.unique())
    place = {name: i for i, name in enumerate(names)}
    one, other = (pairs[c].map(patient).map(place).to_numpy(int) for c in ("scan", "copy"))
    links = coo_array((np.ones(len(pairs)), (one, other)), shape=(len(names), len(names)))
    n, group = connected_components(links, directed=False)
    guessed = {patient[id] for id in manifest.guessed_patients}
    first: dict[int, str] = {}  # whoever is known speaks for all
    for name in sorted(names, key=lambda name: name in guessed):
        first.setdefault(group[place[name]], name)
    told = patient.map(lambda name: first[group[place[name]]])
    manifest.table.loc[used.index, "patient"] = told.to_numpy()
    beside = len(table) - len(pairs)
    manifest.notes.append(
        f"{file.name}: {len(pairs)} pairs of copies make {n} patients of {len(names)}"
        + f"; {beside} pairs are of scans that are not used here" * bool(beside)
    )
