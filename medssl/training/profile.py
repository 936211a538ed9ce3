"""How long the parts of a training step take: a table on the terminal, and `profile.csv` in the run.

Times are of the process that trains. What other processes read ahead is listed apart, without a share: it
passes beside the steps, and only what of it is waited for is a step's own.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from medssl import ranks, stopwatch
from medssl.data.crops import Crops, batches
from medssl.progress import say
from medssl.stopwatch import Stopwatch
from medssl.training.hardware import Hardware

# In the order of a step, with what belongs to each.
PARTS = {
    "read": "crops put together, but for decoding: files opened, padded, resized",
    "decode": "blocks read from the store's files and unpacked",
    "wait": "samples made a batch, or waited for where other processes read",
    "copy": "to the device",
    "augment": "samples varied",
    "forward": "the network and the loss",
    "backward": "gradients",
    "step": "gradients clipped, weights and averages updated",
    "log": "figures written",
    "checkpoint": "validation, probes, pictures and checkpoints, over all steps",
}
ELSEWHERE = " elsewhere"  # behind the name of a part that other processes do
WARM = 5  # steps that are not counted, where there are twice as many
Reading = Callable[[Iterator[dict]], Iterator[dict]]


@contextmanager
def profiled(wanted: bool, folder: Path, hardware: Hardware, workers: int) -> Iterator[Reading]:
    """Time the training in the block, if it is wanted. What it gives is to be put around batches that
    carry `spent` (`data.crops.batches(timed=True)`), which it takes out of them."""
    if not wanted:
        yield lambda batches: batches
        return
    cuda = hardware.take().type == "cuda"
    with stopwatch.running(torch.cuda.synchronize if cuda else lambda: None) as watch:
        yield lambda batches: _noted(batches, watch, workers)
        if ranks.rank():
            return
        if not watch.turns:
            say(
                "remark: profile=true has timed nothing, as the run had made all its steps before; the same "
                f"keys time a short one with out={folder}-profile fit.steps=50 fit.every=50"
            )
            return
        rows = table(watch)
        _write(folder / "profile.csv", rows)
        _show(rows, len(_counted(watch)))


def read_by(
    crops: Crops, fit, timed: bool, reading: Reading, first: int, last: int
) -> Iterator[dict]:  # fmt: skip
    """Batches number `first` to `last` - 1, read as the keys of `fit` say."""
    return reading(
        batches(crops, fit.batch_size, first, last, fit.workers, fit.wait, timed, fit.on_gpu)
    )


def table(watch: Stopwatch) -> list[dict]:
    """Rows of part, where, milliseconds a step, and share of the step; checkpoints are no part of one."""
    turns, total = _counted(watch), Counter()
    for turn in turns:
        total.update(turn)
    own = sum(total[part] for part in PARTS if part != "checkpoint")
    rows = []
    for where in ("", ELSEWHERE):
        for part in PARTS:
            if part + where in total:
                seconds = total[part + where]
                where_else = "workers" if where else "checkpoints" if part == "checkpoint" else ""
                rows.append({
                    "part": part, "where": where_else or "step",
                    "milliseconds": round(1000 * seconds / len(turns), 4),
                    "share": "" if where_else else round(seconds / own, 4),
                })  # fmt: skip
    return rows


def _noted(batches: Iterator[dict], watch: Stopwatch, workers: int) -> Iterator[dict]:
    for batch in batches:
        spent = batch.pop("spent").sum(0).tolist()
        for part, seconds in zip(("read", "decode"), spent, strict=True):
            if workers:
                watch.seconds[part + ELSEWHERE] += seconds
            else:  # it has passed since the last lap
                watch.seconds[part] += seconds
                watch.inside += seconds
        yield batch


def _counted(watch: Stopwatch) -> list[Counter]:
    return watch.turns[WARM:] if len(watch.turns) >= 2 * WARM else watch.turns


def _write(path: Path, rows: list[dict]) -> None:
    with open(path, "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _show(rows: list[dict], steps: int) -> None:
    say(f"where the time went, a step, over {steps} steps:")
    for row in rows:
        share = row["where"] if row["share"] == "" else f"{row['share']:.1%}"
        say(
            f"  {row['part']:<10} {row['milliseconds']:>10.2f} ms  {share:>11}  {PARTS[row['part']]}"
        )
