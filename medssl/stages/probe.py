"""Ask whether a pretrained representation is any good, before anything is fine-tuned.

The backbone stays frozen. Crops around labelled voxels of training patients teach small classifiers
which structure lies at the centre (k-NN, linear, attentive) or at every voxel (dense), and those of
held-out patients are asked about. With target= the question is a label of whole scans. The same is
asked of the untrained network; probe.json holds both, their paired difference and its interval.
"""

import json
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from medssl.backbones.base import build, pool
from medssl.config import Config as Base
from medssl.config import Count
from medssl.data.leakage import look_alikes, overlap, refuse_overlap
from medssl.data.store import Store
from medssl.data.subset import few, of_splits
from medssl.data.targets import target_classes, target_numbers, with_masks, with_target
from medssl.errors import UserError
from medssl.evaluation.cases import Cases, structures, whole_scans
from medssl.evaluation.dense_scans import Scan, answer, dice_present, learn
from medssl.evaluation.frozen import Look, answers
from medssl.evaluation.intervals import too_few
from medssl.evaluation.probe import compared, compared_by_class, table
from medssl.progress import say, track
from medssl.reports.figures import overlay
from medssl.reports.style import as_png
from medssl.training.card import planned
from medssl.training.checkpoint import load_weights, read_card
from medssl.training.embedder import box_size, boxes_of, cover
from medssl.training.hardware import Hardware

NETWORKS = ("pretrained", "untrained")
MEASURES = {"knn": "accuracy", "linear": "accuracy", "attentive": "accuracy", "dense": "mean Dice"}
LISTED = 20  # classes that the printed table has room for


class Config(Base, Hardware):
    positional: ClassVar = ("run",)
    examples: ClassVar = (
        "medssl probe runs/voco store=store",
        'medssl probe runs/mae store=store "classes={47: hippocampus R, 48: hippocampus L}"',
        "medssl probe runs/mae store=films target=label_finding probes=knn,linear,attentive",
    )
    run: Path = Field(description="run or model folder of `medssl pretrain`")
    store: Path = Field(Path("store"), description="store whose items have label masks, or labels")
    out: Path | None = Field(None, description="folder to write to; none: RUN/probe")
    probes: list[Literal["knn", "linear", "attentive", "dense"]] = Field(
        ["knn", "linear", "dense"], description="which to ask; dense needs masks", min_length=1
    )
    target: str = Field("", description="label column to ask about; empty: structures in masks")
    classes: dict[int, str] = Field(
        {}, description="values of masks to ask about, named; empty: all"
    )
    size: list[Count] = Field([], description="voxels of a crop; empty: what the method trained on")
    whole: bool | None = Field(
        None,
        description="whole scans (or slices) resized to size, for dense and target; none: as trained",
    )
    per_class: int = Field(8, description="crops of each structure and scan", ge=1)
    scans: int = Field(100, description="scans with masks of either side, drawn; 0: all", ge=0)
    windows: int = Field(64, description="crops of a scan at most, for dense and target", ge=1)
    voxels: int = Field(2000, description="voxels of a scan that the dense probe learns from", ge=8)
    train: list[str] = Field(["train"], description="splits that the probes learn from")
    test: list[str] = Field(["val", "test"], description="splits that are asked about")
    k: int = Field(20, description="neighbours", ge=1)
    batch_size: int = Field(32, description="crops of one forward pass", ge=1)
    allow_overlap: bool = Field(False, description="ask about patients that were trained on")
    seed: int = Field(0, description="of what is drawn and of the untrained network")


def run(config: Config) -> Path:
    about = read_card(config.run)
    store = Store.read_from(config.store)
    size = box_size(about, store, config.size)
    if about["steps"] < planned(about):
        say(f"remark: training stopped at step {about['steps']} of {planned(about)}")
    train, test = sides = sides_of(store, config)
    refuse_overlap(overlap(about, test), config.run, config.allow_overlap)
    look_alikes(about, test)
    names = (
        target_classes(train[config.target])
        if config.target
        else _structures(store, *sides, config)
    )
    whole = about.get("whole", False) if config.whole is None else config.whole
    covered = partial(cover, store, size, whole, config.windows, config.seed)
    cases = [_cases(store, side, names, size, covered, config) for side in sides]
    if not len(cases[1].answers):
        raise UserError(
            "EMPTY", config.target, "no held-out scan is of a class that the training scans hold",
            "choose other splits with train= and test=",
        )  # fmt: skip
    scans = [] if config.target else [_scans(store, side, names, covered) for side in sides]
    asked = [probe for probe in config.probes if probe != "dense"]
    values, drawn = {}, {}
    for network in NETWORKS:
        torch.manual_seed(config.seed)
        backbone = build(about["backbone"]["name"], **about["backbone"]["options"])
        if network == "pretrained":
            load_weights(config.run, backbone, "backbone")
        look = Look(backbone.to(config.take()), boxes_of(store, size), config.batch_size)
        options = {"k": config.k, "seed": config.seed, "what": f"probe, {network}"}
        said = answers(look, *cases, asked, pool, **options)
        values[network] = {p: (s == cases[1].answers).astype(float) for p, s in said.items()}
        if "dense" in config.probes and scans:
            values[network]["dense"], drawn[network] = _dense(look, *scans, names, config, network)
    found = {}
    for probe in values["pretrained"]:
        pair = [values[network][probe] for network in NETWORKS]
        if probe == "dense":
            found[probe] = compared_by_class(*pair, test["patient"].to_numpy(), config.seed)
        else:
            found[probe] = compared(*pair, cases[1].patients, cases[1].chance, config.seed)
    out = config.out or config.run / "probe"
    out.mkdir(parents=True, exist_ok=True)
    (out / "probe.json").write_text(json.dumps(found, indent=1))
    classes = found.get("dense", {}).get("classes", {})
    rows = {**found, **(classes if 1 < len(classes) <= LISTED else {})}
    for line in table(rows, MEASURES):
        say(line)
    if words := too_few(test["patient"].nunique()):
        say(f"remark: {words}")
    if drawn and not test.get("burned_in", pd.Series([False])).iloc[0]:
        dice = {network: values[network]["dense"].iloc[0].mean() for network in NETWORKS}
        (out / "dense.png").write_bytes(_picture(store, scans[1][0], drawn, dice, names))
        say(f"picture: {out / 'dense.png'}")
    say(f"figures: {out / 'probe.json'}")
    return out


