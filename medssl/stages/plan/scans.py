"""What work costs that is done scan by scan: `prepare`, `evaluate`, `predict`.

Each is rehearsed on a few scans, from the smallest to the largest, which tells how much memory is
needed. What the others add follows from the pace: the median over scans of the seconds a voxel.
"""

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

from medssl.config import Config
from medssl.data.entries import key_of
from medssl.data.forecast import Forecast
from medssl.data.manifest import Manifest
from medssl.data.recipe import Recipe
from medssl.data.store import Store
from medssl.data.truths import Masks
from medssl.progress import duration, say
from medssl.stages import predict as predicting
from medssl.stages import prepare as preparing
from medssl.stages.evaluate.scans import scans_of
from medssl.stages.finetune.model import load_task
from medssl.stages.plan.answer import Figure, Plan
from medssl.stages.plan.rehearsal import Loop, Rehearsal, rehearse
from medssl.stages.plan.room import free_disk, free_memory, size_of
from medssl.training import run_folder
from medssl.training.checkpoint import read_card

FEW, MANY = 4, 40  # scans of a rehearsal, at least and at most
PREPARED, PREDICTED = 50_000_000, 10_000_000  # voxels that this takes seconds to do with
GAP = 3  # scans in a row that were refused before, at most, in a store that is gone on with


def prepare(config: Config, folder: Path) -> Plan:
    free, manifest = free_memory(), preparing.manifest_of(config)
    rows, began = manifest.used, time.monotonic()
    done = _prepared_before(manifest, config)
    looked = time.monotonic() - began
    left = rows.iloc[done:] if done < len(rows) else rows.tail(1)
    forecast = Forecast(config.out, left, config.recipe)
    sizes = [a + b for a, b in zip(forecast.source, forecast.prepared, strict=True)]
    chosen = spread(sizes, max(enough(sizes, PREPARED), 3 * config.workers))
    some = manifest.part(left.iloc[chosen].reset_index(drop=True))
    few = {"manifest": some.write(folder / "manifest"), "out": folder / "out", "max_bad": 1.0}
    found = _rehearsed("prepare", config, folder, few, chosen, left)
    # Those that were tried come first, then those of which is foretold.
    order = [*chosen, *(i for i in range(len(left)) if i not in chosen)]
    forecast = Forecast(config.out, left.iloc[order], config.recipe)
    paces = _seconds(found.loop("prepare"), [sizes[i] for i in chosen], config.workers)
    for size, seconds in zip(_written(folder / "out", some), paces, strict=True):
        forecast.note(size, seconds)
    seconds = found.seconds + looked + (forecast.seconds_to_come if forecast.bytes_a_voxel else 0)
    disk = size_of(folder / "out") + (forecast.bytes_to_come if forecast.bytes_a_voxel else 0)
    words = f"goes on from scan {done} of {len(rows)}; " if done else ""
    words += f"{len(chosen)} of {len(left)} scans prepared"
    return planned("prepare", found, seconds, disk, words, config.out, free)


def evaluate(config: Config, folder: Path) -> Plan:
    free, (task, about) = free_memory(), load_task(config.run)
    of_run = run_folder.read_config(config.run)
    _, truths, _, items = scans_of(config, task, about, of_run)
    sizes = voxels(truths.store, items.index, of_scan=isinstance(truths, Masks))
    chosen = spread(sizes, enough(sizes, PREDICTED))
    split = pd.Series("", index=items.index)
    split.iloc[chosen] = config.split
    out = folder / "out"
    few = {"splits": write_splits(folder, items, split), "fold": 0, "baseline": None, "out": out}
    found = _rehearsed("evaluate", config, folder, few, chosen, items)
    seconds = found.seconds + beyond(found.loop("evaluate"), sizes, chosen)
    tables = sum(path.stat().st_size for path in out.glob("cases.*"))
    disk = size_of(out) + tables * (len(items) / len(chosen) - 1)
    words = f"{len(chosen)} of {len(items)} scans scored"
    there = config.out or config.run / "evaluation"
    return planned("evaluate", found, seconds, disk, words, there, free)


def predict(config: Config, folder: Path) -> Plan:
    free, began = free_memory(), time.monotonic()
    rows, before = predicting.scans_of(config, predicting.weights_of(config))
    looked = time.monotonic() - began
    used = [row for row in rows if row.used]
    left = [row for row in used if row.id not in before.done] or used[:1]
    table = Manifest.from_rows(Path("/"), left).table
    forecast = Forecast(config.out, table, Recipe(**read_card(config.run)["recipe"]))
    sizes = [a + b for a, b in zip(forecast.source, forecast.prepared, strict=True)]
    chosen = spread(sizes, enough(sizes, PREDICTED))
    listed, out = folder / "scans.txt", folder / "out"
    files = [str(file.resolve()) for i in chosen for file in left[i].files]
    listed.write_text("".join(f"{file}\n" for file in dict.fromkeys(files)))
    found = _rehearsed("predict", config, folder, {"scans": listed, "out": out}, chosen, left)
    seconds = found.seconds + looked + beyond(found.loop("predict"), sizes, chosen)
    disk = size_of(out) * sum(sizes) / sum(sizes[i] for i in chosen)
    words = f"{len(before.done)} were predicted before; " if before.done else ""
    words += f"{len(chosen)} of {len(left)} scans predicted"
    return planned("predict", found, seconds, disk, words, config.out, free)


