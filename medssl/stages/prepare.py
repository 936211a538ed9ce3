"""Reorient, resample and normalise the scans of a manifest into a store.

Crops are later read from the store without decoding whole scans. What is in the store already, made
from the same bytes by the same recipe, is not made again. A scan that cannot be read or prepared is
listed in refused.csv with the reason, and the others go on.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import pandas as pd
from pydantic import Field

from medssl.config import Config as Base
from medssl.data import splits
from medssl.data.files import alone_in, refuse_inside, write_atomically
from medssl.data.forecast import Forecast
from medssl.data.manifest import NAME, Manifest
from medssl.data.patients import PSEUDONYM
from medssl.data.preprocess import Recipe, prepare
from medssl.data.processes import each
from medssl.data.store import Store, key_of
from medssl.data.volume import Volume
from medssl.errors import UserError, one_line
from medssl.progress import say, track


class Config(Base):
    positional: ClassVar = ("manifest",)
    examples: ClassVar = (
        "medssl prepare ct_body manifest out=store",
        "medssl prepare mr_brain manifest out=store recipe.spacing=2,2,2",
    )
    manifest: Path = Field(Path("manifest"), description="folder that `medssl index` wrote")
    out: Path = Field(Path("store"), description="folder of the store")
    recipe: Recipe = Field(Recipe(), description="how scans are made comparable")
    workers: int = Field(0, description="processes that prepare side by side; 0: none", ge=0)


@dataclass
class Outcome:
    """`row`: of the store's items, or of refused.csv; bytes and seconds 0 if it was there.

    `newer`: its files have been written since they were indexed.
    """

    row: dict
    size: int = 0
    seconds: float = 0.0
    newer: bool = False


def run(config: Config) -> Path:
    manifest = Manifest.read(config.manifest)
    if not config.manifest.resolve().is_relative_to(manifest.root):  # else a single file's folder
        refuse_inside(config.out, manifest.root)
    splits.check(manifest.table)  # a manifest may have been edited by hand
    _check_pseudonyms(manifest)
    config.out.mkdir(parents=True, exist_ok=True)
    with alone_in(config.out):
        return _write_store(manifest, config)


def _write_store(manifest: Manifest, config: Config) -> Path:
    store = Store(config.out, config.recipe, config.manifest.resolve(), pd.DataFrame())
    results = _prepare_all(manifest, store, config)

    refused = pd.DataFrame(
        [r for r in results if "cause" in r], columns=["id", "code", "cause", "fix"]
    )
    good = [r for r in results if "cause" not in r]
    refused_csv = config.out / "refused.csv"
    write_atomically(refused_csv, lambda path: refused.to_csv(path, index=False))
    for row in refused.head(5).itertuples():
        say(f"refused {row.id}: {row.cause}. Fix: {row.fix}")
    if not good:
        raise UserError(
            "EMPTY", config.manifest, f"none of {len(results)} scans could be prepared",
            f"see {refused_csv}",
        )  # fmt: skip
    store.items = pd.DataFrame(good).set_index("id", drop=False).rename_axis(None)
    _check_alike(store)
    store.write_about()
    odd = list(store.items.index[store.items["like_labels"]])
    if odd:
        say(
            f"remark: {len(odd)} scans hold a few whole numbers only, as label masks do "
            f"({', '.join(odd[:3])}); masks belong into a folder given as labels= to `medssl index`"
        )
    say(f"prepared {len(good)} scans, refused {len(refused)} (listed in {refused_csv})")
    return config.out


def _prepare_all(manifest: Manifest, store: Store, config: Config) -> list[dict]:
    """A row a scan, in the manifest's order. Raises UserError DISK when the disk is full."""
    scans = manifest.used
    forecast = Forecast(store.folder, scans, store.recipe, config.workers)
    say(forecast.limit())
    # A scan's own row is all a worker needs; the whole table would be sent with every scan.
    ones = (Manifest(manifest.root, scans.iloc[i : i + 1]) for i in range(len(scans)))
    work = partial(_prepare, store, _written(config.manifest))
    rows, newer = [], []
    with closing(_until_full(each(work, ones, config.workers), forecast)) as outcomes:
        for outcome in track(outcomes, "prepare", len(scans), "scans"):
            rows.append(outcome.row)
            newer += [outcome.row["id"]] * outcome.newer
            if words := forecast.observe(outcome.size, outcome.seconds):
                say(words)
    if newer:
        say(
            f"remark: files of {len(newer)} scans have been written since they were indexed "
            f"({', '.join(newer[:3])}); index again if their labels may have changed with them"
        )
    return rows


