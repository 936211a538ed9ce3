"""Reorient, resample and normalise the scans of a manifest into a store.

Crops are later read from the store without decoding whole scans. What is in the store already, made
from the same bytes by the same recipe, is not made again. A scan that cannot be read or prepared is
listed in refused.csv with the reason, and the others go on.
"""

import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import ClassVar

import pandas as pd
from pydantic import Field

from medssl.config import Config as Base
from medssl.data import splits
from medssl.data.files import refuse_inside, write_csv
from medssl.data.manifest import Manifest
from medssl.data.patients import PSEUDONYM
from medssl.data.preprocess import Recipe, prepare
from medssl.data.store import Store, key_of
from medssl.errors import UserError, one_line
from medssl.privacy import scrub_names
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


def run(config: Config) -> Path:
    manifest = Manifest.read(config.manifest)
    if not config.manifest.resolve().is_relative_to(manifest.root):  # else a single file's folder
        refuse_inside(config.out, manifest.root)
    splits.check(manifest.table)  # a manifest may have been edited by hand
    _check_pseudonyms(manifest)
    rows = [row for _, row in manifest.used.iterrows()]
    config.out.mkdir(parents=True, exist_ok=True)
    store = Store(config.out, config.recipe, config.manifest.resolve(), pd.DataFrame())
    work = partial(_prepare, manifest, store)
    if config.workers:
        with ProcessPoolExecutor(config.workers) as pool:
            results = list(track(pool.map(work, rows), "prepare", len(rows), "scans"))
    else:
        results = [work(row) for row in track(rows, "prepare", unit="scans")]

    refused = pd.DataFrame(
        [r for r in results if "cause" in r], columns=["id", "code", "cause", "fix"]
    )
    good = [r for r in results if "cause" not in r]
    refused_csv = config.out / "refused.csv"
    write_csv(refused_csv, refused)
    for row in refused.head(5).itertuples():
        say(f"refused {row.id}: {row.cause}. Fix: {row.fix}")
    if not good:
        raise UserError(
            "EMPTY", config.manifest, f"none of {len(rows)} scans could be prepared",
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


def _prepare(manifest, store, row) -> dict:
    """Prepare one scan; a UserError becomes its row in refused.csv."""
    try:
        key, source = key_of(manifest, row["id"], store.recipe)
        if not store.has(key, bool(row["label_mask"])):
            scan = manifest.volume(row["id"])
            mask = manifest.mask(row["id"], scan)
            store.add(key, prepare(scan, store.recipe, mask, name=row["id"]))
        return store.describe(row, key, source)
    except UserError as error:
        cause, fix = (scrub_names(words, _names(row)) for words in (error.cause, error.fix))
        return {"id": row["id"], "code": error.code, "cause": cause, "fix": fix}
    except OSError as error:
        fix = "check that the file is still there and readable; index the folder again"
        return {"id": row["id"], "code": "UNREADABLE", "cause": one_line(error), "fix": fix}
    except (RuntimeError, ValueError, ArithmeticError, MemoryError) as error:
        # One scan that no array can be made of, such as a voxel of a metre, stops no other.
        cause = scrub_names(f"{type(error).__name__}: {one_line(error)}", _names(row))
        fix = "look at its shape and spacing, or prepare it with another recipe"
        return {"id": row["id"], "code": "PREPARE", "cause": cause, "fix": fix}


def _names(row) -> list[str]:
    """Paths of a scan, no piece of which is to be repeated."""
    return [*json.loads(row["files"]), row["label_mask"]]


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
