"""Drop near-duplicate slices or scans: a selection that pretraining takes, and a report of pictures.

Writes selection.parquet (what is kept, and what stands for what is not), copies.csv (scans that are copies
of others), reduce.html. It is a view: nothing is deleted. The report shows at which threshold how much
would be kept, so that a threshold can be chosen by looking.
"""

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from medssl.backbones.base import BACKBONES
from medssl.config import Config as Base
from medssl.config import Part, checked_parts
from medssl.curation import copies as twins
from medssl.curation.choice import choose, curve, scopes
from medssl.curation.embedding import Embedding, fingerprint_of
from medssl.curation.reading import Read, read
from medssl.curation.selection import coreset
from medssl.curation.signatures import SIGNATURES
from medssl.data.files import alone_in, write_csv
from medssl.data.selection import WHOLE, Selection
from medssl.data.store import Store
from medssl.data.subset import of_splits
from medssl.errors import UserError
from medssl.progress import say, track
from medssl.reports import pairs, redundancy
from medssl.training.hardware import Hardware
from medssl.training.start import backbone_of

TABLES = {"signature": SIGNATURES, "backbone": BACKBONES}
WHOLE_NUMBERS = ("bits", "slices")  # units of distances
GROUPED = ("first", "medoid")  # by a threshold; the other rules, but for all, by a budget


class Config(Base, Hardware):
    positional: ClassVar = ("store",)
    examples: ClassVar = (
        "medssl reduce store out=selection",
        "medssl reduce store signature=ssim threshold=0.05 scope=patient",
        "medssl reduce store unit=scans signature=embedding model=runs/voco keep=k_centre budget=500",
    )
    store: Path = Field(Path("store"), description="folder that `medssl prepare` wrote")
    out: Path = Field(Path("selection"), description="folder to write to")
    unit: Literal["slices", "scans"] = Field(
        "slices", description="what is kept or dropped; films are scans"
    )
    signature: Part = Field(
        Part(name="dhash"), description=f"what of images is compared: {', '.join(SIGNATURES)}"
    )
    model: Path | None = Field(None, description="run or model folder, for signature=embedding")
    backbone: Part = Field(
        Part(name="timm"), description="the network of signature=embedding, where no model is given"
    )
    scope: Literal["auto", "volume", "patient", "cohort"] = Field(
        "auto", description="what is compared with each other; auto: slices within their volume; scans, "
        "films and what is chosen by coreset within the cohort",
    )  # fmt: skip
    keep: Literal["first", "medoid", "k_centre", "facility_location", "coreset", "all"] = Field(
        "first", description="first, medoid: of each group of near copies; all: only `copies` are "
        "dropped; the others: `budget` of each scope, the most different, the most typical, the nearest "
        "to `target`"
    )  # fmt: skip
    threshold: float | None = Field(
        None,
        description="largest distance of near copies (first, medoid); none: of hashes 6 bits, ssim 0.1, "
        "nmi 0.6, embedding 0.05, every 1",
        ge=0,
    )
    budget: float = Field(
        0.1, description="what is kept of each scope: a share, or from 1 on a number", gt=0
    )
    target: Path | None = Field(None, description="store that keep=coreset goes towards")
    copies: Literal["same", "near", "list", "none"] = Field(
        "same", description="which copies of scans are dropped: of the same pixels, near ones too, or "
        "none and all are listed; none: they are not looked for"
    )  # fmt: skip
    against: Path | None = Field(None, description="another store, whose copies here are listed")
    splits: list[str] = Field(
        ["train", ""], description="scans to choose from; copies are looked for in all"
    )
    workers: int = Field(0, description="processes that read side by side; 0: none", ge=0)
    seed: int = Field(0, description="of what the report shows, and of keep=coreset", ge=0)


