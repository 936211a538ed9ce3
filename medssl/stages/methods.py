"""List the pretraining methods, and which network takes which, in 2D and 3D.

With `steps` each pair is tried on phantom scans, with networks of a few channels: the loss falls, a
gradient reaches every trained weight, a checkpoint loads, and a run that was stopped ends in the same
bits. With `out`, the table is written as a CSV file.
"""

import tempfile
from pathlib import Path
from typing import ClassVar

import pandas as pd
import torch
from pydantic import Field

from medssl.augment.compose import Augment, augmenter
from medssl.backbones.base import build
from medssl.config import Config as Base
from medssl.config import Part, resolve
from medssl.data.crops import Crops, batches
from medssl.data.phantom import make as make_phantom
from medssl.data.store import Store
from medssl.errors import UserError
from medssl.methods.base import METHODS
from medssl.progress import say
from medssl.stages import call
from medssl.training.trial import trial

SWIN = {"feature_size": 12, "depths": [1, 1, 1, 1], "heads": [1, 1, 2, 2], "window": 4}
# Every kind of network in its smallest form: name, options, size of an image by number of axes.
NETWORKS = {
    "res_unet": ("res_unet", {"channels": [4, 8, 8]}, {2: [48] * 2, 3: [24] * 3}),
    "vit": ("vit", {"patch": 8, "width": 24, "depth": 2, "heads": 2}, {2: [48] * 2, 3: [24] * 3}),
    "resenc": ("resenc", {"channels": [4, 8, 8], "blocks": [1] * 3}, {2: [48] * 2, 3: [24] * 3}),
    "swin_unetr": ("swin_unetr", SWIN, {2: [64] * 2, 3: [64, 64, 32]}),
    "timm resnet": ("timm", {"model": "resnet18"}, {2: [96] * 2}),
    "timm convnext": ("timm", {"model": "convnext_atto"}, {2: [96] * 2}),
    "timm vit": ("timm", {"model": "vit_tiny_patch16_224"}, {2: [96] * 2}),
}
OPTIONS = {"voco_omni": {"classes": 9}}  # as many as the phantom has organs, and some
VALUES = (-1.0, 1.0)
BATCH = 4


class Config(Base):
    positional: ClassVar = ("method",)
    examples: ClassVar = (
        "medssl methods",
        "medssl methods spark steps=20",
        "medssl methods out=table.csv",
    )
    method: str = Field("", description="this one only")
    network: str = Field("", description="this one only, as the table names it")
    steps: int = Field(0, description="try each pair for so many steps; 0: only list", ge=0)
    out: Path | None = Field(None, description="CSV file to write the table to")


def run(config: Config) -> Path | None:
    names = [config.method] if config.method else list(METHODS)
    resolve(names[0], METHODS, "method")
    networks = [config.network] if config.network else list(NETWORKS)
    if networks[0] not in NETWORKS:
        raise UserError(
            "CONFIG", f"network={config.network}", "is not in the table",
            f"choose one of {', '.join(NETWORKS)}",
        )  # fmt: skip
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store = _phantom(Path(folder)) if config.steps else None
        for name in names:
            for network in networks:
                for axes in NETWORKS[network][2]:
                    where = Path(folder) / f"{name} {network} {axes}"
                    rows.append(combination(name, network, axes, store, config.steps, where))
    table = pd.DataFrame(rows)
    _show(table, names)
    if config.out:
        table.to_csv(config.out, index=False)
    return config.out


def combination(
    method: str, network: str, axes: int, store: Store | None = None, steps: int = 0,
    folder: Path | None = None,
) -> dict:  # fmt: skip
    """One row of the table: whether a network takes a method and, after `steps`, how that went."""
    row = {"method": method, "network": network, "axes": axes, "taken": True, "cause": ""}
    try:
        made = small(method, network, axes)
    except UserError as error:
        return {**row, "taken": False, "cause": error.cause}
    if not steps:
        return row
    say(f"{method} on {network}, {axes}D")
    crops = Crops(store, list(store.items.index), made.crops, seed=0)
    found = trial(
        lambda: small(method, network, axes),
        lambda a, b: batches(crops, BATCH, a, b),
        folder,
        steps,
    )
    return {
        **row, "first_loss": found.first, "last_loss": found.last, "passed": found.passed,
        "without_gradient": " ".join(found.without_gradient),
        "round_trips": found.round_trips, "resumes": found.resumes,
    }  # fmt: skip


def small(method: str, network: str, axes: int, channels: int = 1) -> torch.nn.Module:
    """A method on the smallest form of a network. Raises UserError where it does not take it."""
    name, options, sizes = NETWORKS[network]
    torch.manual_seed(0)
    ndim = {} if name == "timm" else {"ndim": axes}
    backbone = build(name, in_channels=channels, **options, **ndim)
    augment = augmenter(Augment(), VALUES)
    part = Part(name=method, size=sizes[axes], **OPTIONS.get(method, {}))
    return part.build(METHODS, "method", backbone, augment)


def _phantom(folder: Path) -> Store:
    make_phantom(folder / "scans", ct=4, scans_per_patient=2)
    scans = folder / "scans/ct"
    call("index", scans=scans / "images", labels=scans / "labels", modality="CT", out=folder / "m")
    recipe = {"spacing": [6, 6, 6]}
    call("prepare", "ct_body", manifest=folder / "m", out=folder / "store", recipe=recipe)
    return Store.read_from(folder / "store")


def _show(table: pd.DataFrame, names: list[str]) -> None:
    """A line a method, a column a network; causes below."""
    columns = list(dict.fromkeys(zip(table["network"], table["axes"], strict=True)))
    wide = max(map(len, names))
    heads = [f"{network} {axes}D" for network, axes in columns]
    print(" " * wide, *heads, sep="  ")
    for name in names:
        cells = []
        for (network, axes), head in zip(columns, heads, strict=True):
            at = (table["method"] == name) & (table["network"] == network) & (table["axes"] == axes)
            cells.append(_cell(table[at].iloc[0]).ljust(len(head)))
        print(name.ljust(wide), *cells, sep="  ")
    for (name, cause), rows in table[~table["taken"]].groupby(["method", "cause"], sort=False):
        where = ", ".join(f"{row.network} {row.axes}D" for row in rows.itertuples())
        print(f"{name} not on {where}: {cause}")


def _cell(row: pd.Series) -> str:
    if not row["taken"]:
        return "-"
    if "passed" not in row or pd.isna(row["passed"]):
        return "yes"
    return "passed" if row["passed"] else "FAILED"
