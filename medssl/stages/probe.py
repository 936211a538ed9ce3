"""Ask whether a pretrained representation is any good, before anything is fine-tuned.

Takes crops around labelled voxels and asks, by nearest neighbours among the features of training
patients, which structure lies at the centre of the crops of held-out patients. The same is asked of
the untrained network; probe.json holds both and their paired difference with its interval.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from medssl.backbones.base import build, pool
from medssl.config import Config as Base
from medssl.config import Count
from medssl.data.leakage import overlap, refuse_overlap
from medssl.data.store import Store
from medssl.data.subset import of_splits
from medssl.data.targets import with_masks
from medssl.errors import UserError
from medssl.evaluation.intervals import bootstrap, paired_difference
from medssl.evaluation.probe import knn_predict
from medssl.progress import say, track
from medssl.seeding import generator
from medssl.training.checkpoint import load_weights, read_card
from medssl.training.hardware import Hardware


class Config(Base, Hardware):
    positional: ClassVar = ("run",)
    examples: ClassVar = (
        "medssl probe runs/voco store=store",
        "medssl probe runs/mae store=store size=32,32,32 k=10",
    )
    run: Path = Field(description="run or model folder of `medssl pretrain`")
    store: Path = Field(Path("store"), description="store whose items have label masks")
    out: Path | None = Field(None, description="folder to write to; none: RUN/probe")
    size: list[Count] = Field([], description="voxels of a crop; empty: what the method trained on")
    per_class: int = Field(8, description="crops of each structure and scan", ge=1)
    train: list[str] = Field(["train"], description="splits whose crops are the neighbours")
    test: list[str] = Field(["val", "test"], description="splits that are asked about")
    k: int = Field(20, description="neighbours", ge=1)
    batch_size: int = Field(32, description="crops of one forward pass", ge=1)
    allow_overlap: bool = Field(False, description="ask about patients that were trained on")
    seed: int = Field(0, description="of the crops and of the untrained network")


def run(config: Config) -> Path:
    about = read_card(config.run)
    store = Store.read_from(config.store)
    size = tuple(config.size or about.get("image_size") or ())
    if len(size) != store.ndim:
        raise UserError(
            "CONFIG",
            "size",
            f"has {len(size)} values, the scans have {store.ndim} axes",
            "give size=",
        )
    if about["steps"] < about["config"]["fit"]["steps"]:
        say(
            f"remark: training stopped at step {about['steps']} of {about['config']['fit']['steps']}"
        )
    items = with_masks(store)
    train, test = of_splits(items, config.train), of_splits(items, config.test)
    if train.empty or test.empty:
        raise UserError(
            "EMPTY", config.store, f"{len(train)} labelled scans to learn from, {len(test)} to ask about",
            "choose other splits with train= and test=, or index with labels= and splits=",
        )  # fmt: skip
    refuse_overlap(overlap(about, test), config.run, config.allow_overlap)
    right, device = {}, config.take()
    for name in ("pretrained", "untrained"):
        torch.manual_seed(config.seed)
        backbone = build(about["backbone"]["name"], **about["backbone"]["options"]).eval()
        if name == "pretrained":
            load_weights(config.run, backbone, "backbone")
        backbone.to(device)
        x, y, _ = _features(backbone, store, train, size, config, name)
        u, v, patients = _features(backbone, store, test, size, config, name)
        right[name] = (knn_predict(x, y, u, config.k) == v).astype(float)
    found = {name: asdict(bootstrap(r, patients, seed=config.seed)) for name, r in right.items()}
    gain = paired_difference(right["pretrained"], right["untrained"], patients, seed=config.seed)
    found["difference"] = asdict(gain)
    found["chance"] = float(np.bincount(v).max() / len(v))
    out = config.out or config.run / "probe"
    out.mkdir(parents=True, exist_ok=True)
    (out / "probe.json").write_text(json.dumps(found, indent=1))
    say(f"k-NN, structure at the crop's centre: {found['pretrained']['estimate']:.3f}, untrained "
        f"{found['untrained']['estimate']:.3f}, difference {gain}")  # fmt: skip
    return out


@torch.no_grad()
def _features(backbone, store: Store, items: pd.DataFrame, size, config: Config, name: str):
    """Pooled features, structure at the centre, and patient of every crop."""
    images, labels, patients = [], [], []
    for n, item in enumerate(items.index):
        points = store.foreground(item)
        draw = generator(config.seed, "probe", n)
        for label in np.unique(points[:, 0]):
            rows = points[points[:, 0] == label]
            for row in rows[draw.permutation(len(rows))[: config.per_class]]:
                low = [int(c) - s // 2 for c, s in zip(row[1:], size, strict=True)]
                high = [lo + s for lo, s in zip(low, size, strict=True)]
                images.append((item, low, high))
                labels.append(int(label))
                patients.append(items.at[item, "patient"])
    features = []
    device, n = next(backbone.parameters()).device, config.batch_size
    for i in track(range(0, len(images), n), f"probe, {name}", unit="batches"):
        batch = np.stack([store.read(*where) for where in images[i : i + n]])
        features.append(pool(backbone(torch.from_numpy(batch).to(device))).cpu().numpy())
    return np.concatenate(features), np.array(labels), np.array(patients)