def run(config: Config) -> Path:
    config = checked_parts(config, TABLES)
    device, threads = config.take(), torch.get_num_threads()
    store = Store.read_from(config.store)
    other = Store.read_from(config.against) if config.against else None
    unit, scope = unit_and_scope(config, store)
    _check(config, unit, scope)
    if other and other.ndim != store.ndim:
        raise _mismatch("against", other, other.ndim, store.ndim, "axes")
    items = of_splits(store.items, config.splits)
    if items.empty:
        there = ", ".join(sorted(store.items["split"].replace("", "none").unique()))
        cause = f"no scan has one of these splits; those of the store: {there}"
        raise UserError("EMPTY", f"splits={','.join(config.splits)}", cause, "name some of those")
    signature, named = _signature(config, store, unit, device)
    threshold = signature.threshold if config.threshold is None else config.threshold
    config.out.mkdir(parents=True, exist_ok=True)
    with alone_in(config.out):
        workers = 0 if isinstance(signature, Embedding) else config.workers
        kept_here = config.out / "read"
        found = read(store, list(items.index), signature, unit, kept_here, named, workers)
        say(f"reduce {len(found.table)} {unit} of {len(items)} scans by {config.signature.name}")
        parts = scopes(found.table, items["patient"], scope)
        points, asked = [], 0
        if config.keep == "coreset":
            table = _towards(found, store, signature, unit, named, config)
        else:
            table = _chosen(found, parts, signature, threshold, config, threads)
            if config.keep != "all":
                points, asked = curve(found.signatures, parts, signature, threshold, threads)
        copies = between = None
        if config.copies != "none" or other:
            small = _thumbnails(store, kept_here / "copies", config)
        if config.copies != "none":
            copies = twins.within(store.items, small)
            write_csv(config.out / "copies.csv", copies)
        if config.copies in ("same", "near"):
            near = copies[(copies["kind"] == twins.NEAR) & (config.copies == "near")]
            twins.drop(table, store.items, near)
        if other:
            seen = _thumbnails(other, kept_here / "against", config)
            between = twins.between(store.items, small, other.items, seen)
            write_csv(config.out / "twins.csv", between)
        selection = Selection(table, _about(config, unit, scope, threshold, table))
        selection.write(config.out, store)
        page = redundancy.write(
            config.out / "reduce.html", selection, items, signature.unit, points, asked,
            pairs.dropped(store, table, config.seed), copies, pairs.copied(store, store, copies),
            between, pairs.copied(store, other, between),
        )  # fmt: skip
    kept = selection.about["kept"]
    if copies is not None:
        n = len(copies)
        told = f"{n or 'no'} pair{'s' * (n != 1)} of copies among {len(store.items)} scans of all splits"
        say(f"{told} (copies.csv)" if n else told)
    say(f"kept {kept} of {len(table)} {unit} ({kept / len(table):.1%})")
    say(f"report: {page}")
    return config.out


def unit_and_scope(config: Config, store: Store) -> tuple[str, str]:
    """What is compared, slices or scans, and within what."""
    unit = "scans" if store.ndim == 2 else config.unit
    if config.scope != "auto":
        return unit, config.scope
    return unit, "volume" if unit == "slices" and config.keep != "coreset" else "cohort"


def _check(config: Config, unit: str, scope: str) -> None:
    """Raises UserError for settings that contradict each other, or that nothing would ask for."""
    name, burdens = config.signature.name, []
    signature = config.signature.target(SIGNATURES, "signature")
    by = {**dict.fromkeys(GROUPED, "a threshold"), "all": "copies alone"}.get(
        config.keep, "a budget"
    )
    if unit == "scans" and scope == "volume":
        burdens.append(("scope=volume", "whole scans are compared with each other", "scope=cohort"))
    if name == "every" and (unit == "scans" or scope != "volume"):
        cause = "every n-th slice is taken within a volume"
        burdens.append(("signature=every", cause, "unit=slices scope=volume"))
    if config.keep == "coreset" and (config.target is None or name != "embedding"):
        cause = "what is near a target is told by features"
        burdens.append(("keep=coreset", cause, "signature=embedding and target=STORE"))
    own = config.backbone != Config.model_fields["backbone"].default
    for key in [k for k, asked in {"model": config.model, "backbone": own}.items() if asked]:
        if name != "embedding":
            burdens.append((key, "is only asked by an embedding", "signature=embedding"))
    if config.model and own:
        burdens.append(("backbone", f"{config.model} brings its own network", "one of the two"))
    if config.threshold is not None and config.keep not in GROUPED:
        cause = f"keep={config.keep} goes by {by}"
        burdens.append(("threshold", cause, "keep=first, or no threshold"))
    elif (far := config.threshold or 0) > signature.most:
        cause = f"no two are further apart than {signature.most:g} ({signature.unit})"
        burdens.append((f"threshold={far:g}", cause, "a smaller one"))
    elif far % 1 and signature.unit in WHOLE_NUMBERS:
        burdens.append((f"threshold={far:g}", f"{signature.unit} are counted", "a whole number"))
    if "budget" in config.model_fields_set and by != "a budget":
        cause = f"keep={config.keep} goes by {by}"
        burdens.append(("budget", cause, "keep=k_centre, or no budget"))
    if config.target and config.keep != "coreset":
        burdens.append(("target", f"keep={config.keep} has none", "keep=coreset"))
    if config.keep == "coreset" and scope != "cohort":
        burdens.append((f"scope={scope}", "a coreset is chosen from all", "scope=cohort"))
    if config.budget >= 1 and config.budget % 1:
        burdens.append(("budget", f"{config.budget:g} is no whole number", "a share below 1"))
    if burdens:
        where, cause, fix = burdens[0]
        raise UserError("CONFIG", where, cause, f"give {fix}")


