"""Classification of films.

medssl run xray_classification films=FOLDER labels=labels.csv target=label_class out=films

labels.csv names each film (`path`), its patient (`patient_id`), its split and its class. Expect, for
1,600 chest films and a ResNet-18 at 96 pixels, about 10 minutes on two cores.
"""

from pathlib import Path
from typing import Annotated

from medssl.stages import call


def main(
    films: Annotated[str, "folder of the films"],
    labels: Annotated[str, "CSV with id or path, class, patient_id and split"],
    target: Annotated[str, "column of the classes"] = "label_class",
    out: Annotated[str, "folder for all that is written"] = "films",
    size: Annotated[int, "rows and columns that films are fitted into"] = 96,
    steps: Annotated[int, "of fine-tuning"] = 600,
    seed: Annotated[int, "of all draws"] = 0,
):
    out, size = Path(out), [int(size)] * 2
    call("index", scans=films, labels=[labels], out=out / "manifest")
    call(
        "prepare", "xray_chest", manifest=out / "manifest", out=out / "store", recipe={"size": size}
    )
    run = call(
        "finetune", "classification", store=out / "store", target=target, out=out / "run",
        task={"size": size}, fit={"steps": int(steps), "seed": int(seed)},
    )  # fmt: skip
    return call("evaluate", run=run)
