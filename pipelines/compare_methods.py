"""Which methods gain over the untrained network, in the same time on the same scans?

medssl run compare_methods store=store classes='{47: hippocampus R, 48: hippocampus L}' out=compare

Pretrains each 3D method for `minutes`, after a few steps of each were timed, and asks the dense probe
for structures of held-out patients. Expect, for 20 minutes each, five hours on two cores, and
compare/summary.csv; what is done is not done again.
"""

import json
from pathlib import Path
from typing import Annotated

import pandas as pd

from medssl.stages import call
from medssl.training.log import read_jsonl

# What differs from `<method>_small`: crops of about 100 mm at 2 mm, and grids that cover a head.
VOCO = {"size": [40, 56, 48], "whole": False}
OPTIONS = {"voco": VOCO, "voco_v2": VOCO, "global_contrast": {"size": [40, 56, 32]}}
ALL = "voco,voco_v2,spark,mae,conv_mae,simmim,simclr,moco,byol,swav,barlow,vicreg"
TIMED = 8


def main(
    store: Annotated[str, "folder that `medssl prepare` wrote, with masks"] = "store",
    out: Annotated[str, "folder for all that is written"] = "compare",
    minutes: Annotated[float, "of pretraining for each method"] = 20,
    methods: Annotated[str, "names separated by commas"] = f"{ALL},global_contrast,local_contrast",
    classes: Annotated[dict[int, str], "values of masks to ask about, named; none: all"] = None,
    threads: Annotated[int, "of the CPU; 0: as torch chooses"] = 0,
):
    out, steps, rows = Path(out), {}, []
    for name in methods.split(","):
        fit = {"steps": TIMED, "every": TIMED, "threads": threads}
        timed = pretrain(name, store, fit, out / f"timed/{name}")
        seconds = read_jsonl(timed / "timing.jsonl")[-1]["seconds"] / TIMED
        steps[name] = max(TIMED, int(60 * minutes / seconds))
    for name in methods.split(","):
        fit = {"steps": steps[name], "every": max(1, steps[name] // 4), "threads": threads}
        start = out / "global_contrast" if name == "local_contrast" else None
        run = pretrain(name, store, fit, out / name, start)
        probe = call("probe", run=run, store=store, probes=["dense"], classes=classes or {})
        found, row = json.loads((probe / "probe.json").read_text())["dense"], {"method": name}
        for key in ("pretrained", "untrained", "difference"):
            row |= {
                f"{key} {part}": round(found[key][part], 4) for part in ("estimate", "low", "high")
            }
        card = json.loads((run / "model/card.json").read_text())
        rows.append(row | {key: card[key] for key in ("steps", "alarm")})
        pd.DataFrame(rows).to_csv(out / "summary.csv", index=False)
    return out / "summary.csv"


def pretrain(name: str, store: str, fit: dict, out: Path, start: Path | None = None) -> Path:
    method = OPTIONS.get(name, {})
    return call(
        "pretrain", f"{name}_small", store=store, method=method, fit=fit, start=start, out=out
    )