def sides_of(store: Store, config: Config) -> list[pd.DataFrame]:
    """The items that are learnt from and those asked about, of different patients."""
    items = with_target(store, config.target) if config.target else with_masks(store)
    train, test = sides = [of_splits(items, splits) for splits in (config.train, config.test)]
    if train.empty or test.empty:
        raise UserError(
            "EMPTY", config.store, f"{len(train)} labelled scans to learn from, {len(test)} to ask about",
            "choose other splits with train= and test=, or index with labels= and splits=",
        )  # fmt: skip
    if both := sorted(set(train["patient"]) & set(test["patient"])):
        raise UserError(
            "LEAKAGE", "train, test", f"{len(both)} patients are on both sides ({', '.join(both[:3])})",
            "choose splits without a patient in common",
        )  # fmt: skip
    most = 0 if config.target else config.scans
    return [few(side, min(most, len(side)), config.seed) for side in sides]


def _structures(
    store: Store, train: pd.DataFrame, test: pd.DataFrame, config: Config
) -> dict[int, str]:
    """Values of the training masks that are asked about, and their names."""
    there = [
        {int(k) for i in side.index for k in np.unique(store.foreground(i)[:, 0])}
        for side in (train, test)
    ]
    names = config.classes or {k: f"class_{k}" for k in sorted(there[0])}
    if 0 in names or len(set(names.values())) < len(names):
        raise UserError(
            "CONFIG", "classes", "names the background, or two values alike",
            "give every value above 0 a name of its own",
        )  # fmt: skip
    if not set(names) & there[0] or not set(names) & there[1]:
        raise UserError(
            "LABELS", config.store, "no structure to ask about in the masks of one side",
            "check the label masks, classes=, train= and test=",
        )  # fmt: skip
    if missing := sorted(set(names) - there[0]):
        say(f"remark: no mask to learn from holds {', '.join(map(str, missing))}; left out")
    return {k: names[k] for k in sorted(names) if k in there[0]}


def _cases(store: Store, side: pd.DataFrame, names, size, cover, config: Config) -> Cases:
    scans = list(zip(side.index, side["patient"], strict=True))
    if config.target:
        return whole_scans(scans, target_numbers(side[config.target], names), cover)
    extent = (*size, 1)[: store.ndim]
    return structures(scans, store.foreground, list(names), extent, config.per_class, config.seed)


def _scans(store: Store, side: pd.DataFrame, names, cover) -> list[Scan]:
    values = np.array([0, *names])
    return [
        Scan(i, store.shape(i), cover(i, n), partial(_mask, store, i, values))
        for n, i in enumerate(side.index)
    ]


def _mask(store: Store, item: str, values: np.ndarray) -> np.ndarray:
    """Class numbers, 1 for the first structure asked about; all other values are background."""
    mask = store.read_mask(item)[0]
    number = np.searchsorted(values, mask).clip(max=len(values) - 1)
    return np.where(values[number] == mask, number, 0)


def _dense(look: Look, train: list[Scan], test: list[Scan], names, config: Config, network: str):
    """Dice of held-out scans (a row a scan, a column a structure), and predictions of one of them."""
    classes = dict(enumerate(names.values(), 1))
    learnt_on = track(train, f"dense probe, {network}, learns", unit="scans")
    probe = learn(look, learnt_on, len(names) + 1, config.voxels, config.seed)
    rows, first = [], None
    for scan in track(test, f"dense probe, {network}", unit="scans"):
        predicted = answer(look, scan, probe)
        rows.append(dice_present(predicted, scan, classes))
        first = predicted if first is None else first
    return pd.DataFrame(rows, index=[scan.id for scan in test]), first


def _picture(
    store: Store, scan: Scan, predictions: dict[str, np.ndarray], dice: dict[str, float], names
) -> bytes:
    """Truth and the predictions of both networks, below each other."""
    titled = {
        f"{scan.id}, {network}: "
        + ("holds none of them" if np.isnan(dice[network]) else f"mean Dice {dice[network]:z.3f}"):
        predicted
        for network, predicted in predictions.items()
    }  # fmt: skip
    image, truth = store.read(scan.id)[0], np.where(scan.asked, scan.mask(), 0)
    classes = dict(enumerate(names.values(), 1))
    return as_png(overlay(image, truth, titled, classes, store.spacing(scan.id)))