def _until_full(outcomes: Iterator[Outcome], forecast: Forecast) -> Iterator[Outcome]:
    try:
        yield from outcomes
    except UserError as error:
        if error.code != "DISK":
            raise
        raise forecast.stopped(error) from error


def _written(manifest: Path) -> int:
    return (manifest / NAME if manifest.is_dir() else manifest).stat().st_mtime_ns


def _prepare(store: Store, indexed: int, one: Manifest) -> Outcome:
    """Prepare a manifest's one scan; what is wrong with the scan becomes its row in refused.csv."""
    row, began = one.table.iloc[0], time.monotonic()
    try:
        files = one.files(row["id"])
        before = _state(files)
        newer = max(modified for _, modified in before) > indexed
        key, source = key_of(one, row["id"], store.recipe)
        if store.has(key, bool(row["label_mask"])):
            return Outcome(store.describe(row, key, source), newer=newer)
        scan = one.volume(row["id"])
        mask = one.mask(row["id"], scan)
        _check_as_indexed(row, scan, before == _state(files))
        prepared = prepare(scan, store.recipe, mask, name=row["id"])
        del scan, mask
        size = store.add(key, prepared)
        seconds = time.monotonic() - began
        return Outcome(store.describe(row, key, source), size, seconds, newer)
    except UserError as error:
        if error.code == "DISK":
            raise
        return _refusal(row, error.code, error.cause, error.fix)
    except OSError as error:
        if error.filename and store.folder in Path(error.filename).parents:
            raise
        fix = "check that its files are still there and readable, or index the folder again"
        return _refusal(row, "UNREADABLE", _which(one, row["id"], error), fix)
    except (RuntimeError, ValueError, ArithmeticError, MemoryError) as error:
        # One scan that no array can be made of, such as a voxel of a metre, stops no other.
        cause = f"{type(error).__name__}: {one_line(error)}"
        fix = "look at its shape and spacing, or prepare it with another recipe"
        return _refusal(row, "PREPARE", cause, fix)


def _refusal(row: pd.Series, code: str, cause: str, fix: str) -> Outcome:
    return Outcome({"id": row["id"], "code": code, "cause": cause, "fix": fix})


def _state(files: list[Path]) -> list[tuple[int, int]]:
    return [(s.st_size, s.st_mtime_ns) for s in (file.stat() for file in files)]


def _check_as_indexed(row: pd.Series, scan: Volume, still: bool) -> None:
    """Raise UserError CHANGED if a scan is not what was indexed, or changed while it was read."""
    cause = "" if still else "its files changed while they were read"
    if row["shape"] and sorted(scan.shape) != sorted(int(n) for n in row["shape"].split("x")):
        found = "x".join(map(str, scan.shape))
        cause = f"its files have changed since they were indexed: {found} now, {row['shape']} then"
    if cause:
        raise UserError("CHANGED", row["id"], cause, "index the folder again when it is at rest")


def _which(one: Manifest, id: str, error: OSError) -> str:
    """Which of a scan's files an error is about, by number: paths may hold names of people."""
    files = [str(file) for file in one.files(id)]
    if error.filename is not None and str(error.filename) in files:
        number = files.index(str(error.filename)) + 1
        return f"file {number} of {len(files)} cannot be read ({one_line(error)})"
    return f"one of its files or its mask cannot be read ({one_line(error)})"


def _check_pseudonyms(manifest: Manifest) -> None:
    raw = ~manifest.used["patient"].str.fullmatch(PSEUDONYM)
    if raw.any():
        raise UserError(
            "PATIENT", manifest.used["id"][raw.idxmax()],
            f"its patient and those of {raw.sum() - 1} more scans are not named by salted ids",
            "give patients to `medssl index` by labels=, splits= or patient_pattern=",
        )  # fmt: skip


def _check_alike(store) -> None:
    """A store holds scans that one network can take: the same channels, the same axes."""
    for what, values in {
        "channels": store.items["channels"],
        "axes": store.items["shape"].str.count(",") + 1,
    }.items():
        counts = values.value_counts()
        if len(counts) > 1:
            odd = store.items.index[values == counts.index[-1]][0]
            raise UserError(
                "MIXED", odd, f"{what} differ between scans: {counts.to_dict()}",
                "index films, volumes, and images of other channels apart, into a manifest each",
            )  # fmt: skip
