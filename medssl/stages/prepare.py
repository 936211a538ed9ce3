"""Reorient, resample and normalise the scans of a manifest into a store.

Crops are later read from the store without decoding whole scans. What is in the store already, made
from the same bytes by the same recipe, is not made again. A scan that cannot be read or prepared is
listed in refused.csv with the reason, and the others go on.
"""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import ClassVar

import pandas as pd
from pydantic import Field

from medssl.config import Config as Base
from medssl.config import Share
from medssl.data import splits
from medssl.data.duplicates import pixel_fingerprint
from medssl.data.entries import key_of
from medssl.data.files import alone_in, write_csv
from medssl.data.forecast import Forecast
from medssl.data.likeness import likeness
from medssl.data.manifest import Manifest
from medssl.data.manifest_checks import check_pseudonyms
from medssl.data.preprocess import prepare
from medssl.data.processes import each
from medssl.data.recipe import Recipe
from medssl.data.store import Store
from medssl.errors import UserError, check_bad, one_line
from medssl.privacy import is_free_text, scrub_names
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
    max_bad: Share = Field(1.0, description="leave with exit status 3 if more is refused; a share")


@dataclass
class Outcome:
    """`row`: of the store's items, or of refused.csv; bytes and seconds 0 if it was there; `mended` if its
    arrays were there, and damaged; `recoded`: values of recode= that its mask's file holds."""

    row: dict
    size: int = 0
    seconds: float = 0.0
    mended: bool = False
    recoded: frozenset[int] = frozenset()


def run(config: Config) -> Path:
    manifest = manifest_of(config)
    config.out.mkdir(parents=True, exist_ok=True)
    with alone_in(config.out):
        return _write_store(manifest, config)


def manifest_of(config: Config) -> Manifest:
    """The manifest that is asked for, checked. Raises UserError."""
    manifest = Manifest.read(config.manifest)
    splits.check(manifest.table)  # a manifest may have been edited by hand
    if manifest.used.empty:
        fix = "see its quarantine.csv, or index another folder"
        raise UserError("EMPTY", config.manifest, "no scan of it can be used", fix)
    check_pseudonyms(manifest.used)
    _check_axes(manifest, config.recipe)
    return manifest


def _write_store(manifest: Manifest, config: Config) -> Path:
    store = Store(config.out, config.recipe, config.manifest.resolve(), pd.DataFrame())
    _say_replaced(store, set(manifest.used["id"]))
    results = _prepare_all(manifest, store, config)

    refused = pd.DataFrame(
        [r for r in results if "cause" in r], columns=["id", "code", "cause", "fix"]
    )
    good = [r for r in results if "cause" not in r]
    refused_csv = config.out / "refused.csv"
    write_csv(refused_csv, refused)
    for row in refused.head(5).itertuples():
        say(f"refused {row.id}: {row.cause}. Fix: {row.fix}")
    if not good:
        raise _none_prepared(refused, config.manifest, refused_csv)
    store.items = pd.DataFrame(good).set_index("id", drop=False).rename_axis(None)
    for column in manifest.label_columns:  # rows of Python values would make fractions of numbers
        store.items[column] = store.items[column].astype(manifest.table[column].dtype)
    texts = {c: [v for v in store.items[c] if isinstance(v, str)] for c in manifest.label_columns}
    if remarks := [c for c, values in texts.items() if is_free_text(values)]:
        store.items = store.items.drop(columns=remarks)
        names = ", ".join(c.removeprefix("label_") for c in remarks)
        say(f"left out of the store: {names}; free text may name people and holds no classes")
    _check_alike(store)
    store.write_about()
    for remark, items in store.items.groupby("remarks")["id"]:
        if remark:
            say(
                f"remark on {len(items)} scan{'s' * (len(items) > 1)} ({', '.join(items[:3])}): {remark}"
            )
    splits_of = store.items.groupby("source")["split"].transform("nunique")
    if copies := list(store.items.index[splits_of > 1]):
        say(
            f"remark: {len(copies)} scans are byte for byte the same as one in another split "
            f"({', '.join(copies[:3])}), which makes test scores too high"
        )
    odd = list(store.items.index[store.items["like_labels"]])
    if odd:
        say(
            f"remark: {len(odd)} scans hold a few whole numbers only, as label masks do "
            f"({', '.join(odd[:3])}); masks belong into a folder given as labels= to `medssl index`"
        )
    say(
        f"prepared {len(good)} scans, refused {len(refused)} (listed in {refused_csv}){_shapes(store)}"
    )
    check_bad(len(refused), len(results), config.max_bad, refused_csv)
    return config.out


