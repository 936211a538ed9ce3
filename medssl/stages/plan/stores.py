"""What work costs that looks at the scans of a store: `reduce`, `probe`, `embed`.

Each is rehearsed on a store of a few scans, and every part of it grows with what it depends on: reading
with voxels, classifiers with the scans that they learn from, comparing within the cohort with the square
of the images.
"""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from medssl.config import Config
from medssl.curation.choice import CURVE_SCOPES, CURVE_UNITS
from medssl.curation.reading import units
from medssl.data.store import Store
from medssl.data.subset import few, of_splits
from medssl.progress import say
from medssl.stages import embed as embedding
from medssl.stages.plan.answer import Plan
from medssl.stages.plan.rehearsal import Loop, Rehearsal, rehearse
from medssl.stages.plan.room import free_memory, size_of
from medssl.stages.plan.scans import FEW, PREDICTED, beyond, enough, planned, spread, voxels
from medssl.stages.probe import NETWORKS, sides_of
from medssl.stages.reduce import unit_and_scope

READ = 5_000_000  # voxels that `reduce` reads and compares in seconds
TELLING = 0.1  # seconds of comparing, under which they do not tell how it grows

# How many times as long a tracked loop takes with all scans, and what comes between it and the next one;
# by the name of the loop, and its number among those of that name.
Growth = dict[tuple[str, int], tuple[float, float]]


def probe(config: Config, folder: Path) -> Plan:
    free, store = free_memory(), Store.read_from(config.store)
    sides = sides_of(store, config)
    some = [_few(store, side, config) for side in sides]
    train, test = (len(side) / len(tried) for side, tried in zip(sides, some, strict=True))
    growth: Growth = {}
    for network in NETWORKS:
        growth[f"probe, {network}", 0] = (train, 1)
        growth[f"probe, {network}", 1] = (test, train)
        growth[f"dense probe, {network}, learns", 0] = (train, train)
        growth[f"dense probe, {network}", 0] = (test, 1)
    n, tried = sum(map(len, sides)), sum(map(len, some))
    say(f"trying {tried} of {n} scans")
    part = _part(store, pd.concat(some).index, folder / "store")
    given = {"store": part, "out": folder / "out"}
    found = rehearse("probe", config.model_copy(update=given), folder, config)
    there = config.out or config.run / "probe"
    return planned(
        "probe", found, found.seconds + _grown(found, growth), size_of(folder / "out"),
        f"{tried} of {n} scans looked at", there, free,
    )  # fmt: skip


def embed(config: Config, folder: Path) -> Plan:
    free, store = free_memory(), Store.read_from(config.store)
    items = embedding.items_of(config, store)
    sizes = voxels(store, items.index)
    chosen = spread(sizes, enough(sizes, PREDICTED))
    say(f"trying {len(chosen)} of {len(items)} scans")
    part = _part(store, items.index[chosen], folder / "store")
    maps = [name for name in config.maps if name != "umap"]  # which takes more than a few
    given = {"store": part, "out": folder / "out", "maps": maps}
    found = rehearse("embed", config.model_copy(update=given), folder, config)
    seconds = found.seconds + beyond(found.loop("embed"), sizes, chosen)
    out, share = folder / "out", len(items) / len(chosen)
    tables = sum(path.stat().st_size for path in out.iterdir() if path.suffix != ".png")
    there = config.out or config.run / "embeddings"
    disk, words = (
        size_of(out) + tables * (share - 1),
        f"{len(chosen)} of {len(items)} scans looked at",
    )
    return planned("embed", found, seconds, disk, words, there, free)


def reduce(config: Config, folder: Path) -> Plan:
    free, store = free_memory(), Store.read_from(config.store)
    asked = of_splits(store.items, config.splits).index
    others = store.items.index.difference(asked)  # among which copies are looked for, too
    some = _soon(store, asked)
    seen = [*some, *_soon(store, others)]
    given = {"out": folder / "out", "store": _part(store, seen, folder / "store")}
    everything = (_ratio(store, store.items.index, seen), 1)
    growth: Growth = {(what, n): everything for what in ("compare", "verify") for n in range(2)}
    growth |= {("read store", 0): (_ratio(store, asked, some), 1), ("read store", 1): everything}
    for key in ("target", "against"):
        if path := getattr(config, key):
            other = Store.read_from(path)
            part = _soon(other, other.items.index)
            given[key] = _part(other, part, folder / key)
            growth[f"read {key}", 0] = (_ratio(other, other.items.index, part), 1)
    say(f"trying {len(some)} of {len(asked)} scans")
    found = rehearse("reduce", config.model_copy(update=given), folder, config)
    words = f"{len(some)} of {len(asked)} scans read"
    if config.keep != "coreset":
        growth["compare", 0], remark = _of_choice(found, store, config, asked, some)
        words += remark
    more = len(asked) / len(some) - 1
    disk = size_of(folder / "out") + size_of(folder / "out/read") * more
    seconds = found.seconds + _grown(found, growth)
    return planned("reduce", found, seconds, disk, words, config.out, free)


def _of_choice(found: Rehearsal, store: Store, config: Config, asked, some):
    """How choosing grows, and the curve behind it; and in words what cannot be told of that."""
    unit, scope = unit_and_scope(config, store)
    if scope != "cohort":
        curve = min(len(asked), CURVE_SCOPES) / min(len(some), CURVE_SCOPES)
        return (len(asked) / len(some), curve), ""
    n, tried = (len(units(store, list(ids), unit)) for ids in (asked, some))
    if sum(found.loop("compare").seconds) > TELLING:
        curve = min(n, CURVE_UNITS) / min(tried, CURVE_UNITS)
        return ((n / tried) ** 2, curve**2), ""
    remark = f"; comparing {n} {unit} with one another is left out, a few take no time"
    return (1, 1), remark if tried < n else ""


def _few(store: Store, side: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Some of the scans that a probe learns from or is asked about, of every class."""
    if not config.target:
        return side.iloc[spread(voxels(store, side.index), FEW)]
    n = FEW * side[config.target].nunique()
    return few(side, min(n, len(side)), config.seed, config.target)


def _soon(store: Store, ids: pd.Index) -> list[str]:
    """As many of these scans as are read soon, of every size."""
    sizes = voxels(store, ids)
    n = max(FEW, int(READ * len(sizes) / max(sum(sizes), 1)))
    return list(ids[spread(sizes, n)])


def _ratio(store: Store, all_ids: Iterable[str], some: Iterable[str]) -> float:
    return sum(voxels(store, all_ids)) / sum(voxels(store, some))


def _part(store: Store, ids: Iterable[str], folder: Path) -> Path:
    """A store of some of the items, whose arrays are those of the whole."""
    folder.mkdir()
    os.symlink((store.folder / "arrays").resolve(), folder / "arrays")
    Store(folder, store.recipe, store.manifest, store.items.loc[list(ids)]).write_about()
    return folder


def _grown(found: Rehearsal, growth: Growth) -> float:
    """Seconds that all scans take beyond those of a rehearsal."""
    seen, seconds = Counter(), 0.0
    for loop, following in zip(found.loops, [*found.loops[1:], None], strict=True):
        inside, behind = growth.get((loop.what, seen[loop.what]), (1, 1))
        seen[loop.what] += 1
        gap = following.times[0] - loop.times[-1] if following else 0.0
        seconds += (inside - 1) * _steady(loop) + (behind - 1) * gap
    return seconds


def _steady(loop: Loop) -> float:
    """Seconds of all its items, as if the first had not been the one that warms up."""
    first, *others = loop.seconds or [0.0]
    return sum(others) * (1 + 1 / len(others)) if others else first