def _signature(config: Config, store: Store, unit: str, device: torch.device):
    """The signature, and what names it: another of the same name gives the same of every scan."""
    signature = config.signature.build(SIGNATURES, "signature")
    named = {"signature": config.signature.model_dump()}
    if isinstance(signature, Embedding):
        torch.manual_seed(config.seed)
        network, description, card = backbone_of(store, config.model, config.backbone)
        axes = 3 if store.ndim == 3 and unit == "scans" else 2
        signature.size = signature.size or tuple(card.get("image_size", ()))
        if network.ndim != axes:
            fix = f"give a network of {axes} axes" + (", or unit=scans" if store.ndim == 3 else "")
            cause = f"{unit} have {axes} axes here, the network {network.ndim}"
            raise UserError("CONFIG", "signature", cause, fix)
        if len(signature.size) != axes:
            cause = f"has {len(signature.size)} values, and {unit} have {axes} axes"
            raise UserError(
                "CONFIG", "signature.size", cause, f"give {axes}, as the network was trained on"
            )
        signature.network = network.to(device)
        named |= {"network": description, "weights": fingerprint_of(network)}
        if not card and not description["options"].get("pretrained_weights"):
            say("remark: the network of this embedding has random weights; give model=RUN")
    return signature, named


def _chosen(
    found: Read, parts, signature, threshold: float, config: Config, threads: int
) -> pd.DataFrame:
    """The selection's table by a rule that is carried out in every scope."""
    n = len(found.table)
    representative, distance = np.zeros(n, np.int64), np.zeros(n, np.float32)
    chosen = choose(
        found.signatures, parts, signature, config.keep, threshold, config.budget, threads
    )
    for rows, stands, far in track(chosen, "compare", len(parts), "scopes"):
        representative[rows], distance[rows] = stands, far
    table = found.table.copy()
    table.insert(2, "kept", representative == np.arange(n))
    table.insert(3, "representative", table["item"].to_numpy()[representative])
    table.insert(4, "representative_slice", table["slice"].to_numpy()[representative])
    table.insert(5, "distance", distance)
    return table


def _mismatch(key: str, other: Store, theirs: int, ours: int, what: str) -> UserError:
    cause = f"its scans have {theirs} {what}, what is compared with them has {ours}"
    return UserError("MISMATCH", f"{key}={other.folder}", cause, "give a store of such scans")


def _towards(
    found: Read, store: Store, signature, unit: str, named: dict, config: Config
) -> pd.DataFrame:
    """The selection's table by SimCore; nothing stands for what lies far from the target.

    Slices of volumes may go towards films, and films towards slices.
    """
    target, axes = Store.read_from(config.target), 3 if store.ndim == 3 and unit == "scans" else 2
    for theirs, ours, what in (
        (target.ndim, max(axes, target.ndim), "axes"), (target.channels, store.channels, "channels"),
    ):  # fmt: skip
        if theirs != ours:
            raise _mismatch("target", target, theirs, ours, what)
    of_target = "scans" if target.ndim == axes else "slices"
    everyone, folder = list(target.items.index), config.out / "read/target"
    seen = read(target, everyone, signature, of_target, folder, named)
    n = len(found.table)
    budget = int(np.ceil(config.budget * n)) if config.budget < 1 else int(config.budget)
    kept, similarity = coreset(found.signatures, seen.signatures, budget, seed=config.seed)
    table = found.table.copy()
    table.insert(2, "kept", kept)
    table.insert(3, "representative", np.where(kept, table["item"], ""))
    table.insert(4, "representative_slice", np.where(kept, table["slice"], WHOLE))
    table.insert(5, "distance", 1 - similarity)
    return table


def _thumbnails(store: Store, folder: Path, config: Config) -> np.ndarray:
    """What copies are looked for by, of all scans."""
    shown, named = twins.Thumbnails(), {"thumbnails": twins.SIDE[store.ndim]}
    return read(
        store, list(store.items.index), shown, "scans", folder, named, config.workers
    ).signatures


def _about(config: Config, unit: str, scope: str, threshold: float, table: pd.DataFrame) -> dict:
    by_threshold, by_budget = config.keep in GROUPED, config.keep not in (*GROUPED, "all")
    return {
        "signature": config.signature.model_dump(), "unit": unit, "scope": scope,
        "keep": config.keep, "threshold": threshold if by_threshold else None,
        "budget": config.budget if by_budget else None, "copies": config.copies,
        "splits": config.splits, "seed": config.seed, "items": len(table),
        "kept": int(table["kept"].sum()), "blank": int(table["blank"].sum()),
    }  # fmt: skip
