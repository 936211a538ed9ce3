"""List the networks and the libraries that take their weights.

A cell says yes, - (no) or some: then a form of the network is taken and another is not, and the lines
below say why. With check=true each form goes to every library that takes it, very small: written,
strictly loaded by that library, and its features compared with ours. The cells then hold the largest
difference, which may not be over 1e-5.
"""

import tempfile
from pathlib import Path
from typing import ClassVar

import pandas as pd
import torch
from pydantic import Field

from medssl.backbones.base import build
from medssl.config import Config as Base
from medssl.data.files import write_csv
from medssl.describe import plain
from medssl.errors import UserError
from medssl.interop.exporting import CLOSE, TARGETS, admitted, export
from medssl.interop.model import Model, fitting_size
from medssl.progress import say
from medssl.stages.methods import NETWORKS

# The smallest form of every network: options and axes.
SMALLEST = {
    **{n: (options, tuple(sizes)) for n, options, sizes in NETWORKS.values() if n != "timm"},
    "timm": ({"model": "resnet18"}, (2,)),
    "segresnet": ({"width": 4, "blocks": [1, 1, 2]}, (2, 3)),
    "resnet": ({"depth": 10, "width": 4, "stem_kernel": 3}, (2, 3)),
    "genesis": ({"width": 4, "levels": 3}, (3,)),
}
# Forms that libraries name otherwise, or do not take: what they differ by, and axes.
FORMS = (
    ("res_unet", {"channels": [4, 8]}, (2, 3)),
    ("res_unet", {"blocks": 2}, (2, 3)),
    ("vit", {"grid": [3]}, (2, 3)),
    ("vit", {"patch": [8, 4]}, (2,)),
    ("resenc", {"channels": [8], "blocks": [1]}, (2, 3)),
    ("swin_unetr", {"v2": True}, (2,)),
    ("timm", {"model": "resnet26"}, (2,)),
    ("timm", {"model": "convnext_atto"}, (2,)),
    ("timm", {"model": "vit_tiny_patch16_224"}, (2,)),
    ("timm", {"model": "swin_tiny_patch4_window7_224"}, (2,)),
    ("timm", {"model": "test_efficientnet"}, (2,)),
    ("segresnet", {"norm": "batch"}, (3,)),
    ("resnet", {"depth": 50}, (2, 3)),
)
EXAMPLES = [
    (name, axes, form)
    for name, (_, whole) in SMALLEST.items()
    for form, of_form in [({}, whole), *((f, a) for n, f, a in FORMS if n == name)]
    for axes in of_form
]


class Config(Base):
    positional: ClassVar = ("network",)
    examples: ClassVar = (
        "medssl backbones",
        "medssl backbones resenc",
        "medssl backbones check=true",
    )
    network: str = Field("", description="this one only")
    check: bool = Field(False, description="pass each on to every library, and compare features")
    out: Path | None = Field(None, description="CSV file to write the table to")


def run(config: Config) -> Path | None:
    if config.network not in ("", *SMALLEST):
        raise UserError(
            "CONFIG", f"network={config.network}", "is not in the table",
            f"choose one of {', '.join(SMALLEST)}",
        )  # fmt: skip
    asked = [e for e in EXAMPLES if config.network in ("", e[0])]
    table = pd.DataFrame([row for example in asked for row in rows_of(*example, config.check)])
    _show(table, config.check)
    if config.out:
        write_csv(config.out, table)
    if config.check:
        _told(table[table["taken"]])
    return config.out


def small(network: str, axes: int, form: dict | None = None) -> tuple[torch.nn.Module, dict]:
    """A small network, all weights moved from where they begin, and its options."""
    options = {**SMALLEST[network][0], **(form or {})}
    options |= {} if network in ("timm", "genesis") else {"ndim": axes}
    torch.manual_seed(0)
    backbone = build(network, in_channels=1, **options).eval()
    with torch.no_grad():  # what begins at 0 or 1 would hide that it was left behind
        for parameter in backbone.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
        for buffer_name, buffer in backbone.named_buffers():
            if buffer_name.endswith("running_mean"):
                buffer += 0.05 * torch.randn_like(buffer)
    return backbone, options