def _prepare_all(manifest: Manifest, store: Store, config: Config) -> list[dict]:
    """A row a scan, in the manifest's order. Raises UserError DISK when the disk is full."""
    scans = manifest.used
    begun = store.entries.any()
    forecast = Forecast(store.folder, scans, store.recipe, config.workers, begun)
    say(forecast.limit())
    # A scan's own row is all a worker needs; the whole table would be sent with every scan.
    ones = (manifest.part(scans.iloc[i : i + 1]) for i in range(len(scans)))
    work = partial(_prepare, store)
    rows, kept, mended, recoded = [], 0, [], set()
    with closing(_until_full(each(work, ones, config.workers, "torch"), forecast)) as outcomes:
        for outcome in track(outcomes, "prepare", len(scans), "scans"):
            rows.append(outcome.row)
            kept += not outcome.size and "cause" not in outcome.row
            mended += [outcome.row["id"]] * outcome.mended
            recoded |= outcome.recoded
            if words := forecast.observe(outcome.size, outcome.seconds):
                say(words)
    if begun:
        words = "scans have their arrays there already, and are kept as they are"
        others = "; others are new, or of other files, masks, values (recode=) or recipes"
        say(f"{kept} of {len(scans)} {words}{others if kept < len(scans) else ''}")
    if mended:
        few = f"scan{'s' * (len(mended) > 1)} ({', '.join(mended[:3])})"
        say(f"remark: damaged arrays of {len(mended)} {few} were made again; look at the disk")
    unknown = set(manifest.recode) - recoded
    if unknown and not kept:  # those of kept scans are not read again
        values = ", ".join(map(str, sorted(unknown)))
        say(f"remark: no prepared mask holds {values} of recode=; `medssl qc` says what masks hold")
    return rows


def _until_full(outcomes: Iterator[Outcome], forecast: Forecast) -> Iterator[Outcome]:
    try:
        yield from outcomes
    except UserError as error:
        if error.code != "DISK":
            raise
        raise forecast.stopped(error) from error


def _prepare(store: Store, one: Manifest) -> Outcome:
    """Prepare a manifest's one scan; what is wrong with the scan becomes its row in refused.csv."""
    row, began = one.table.iloc[0], time.monotonic()
    try:
        files = one.files(row["id"])
        before = _state(files)
        key, source = key_of(one, row["id"], store.recipe)
        if store.entries.has(key, bool(row["label_mask"])):
            return Outcome(store.describe(row, key, source))
        scan = one.volume(row["id"])
        filed = one.mask_as_filed(row["id"], scan)
        mask = filed and one.recoded(filed)
        if before != _state(files):
            raise UserError(
                "CHANGED", row["id"], "its files changed while they were read",
                "index the folder again when it is at rest",
            )  # fmt: skip
        mended = store.entries.was_written(key)
        pixels, looks = pixel_fingerprint(scan), likeness(scan)
        prepared = prepare(scan, store.recipe, mask, name=row["id"])
        held = pd.unique(filed.array.ravel()) if one.recode and filed else ()
        del scan, filed, mask
        size = store.entries.add(key, prepared, store.recipe, pixels, looks)
        seconds = time.monotonic() - began
        recoded = frozenset(one.recode).intersection(map(int, held))
        return Outcome(store.describe(row, key, source), size, seconds, mended, recoded)
    except UserError as error:
        if error.code == "DISK":
            raise
        cause, fix = (scrub_names(words, _names(row)) for words in (error.cause, error.fix))
        return _refusal(row, error.code, cause, fix)
    except OSError as error:
        if error.filename and store.folder in Path(error.filename).parents:
            raise
        fix = "check that its files are still there and readable, or index the folder again"
        return _refusal(row, "UNREADABLE", _which(one, row["id"], error), fix)
    except (RuntimeError, ValueError, ArithmeticError, MemoryError) as error:
        # One scan that no array can be made of, such as a voxel of a metre, stops no other.
        cause = scrub_names(f"{type(error).__name__}: {one_line(error)}", _names(row))
        fix = "look at its shape and spacing, or prepare it with another recipe"
        return _refusal(row, "PREPARE", cause, fix)


