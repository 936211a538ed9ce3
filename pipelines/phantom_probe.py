"""Does pretraining teach anatomy? medssl run phantom_probe out=probe

Pretrains VoCo and MAE on phantom CT scans and asks, by nearest neighbours among crops of training
patients, which organ lies at the centre of the crops of other patients, against the untrained
networks. Expect about eight minutes on two cores, and probe/summary.json.
"""

import json
from pathlib import Path
from typing import Annotated

from medssl.data.phantom import make
from medssl.stages import call

SHORT = {"steps": 150, "batch_size": 2, "every": 75}
LONG = {"steps": 1500, "batch_size": 16, "every": 500}
VOCO = {"method": {"size": [32, 24, 32]}, "backbone": {"channels": [16, 32, 64]}, "fit": SHORT}
MAE = {
    "method": {"size": [32, 32, 32], "normalise_target": False},
    "backbone": {"width": 96, "depth": 4},
    "fit": LONG,
}


def main(
    out: Annotated[str, "folder for all that is written"] = "probe",
    patients: Annotated[int, "phantom patients to make"] = 16,
    seed: Annotated[int, "of the cohort"] = 0,
):
    out = Path(out)
    scans, store = out / "scans/ct", out / "store"
    make(out / "scans", ct=patients, seed=seed)
    call(
        "index", scans=scans / "images", labels=[scans / "labels", scans / "scans.csv"],
        modality="CT", out=out / "manifest",
    )  # fmt: skip
    call("prepare", "ct_body", manifest=out / "manifest", out=store, recipe={"spacing": [6, 6, 6]})
    summary = {}
    for name, options in (("voco", VOCO), ("mae", MAE)):
        run = call("pretrain", f"{name}_small", store=store, out=out / name, **options)
        found = call("probe", run=run, store=store, probes=["knn"]) / "probe.json"
        summary[name] = json.loads(found.read_text())["knn"]
    (out / "summary.json").write_text(json.dumps(summary, indent=1))
    return out / "summary.json"