def rows_of(network: str, axes: int, form: dict, check: bool) -> list[dict]:
    """A row a target: whether it takes a network, and with `check` how far its features are from ours."""
    backbone, options = small(network, axes, form)
    size, rows = fitting_size(backbone), []
    words = " ".join(f"{key}={plain(value)}" for key, value in form.items())
    for target, cause in admitted(backbone).items():
        row = {
            "network": network, "form": words, "axes": axes, "target": target, "taken": not cause,
            "cause": cause,
        }  # fmt: skip
        if check and not cause:
            row |= {"difference": float("nan"), "passed": False}
            with tempfile.TemporaryDirectory() as folder:
                try:
                    model = Model(backbone, network, options, size, {}, f"# {network}\n")
                    row["difference"] = export(model, target, Path(folder))
                    row["passed"] = True
                except UserError as error:
                    row["cause"] = f"{error.code}: {error.cause}"
            found = f"{row['difference']:.0e}" if row["passed"] else row["cause"]
            say(f"{_named(row)} to {target}: {found}")
        rows.append(row)
    return rows


def _named(row: dict) -> str:
    return " ".join(filter(None, [row["network"], row["form"], f"{row['axes']}D"]))


def _show(table: pd.DataFrame, check: bool) -> None:
    """A line a network (with `check`: a form of it), a column a target; causes below."""
    keys = ["network", "form", "axes"] if check else ["network", "axes"]
    lines = {}
    for _, rows in table.groupby(keys, sort=False):
        first = rows.iloc[0].to_dict()
        name = _named(first if check else {**first, "form": ""})
        lines[name] = [_cell(rows[rows["target"] == target], check) for target in TARGETS]
    wide = max(map(len, lines))
    for name, cells in [("", list(TARGETS)), *lines.items()]:
        print(name.ljust(wide), *[cell.ljust(8) for cell in cells], sep="  ")
    unlike = table[table["cause"] != ""]
    for (target, cause), rows in unlike.groupby(["target", "cause"], sort=False):
        print(f"{target} not of {', '.join(_which(rows, table))}: {cause}")
    print("a row is a name for backbone= (or arch=); what stands behind it, for backbone.OPTION=")


def _cell(rows: pd.DataFrame, check: bool) -> str:
    """What stands for all rows of a line and a target."""
    if not rows["taken"].any():
        return "-"
    if not check:
        return "yes" if rows["taken"].all() else "some"
    (row,) = rows.to_dict("records")
    if row["passed"]:
        return f"{row['difference']:.0e}"
    return "unknown" if row["cause"].startswith("INSTALL") else "FAILED"


def _which(rows: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """Networks of one cause, in the fewest words: all of a name, all of its axes, or forms of it."""
    found, every = [], table[table["target"] == rows.iloc[0]["target"]]
    for network, its in rows.groupby("network", sort=False):
        whole = every[every["network"] == network]
        for axes, of_axes in its.groupby("axes"):
            if len(its) == len(whole):
                found.append(network)
            elif len(of_axes) == (whole["axes"] == axes).sum():
                found.append(f"{network} {axes}D")
            else:
                found += [f"{network} {form}".strip() for form in of_axes["form"]]
    return list(dict.fromkeys(found))


def _told(tried: pd.DataFrame) -> None:
    """The largest difference. Raises UserError where something was not found to be the same."""
    failed = tried[~tried["passed"].astype(bool)]
    if not failed.empty:
        first = failed.iloc[0]
        lacking = failed["cause"].str.startswith("INSTALL").all()
        raise UserError(
            "EXPORT", f"{_named(first.to_dict())} to {first['target']}",
            f"{len(failed)} of {len(tried)} could not be checked: {first['cause']}",
            "install what is missing" if lacking else "report it with the versions of medssl doctor",
        )  # fmt: skip
    worst = tried.loc[tried["difference"].idxmax()].to_dict()
    print(f"{len(tried)} passed on and loaded again; the largest difference is {worst['difference']:.1e} "
          f"({_named(worst)} to {worst['target']}), {CLOSE:.0e} is allowed")  # fmt: skip
