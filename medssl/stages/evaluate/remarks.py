"""What is to be said, in words, of an evaluation's cases beside their figures."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.data.index.row import NO_SPACING
from medssl.data.manifest import Manifest
from medssl.evaluation.classification import nearly_constant
from medssl.evaluation.metrics import EXACT
from medssl.training.checkpoint import read_card


def of_backbone(about: dict, folder: str | None) -> list[str]:
    """What a pretraining was found to have done to the features that a model started from.

    about   the model's card
    folder  of the pretraining, if it is still there
    """
    if not about.get("parent") or not folder or not (Path(folder) / "model/card.json").exists():
        return []
    card = read_card(Path(folder))
    if card["weights_sha256"] != about["parent"]["weights_sha256"] or not card.get("alarm"):
        return []
    return [f"the backbone that it started from had been found collapsed: {card['alarm']}"]


def of_cases(cases: pd.DataFrame) -> list[str]:
    """Answers that are alike where the truth is not, and classes that only one side has."""
    if "volume_ml_truth" in cases:
        return _one_sided(cases)
    if "truth" not in cases:
        return []
    truth, predicted = cases["truth"], cases["predicted"]
    if "usual" in cases:
        if not nearly_constant(truth, predicted):
            return []
        spreads = (
            f"standard deviation {predicted.std(ddof=0):.3g}, of the truth {truth.std(ddof=0):.3g}"
        )
        return [f"the {len(cases)} predicted numbers hardly differ ({spreads}): nearly one for all"]
    if predicted.nunique() < truth.nunique():
        named = " or ".join(sorted(predicted.unique()))
        return [f"all {len(cases)} cases were called {named}, and no other class"]
    return []


def _one_sided(cases: pd.DataFrame) -> list[str]:
    """Where a class is true or was predicted, but not both: its HD95 is no distance between outlines."""
    true, told = cases["volume_ml_truth"] > 0, cases["volume_ml_prediction"] > 0
    missed, invented = (Counter(cases["class"][at]) for at in (true & ~told, told & ~true))
    words = [f"{name} was not found in {n}" for name, n in missed.items()]
    words += [f"{name} was found in {n} without it" for name, n in invented.items()]
    if not words:
        return []
    n = cases["id"].nunique()
    return [f"of {n} cases {', '.join(words)}: HD95 counts the diagonal of the scan there"]


def without_spacing(manifest: Manifest, items: pd.DataFrame) -> list[str]:
    """Scans whose files do not tell how large a pixel is."""
    said = manifest.table.set_index("id").loc[items.index, "remarks"]
    n = int(said.str.contains(NO_SPACING, regex=False).sum())
    if not n:
        return []
    return [
        f"of {n} of {len(items)} scans no pixel size is known: distances and volumes count it as 1 mm"
    ]


def too_strict(manifest: Manifest, items: pd.DataFrame, tolerance: float) -> list[str]:
    """NSD where outlines one voxel apart never agree; `tolerance` in mm."""
    spacings = manifest.table.set_index("id").loc[items.index, "spacing"]
    voxel = float(np.min([float(mm) for spacing in spacings for mm in spacing.split("x")]))
    if voxel <= tolerance * EXACT:
        return []
    return [
        f"NSD takes outlines to agree within {tolerance:g} mm, which is less than any voxel measures "
        f"(from {voxel:g} mm on): tolerance={voxel:g} or more tells more"
    ]