def _shapes(store: Store) -> str:
    """How large prepared scans are, in words: what sizes of crops are chosen by."""
    shapes = sorted({store.shape(item) for item in store.items.index}, key=prod)
    first, last = ("x".join(map(str, shape)) for shape in (shapes[0], shapes[-1]))
    return f"; each of {first} voxels" if first == last else f"; of {first} to {last} voxels"


def _none_prepared(refused: pd.DataFrame, manifest: Path, listed: Path) -> UserError:
    cause, fix = f"none of {len(refused)} scans could be prepared", f"see {listed}"
    if len(refused.drop(columns="id").drop_duplicates()) == 1:  # more likely the recipe's fault
        cause, fix = f"{cause}: {refused['cause'][0]}", f"{refused['fix'][0]}; {fix}"
    return UserError("EMPTY", manifest, cause, fix)


def _refusal(row: pd.Series, code: str, cause: str, fix: str) -> Outcome:
    return Outcome({"id": row["id"], "code": code, "cause": cause, "fix": fix})


def _state(files: list[Path]) -> list[tuple[int, int]]:
    return [(s.st_size, s.st_mtime_ns) for s in (file.stat() for file in files)]


def _which(one: Manifest, id: str, error: OSError) -> str:
    """Which of a scan's files an error is about, by number: paths may hold names of people."""
    files = [str(file) for file in one.files(id)]
    if error.filename is not None and str(error.filename) in files:
        number = files.index(str(error.filename)) + 1
        return f"file {number} of {len(files)} cannot be read ({one_line(error)})"
    return f"one of its files or its mask cannot be read ({one_line(error)})"


def _names(row) -> list[str]:
    """Paths of a scan, no piece of which is to be repeated."""
    return [*json.loads(row["files"]), row["label_mask"]]


def _check_axes(manifest: Manifest, recipe: Recipe) -> None:
    """Raise UserError CONFIG for a recipe that fits no scan; one that fits some is told scan by scan."""
    axes = {shape.count("x") + 1 for shape in manifest.used["shape"]}
    if len(axes) == 1 and "" not in set(manifest.used["shape"]):
        recipe.check_axes(axes.pop())


def _say_replaced(store: Store, scans: set[str]) -> None:
    """Say of a folder that holds a store already what becomes of it once these scans are prepared."""
    try:
        before = Store.read_from(store.folder)
    except UserError as error:
        if (store.folder / "store.json").exists():
            say(
                f"remark: the store in {store.folder} cannot be read ({error.cause}), and is made anew"
            )
        return
    old, new = before.recipe.model_dump(), store.recipe.model_dump()
    other = [f"{key} {old[key]}, now {new[key]}" for key in new if old[key] != new[key]]
    gone = before.items.index.difference(list(scans))
    here, stop = store.folder, "To keep both, stop here and give another out="
    if other:
        say(
            f"CAUTION: {here} holds {len(before.items)} scans of another recipe ({'; '.join(other)}). Once "
            "this is done they leave its list; their arrays stay in arrays/ until you delete the folder. "
            f"{stop}"
        )
    elif len(gone):
        say(
            f"CAUTION: {len(gone)} of the {len(before.items)} scans that {here} holds are not in this "
            f"manifest ({', '.join(gone[:3])}). Once this is done they leave its list. {stop}"
        )


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
