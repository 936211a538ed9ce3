"""Which methods gain over the untrained network, in the same time on the same scans?

medssl run compare_methods store=store classes='{47: hippocampus R, 48: hippocampus L}' out=compare

Pretrains each 3D method for `minutes` (its steps are set from a few that are timed first) and asks
the dense probe for structures of held-out patients, against the untrained network. Expect, for 20
minutes each, four and a half hours on two cores, and compare/summary.csv; what is done is not done
again.
"""

import json
from pathlib import Path
from typing import Annotated

import pandas as pd

from medssl.stages import call
from medssl.training.log import read_jsonl

# What differs from `<method>_small`: crops of about 80 mm at 2 mm, and grids that cover a head.
HEAD = [40, 56, 48]
OPTIONS = {name: {} for name in ("mae", "conv_mae", "simmim", "spark")}
OPTIONS |= {name: {} for name in ("simclr", "moco", "byol", "swav", "barlow", "vicreg")}
OPTIONS |= {name: {"size": HEAD, "whole": False} for name in ("voco", "voco_v2")}
OPTIONS |= {"global_contrast": {"size": [*HEAD[:2], 32]}, "local_contrast": {}}
TIMED = 8


def main(
    store: Annotated[str, "folder that `medssl prepare` wrote, with masks"] = "store",
    out: Annotated[str, "folder for all that is written"] = "compare",
    minutes: Annotated[float, "of pretraining for each method"] = 20,
    methods: Annotated[str, "names separated by commas; empty: all"] = "",
    classes: Annotated[dict[int, str], "values of the masks to ask about, named; empty: all"] = None,
    threads: Annotated[int, "of the CPU; 0: as torch chooses"] = 0,
):  # fmt: skip
    out, rows = Path(out), []
    for name in methods.split(",") if methods else OPTIONS:
        asked = {"store": store, "method": OPTIONS[name]}
        if name == "local_contrast":  # its second stage: the decoder, on a frozen encoder
            asked["start"] = out / "global_contrast"
        fit = {"steps": TIMED, "every": TIMED, "threads": threads}
        timed = call("pretrain", f"{name}_small", **asked, fit=fit, out=out / f"timed/{name}")
        seconds = read_jsonl(timed / "timing.jsonl")[-1]["seconds"] / TIMED
        steps = max(TIMED, int(60 * minutes / seconds))
        fit |= {"steps": steps, "every": max(1, steps // 4)}
        run = call("pretrain", f"{name}_small", **asked, fit=fit, out=out / name)
        probe = call("probe", run=run, store=store, probes=["dense"], classes=classes or {})
        found = json.loads((probe / "probe.json").read_text())["dense"]
        row = {"method": name, "steps": steps, "seconds_a_step": round(seconds, 3)}
        for key in ("pretrained", "untrained", "difference"):
            row |= {f"{key}_{part}": round(found[key][part], 4) for part in ("estimate", "low", "high")}
        alarm = json.loads((run / "model/card.json").read_text())["alarm"]
        rows.append(row | {"n_patients": found["difference"]["n_patients"], "alarm": alarm})
        pd.DataFrame(rows).to_csv(out / "summary.csv", index=False)
    return out / "summary.csv"
