"""List the networks and the libraries that take their weights.

With check=true the smallest form of each network goes to every library that takes it: written,
strictly loaded by that library, and its features compared with ours. The table then holds the largest
difference, which may not be over 1e-5.
"""

import tempfile
from pathlib import Path
from typing import ClassVar

import pandas as pd
import torch
from pydantic import Field

from medssl.backbones.base import BACKBONES, build
from medssl.config import Config as Base
from medssl.data.files import write_csv
from medssl.errors import UserError
from medssl.interop.exporting import TARGETS, admitted, export
from medssl.interop.model import Model, fitting_size
from medssl.progress import say
from medssl.stages.methods import NETWORKS as TRIED

# Every kind of network in its smallest form: name, options, axes.
NETWORKS = {
    **{n: (name, options, tuple(sizes)) for n, (name, options, sizes) in TRIED.items()},
    "swin_unetr v2": ("swin_unetr", {**TRIED["swin_unetr"][1], "v2": True}, (2,)),
    "vit learned": ("vit", {**TRIED["vit"][1], "grid": [3]}, (2, 3)),
    "timm swin": ("timm", {"model": "swin_tiny_patch4_window7_224"}, (2,)),
    "segresnet": ("segresnet", {"width": 4, "blocks": [1, 1, 2]}, (2, 3)),
    "resnet": ("resnet", {"depth": 10, "width": 4, "stem_kernel": 3}, (2, 3)),
    "genesis": ("genesis", {"width": 4, "levels": 3}, (3,)),
}


class Config(Base):
    positional: ClassVar = ("network",)
    examples: ClassVar = ("medssl backbones", "medssl backbones resenc check=true")
    network: str = Field("", description="this one only, as the table names it")
    check: bool = Field(False, description="pass each on to every library, and compare features")
    out: Path | None = Field(None, description="CSV file to write the table to")


def run(config: Config) -> Path | None:
    names = [config.network] if config.network else list(NETWORKS)
    if names[0] not in NETWORKS:
        raise UserError(
            "CONFIG", f"network={config.network}", "is not in the table",
            f"choose one of {', '.join(NETWORKS)}",
        )  # fmt: skip
    rows = [
        row
        for name in names
        for axes in NETWORKS[name][2]
        for row in rows_of(name, axes, config.check)
    ]
    table = pd.DataFrame(rows)
    _show(table, config.check)
    if config.out:
        write_csv(config.out, table)
    if config.check and (failed := table[table["taken"] & ~table["passed"].astype(bool)]).any(
        axis=None
    ):
        first = failed.iloc[0]
        lacking = failed["cause"].str.startswith("INSTALL").all()
        raise UserError(
            "EXPORT", f"{first['network']} to {first['target']}",
            f"{len(failed)} of {int(table['taken'].sum())} could not be checked: {first['cause']}",
            "install what is missing" if lacking else "report it with the versions of medssl doctor",
        )  # fmt: skip
    return config.out


def small(network: str, axes: int) -> tuple[torch.nn.Module, str, dict]:
    """A network in its smallest form, all weights moved from where they begin; its name and options."""
    name, options, _ = NETWORKS[network]
    options = options if name in ("timm", "genesis") else {**options, "ndim": axes}
    torch.manual_seed(0)
    backbone = build(name, in_channels=1, **options).eval()
    with torch.no_grad():  # what begins at 0 or 1 would hide that it was left behind
        for parameter in backbone.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
        for buffer_name, buffer in backbone.named_buffers():
            if buffer_name.endswith("running_mean"):
                buffer += 0.05 * torch.randn_like(buffer)
    return backbone, name, options


def rows_of(network: str, axes: int, check: bool) -> list[dict]:
    """A row a target: whether it takes a network, and with `check` how far its features are from ours."""
    backbone, name, options = small(network, axes)
    size = fitting_size(backbone)
    rows = []
    for target, cause in admitted(backbone).items():
        row = {
            "network": network,
            "axes": axes,
            "target": target,
            "taken": not cause,
            "cause": cause,
        }
        if check and not cause:
            say(f"{network}, {axes}D, to {target}")
            row |= {"difference": float("nan"), "passed": False}
            with tempfile.TemporaryDirectory() as folder:
                try:
                    model = Model(backbone, name, options, size, {}, f"# {network}\n")
                    row["difference"] = export(model, target, Path(folder))
                    row["passed"] = True
                except UserError as error:
                    row["cause"] = f"{error.code}: {error.cause}"
        rows.append(row)
    return rows


def _show(table: pd.DataFrame, check: bool) -> None:
    """A line a network, a column a target; causes below."""
    wide = max(len(f"{r.network} {r.axes}D") for r in table.itertuples())
    print(" " * wide, *[t.ljust(8) for t in TARGETS], sep="  ")
    for (network, axes), rows in table.groupby(["network", "axes"], sort=False):
        cells = [_cell(row, check).ljust(8) for row in rows.to_dict("records")]
        print(f"{network} {axes}D".ljust(wide), *cells, sep="  ")
    unlike = table[table["cause"] != ""]
    for (target, cause), rows in unlike.groupby(["target", "cause"], sort=False):
        where = ", ".join(dict.fromkeys(row.network for row in rows.itertuples()))
        print(f"{target} not of {where}: {cause}")
    used = {NETWORKS[name][0] for name in table["network"]}
    print(f"names for backbone=: {', '.join(n for n in BACKBONES if n in used)}")


def _cell(row: dict, check: bool) -> str:
    if not row["taken"]:
        return "-"
    if not check:
        return "yes"
    return f"{row['difference']:.0e}" if row["passed"] else "unknown"
