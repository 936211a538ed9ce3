"""Pretraining on one cohort and then on another: a cosine again and again, against the infinite schedule.

    python -m tests.benchmarks.continued OUT [steps=60] [patients=8] [seeds=1] [first=STORE second=STORE]

Masked autoencoders are pretrained on one cohort for `steps` and go on with the whole of their state on the
other for as many: either with a second warm-up and cosine, or at the constant rate of the infinite schedule,
of which a branch is annealed in place of the last tenth. Both see as many samples. Without stores, the
cohorts are phantoms (CT and MR, other people). Both orders are run. Given stores must have held-out scans.

Writes OUT/continued.csv: by order, seed and schedule, the loss (hidden patches, normalised) on scans of each
cohort that no run has seen, after the first cohort and after both, with intervals over patients; and of the
loss on the first cohort the paired difference between the schedules, below 0 where the infinite one forgets
less.
"""

import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from medssl.backbones.base import BACKBONES
from medssl.data.crops import Crops
from medssl.data.phantom import make
from medssl.data.store import Store
from medssl.data.subset import of_splits
from medssl.evaluation.intervals import bootstrap, paired_difference
from medssl.methods.base import METHODS
from medssl.stages import call, pretrain
from medssl.training.checkpoint import load_state
from medssl.training.run_folder import read_config

SAMPLES = 4  # boxes of each held-out scan
VIT = {"name": "vit", "patch": [4, 4, 4], "width": 48, "depth": 3, "heads": 3}
SIZE = [24, 24, 24]
RECIPES = {"ct": ("ct_body", {"spacing": [6, 6, 6]}), "mr": ("mr_crop", {"spacing": [6, 6, 6]})}


def main(out: Path, steps=60, patients=8, seeds=1, first="", second="") -> pd.DataFrame:
    steps, patients, seeds = int(steps), int(patients), int(seeds)
    if bool(first) != bool(second):
        raise SystemExit("give both first= and second=, or neither")
    stores = {"first": Path(first), "second": Path(second)} if first else phantoms(out, patients)
    rows = []
    for order, seed in product((list(stores), list(stores)[::-1]), range(seeds)):
        rows += compared(out / f"{'-'.join(order)}-{seed}", stores, order, seed, steps)
    table = pd.DataFrame(rows)
    table.to_csv(out / "continued.csv", index=False)
    return table


def compared(folder: Path, stores: dict[str, Path], order: list[str], seed: int, steps: int):
    """Rows of one order of cohorts and one seed."""
    rows, after = [], {}
    for schedule in ("cosine", "infinite"):
        one, two = trained(
            folder / schedule, [stores[name] for name in order], schedule, seed, steps
        )
        for when, run in (("the first", one), ("both", two)):
            for cohort in order:
                values, who = losses(run, stores[cohort])
                after[schedule, when, cohort] = values, who
                about = {"order": " then ".join(order), "seed": seed, "schedule": schedule}
                about |= {"after": when, "held-out scans of": cohort}
                rows.append({**about, **figures(bootstrap(values, who))})
    (cosine, who), (infinite, _) = (
        after[schedule, "both", order[0]] for schedule in ("cosine", "infinite")
    )
    difference = paired_difference(infinite, cosine, who)
    about = {"order": " then ".join(order), "seed": seed, "schedule": "infinite - cosine"}
    return [*rows, {**about, "after": "both", "held-out scans of": order[0], **figures(difference)}]


def trained(folder: Path, stores: list[Path], schedule: str, seed: int, steps: int):
    """The run on the first cohort, and the one that goes on from it on the second."""
    rest, warm = max(1, steps // 10), max(1, steps // 20)
    method = {"name": "mae", "size": SIZE, "decoder_width": 48}
    infinite = {"schedule": "infinite", "warmup": warm, "cooldown": max(1, steps // 3)}
    optim = {"lr": 1e-3, **(infinite if schedule == "infinite" else {})}

    def run(name: str, store: Path, last: int, optim=optim, **more) -> Path:
        fit = {"batch_size": 4, "every": 2 * steps, "seed": seed, "device": "cpu", "steps": last}
        return call("pretrain", method=method, backbone=VIT, store=store, optim=optim, fit=fit,
                    out=folder / name, **more)  # fmt: skip

    if schedule == "cosine":
        one = run("one", stores[0], steps)
        return one, run("two", stores[1], 2 * steps, start=one, branch=True)
    # Each is judged at a low rate, annealed apart over the last tenth of as many steps.
    low, early = {**optim, "schedule": "anneal"}, steps - rest
    one = run("one", stores[0], early)
    first = run("one-low", stores[0], steps, low, start=one)
    one = run("one", stores[0], steps)
    two = run("two", stores[1], 2 * steps - rest, start=one, branch=True)
    return first, run("two-low", stores[1], 2 * steps, low, start=two)


@torch.no_grad()
def losses(run: Path, store: Path) -> tuple[np.ndarray, np.ndarray]:
    """The mean loss of each held-out scan of a store, and whose it is."""
    asked, store = read_config(run), Store.read_from(store)
    config = pretrain.Config(
        **{k: v for k, v in asked.items() if k in pretrain.Config.model_fields}
    )
    backbone = config.backbone.build(BACKBONES, "backbone", in_channels=store.channels)
    method = config.method.build(METHODS, "method", backbone, lambda image, seeds, **_: image)
    method.load_state_dict(load_state(run / "checkpoints")[0])
    items = of_splits(store.items, ["val", "test"])
    crops, found = Crops(store, list(items.index), method.crops, seed=1), []
    for number in range(len(crops)):
        read = [crops.read(number, number + k * len(crops)) for k in range(SAMPLES)]
        batch = {
            "image": torch.from_numpy(np.stack([r["image"] for r in read])),
            "seed": torch.tensor([r["seed"] for r in read]),
        }
        found.append(float(method.eval().training_step(batch, 0).loss))
    return np.array(found), items["patient"].to_numpy()


def phantoms(out: Path, patients: int) -> dict[str, Path]:
    make(out / "phantoms", ct=patients, mr=patients, scans_per_patient=1)
    stores = {}
    for name, (preset, recipe) in RECIPES.items():
        scans = out / "phantoms" / name
        call("index", scans=scans / "images", labels=scans / "scans.csv", modality=name.upper(),
             out=out / name / "manifest")  # fmt: skip
        stores[name] = call(
            "prepare",
            preset,
            manifest=out / name / "manifest",
            recipe=recipe,
            out=out / name / "store",
        )
    return stores


def figures(interval) -> dict:
    return {
        "loss": interval.estimate, "low": interval.low, "high": interval.high,
        "patients": interval.n_patients,
    }  # fmt: skip


if __name__ == "__main__":
    words = dict(word.split("=", 1) for word in sys.argv[2:])
    print(main(Path(sys.argv[1]), **words).round(4).to_string(index=False))
