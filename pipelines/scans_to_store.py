"""From a folder of scans to a store: medssl run scans_to_store scans=SCANS out=cohort

What the notebooks start from. Scans are taken from SCANS/images if there is such a folder, masks from
SCANS/labels, labels and splits from the tables SCANS/*.csv; where no table has splits, 60, 20 and 20 %
of the patients are drawn. The modality that most scans have chooses the preset. Without scans=, phantom
CT scans are made, which have splits: expect ten seconds. A store that is there already is taken as it is.
"""

from pathlib import Path
from typing import Annotated

import pandas as pd

from medssl.data.manifest import Manifest
from medssl.data.phantom import make
from medssl.errors import UserError
from medssl.stages import call

PRESETS = {"CT": "ct_body", "MR": "mr_brain", "CR": "xray_chest", "DX": "xray_chest"}


def main(
    scans: Annotated[str, "folder of scans; empty: phantom patients"] = "",
    out: Annotated[str, "folder for all that is written"] = "cohort",
    modality: Annotated[str, "of formats that do not know it, such as NIfTI"] = "",
    spacing: Annotated[list[float], "voxel size, mm; none: that of the preset"] = (),
    patients: Annotated[int, "phantom patients to make"] = 12,
    seed: Annotated[int, "of the phantoms and of drawn splits"] = 0,
):
    out, folder = Path(out), Path(scans) if scans else Path(out) / "phantoms/ct"
    if not scans:
        modality, spacing = "CT", spacing or [6, 6, 6]
        if not (folder / "scans.csv").exists():
            make(folder.parent, ct=patients, scans_per_patient=1, seed=seed)
    images, masks, tables = folder / "images", folder / "labels", sorted(folder.glob("*.csv"))
    images = images if images.is_dir() else folder
    if (out / "store/store.json").exists():
        if Manifest.read(out / "manifest").root != images.resolve():
            raise UserError("EXISTS", out, "holds a store of other scans", "choose another out=")
        return out / "store"
    split = any("split" in pd.read_csv(table, nrows=0) for table in tables)
    call(
        "index", scans=images, modality=modality, seed=seed,
        labels=[*([masks] if masks.is_dir() else []), *tables],
        shares=[] if split else [0.6, 0.2, 0.2], out=out / "manifest",
    )  # fmt: skip
    found = Manifest.read(out / "manifest").used["modality"].mode()[0]
    recipe = {"spacing": list(spacing)} if spacing else {}
    return call(
        "prepare", PRESETS.get(found, ""), manifest=out / "manifest", recipe=recipe,
        out=out / "store",
    )  # fmt: skip
