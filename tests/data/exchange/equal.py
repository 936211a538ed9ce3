"""What a round trip must keep, compared scan by scan."""

import numpy as np
import pandas as pd

from medssl.data.manifest import Manifest
from medssl.errors import UserError

KEPT = ("id", "patient", "study", "modality", "split", "boxes", "shape")


def differences(before: Manifest, after: Manifest, voxels: bool = True) -> list[str]:
    """Every way in which the used scans of two manifests differ; spacing of volumes counts."""
    one, two = (m.used.sort_values("id").reset_index(drop=True) for m in (before, after))
    if one["id"].tolist() != two["id"].tolist():
        return [f"ids {set(one['id']) ^ set(two['id'])}"]
    if before.label_columns != after.label_columns:
        return [f"labels {before.label_columns} {after.label_columns}"]
    found = []
    for column in (*KEPT, *before.label_columns):
        try:
            pd.testing.assert_series_equal(one[column], two[column])
        except AssertionError as error:
            found.append(f"{column}: {error}")
    if (one["label_mask"] != "").tolist() != (two["label_mask"] != "").tolist():
        found.append("masks")
    films = one["shape"].str.count("x") == 1
    if one["spacing"][~films].tolist() != two["spacing"][~films].tolist():
        found.append("spacing")
    if one["orientation"].tolist() != two["orientation"].tolist():
        found.append("orientation")
    return found or ([d for id in one["id"] for d in _other(before, after, id)] if voxels else [])


def _other(before: Manifest, after: Manifest, id: str) -> list[str]:
    try:
        a = before.volume(id)
    except UserError:  # only its header was good; its bytes must still be the same
        files = zip(before.files(id), after.files(id), strict=True)
        return [f"{id}: bytes" for x, y in files if x.read_bytes() != y.read_bytes()]
    b = after.volume(id)
    found = []
    if not np.array_equal(a.array, b.array):
        found.append(f"{id}: voxels")
    if a.ndim == 3 and not np.allclose(a.affine, b.affine, atol=1e-4):
        found.append(f"{id}: affine")
    masks = [m.mask(id, scan) for m, scan in ((before, a), (after, b))]
    if masks[0] and not np.array_equal(masks[0].array, masks[1].array):
        found.append(f"{id}: mask")
    return found