def voxels(store: Store, ids: Sequence[str], of_scan: bool = False) -> list[int]:
    """Of each prepared item, and `of_scan` also of the scan as it was."""
    shapes = [store.shape(id) for id in ids]
    scans = [store.scan_shape(id) if of_scan else (0,) for id in ids]
    return [int(np.prod(a) + np.prod(b)) for a, b in zip(shapes, scans, strict=True)]


def spread(sizes: Sequence[int], n: int) -> list[int]:
    """The places of `n` scans, or of all, from the smallest to the largest; rising."""
    order = np.argsort(sizes, kind="stable")
    ranks = np.unique(np.linspace(0, len(order) - 1, min(n, len(order))).round().astype(int))
    return sorted(order[ranks].tolist())


def enough(sizes: Sequence[int], voxels: int) -> int:
    """How many scans to try: small ones take so little time that many are needed to tell how much."""
    return int(np.clip(voxels / max(np.mean(sizes), 1), FEW, MANY))


def beyond(loop: Loop, sizes: Sequence[int], chosen: Sequence[int]) -> float:
    """Seconds for all the scans that were not `chosen` for a loop, which went through those."""
    rest = sum(sizes) - sum(sizes[i] for i in chosen)
    if not rest:
        return 0.0
    tried = zip(loop.seconds[1:], [sizes[i] for i in chosen][1:], strict=True)  # the first warms up
    return rest * median(seconds / max(size, 1) for seconds, size in tried)


def write_splits(folder: Path, items: pd.DataFrame, split: pd.Series) -> Path:
    """A table of the items that have a split, in place of the store's."""
    path, named = folder / "splits.csv", split != ""
    with open(path, "w", newline="") as stream:
        rows = zip(items["id"][named], split[named], strict=True)
        csv.writer(stream).writerows([("id", "split"), *rows])
    return path


def _rehearsed(verb: str, config: Config, folder: Path, few: dict, chosen, scans) -> Rehearsal:
    say(f"trying {len(chosen)} of {len(scans)} scans")
    return rehearse(verb, config.model_copy(update=few), folder, config)


def planned(
    verb: str, found: Rehearsal, seconds: float, disk: float, words: str, out: Path, free: int
) -> Plan:
    """`seconds` and `disk` of all scans, from what was found of a few."""
    start = found.seconds - sum(sum(loop.seconds) for loop in found.loops)
    held = "the most of these, the largest scan among them"
    gpu = Figure(found.gpu, held, found.gpu_room) if found.gpu else None
    return Plan(
        verb, Figure(seconds, f"{words}; {duration(start)} to start and to end"),
        Figure(found.memory, held, free), Figure(disk, words, free_disk(out)), gpu,
        busy=found.busy, loading=found.loaded,
    )  # fmt: skip


def _prepared_before(manifest: Manifest, config: Config) -> int:
    """How many scans, from the first on, lie in the store already; scans are prepared in this order."""
    if not (config.out / "arrays").is_dir():
        return 0
    ids, masks = manifest.used["id"].tolist(), manifest.used["label_mask"].tolist()
    store = Store(config.out, config.recipe, config.manifest, pd.DataFrame())

    def there(i: int) -> bool:
        try:
            return store.entries.has(key_of(manifest, ids[i], config.recipe)[0], bool(masks[i]))
        except OSError:  # files that have gone are refused, which is no sign of where it stopped
            return False

    low, high = 0, len(ids)  # all before low are there, none from high on
    while low < high:
        middle = (low + high) // 2
        near = [i for i in range(middle, min(middle + GAP, high)) if there(i)]
        low, high = (near[-1] + 1, high) if near else (low, middle)
    return low


def _seconds(loop: Loop, sizes: list[int], workers: int) -> list[float]:
    """Of each scan. Side by side they are done in bursts: then each counts by its size, from the time
    that those took which came after the first of every worker."""
    if not workers or len(sizes) <= workers:
        return loop.seconds
    pace = (loop.times[-1] - loop.times[workers]) / sum(sizes[workers:])
    return [pace * size for size in sizes]


def _written(folder: Path, some: Manifest) -> list[int]:
    """Bytes of each scan in a store; 0 for one that was refused."""
    key = Store.read_from(folder).items["key"]
    return [
        sum(file.stat().st_size for file in (folder / "arrays").glob(f"{key[id]}.*")) if id in key else 0
        for id in some.used["id"]
    ]  # fmt: skip
