"""Boxes of a scan, from what a manifest says of them to prepared voxels, and back to the scan.

In arrays a box is (low corner, high corner) along the array's axes, at the edges of voxels: voxel i
reaches from i to i + 1. Files have the column of a film before its row.
"""

import itertools
import json

import numpy as np

from medssl.data.volume import LPS_TO_RAS
from medssl.errors import UserError


def located(text: str, scan: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """A manifest's boxes (JSON) as (n, 2 d) float64 in voxels of their scan.

    scan, shape  the scan's affine (RAS mm) and spatial shape

    Raises UserError LABELS for one that has another number of axes, or lies outside the scan.
    """
    d = len(shape)
    found = np.zeros((0, 2 * d))
    for number, each in enumerate(json.loads(text), 1):
        box = np.array(each["box"], float)
        where = f"line {each['line']} of the table of boxes" if "line" in each else f"box {number}"
        if len(box) != 2 * d:
            cause = f"{where} has {len(box) // 2} axes, the scan {d}"
            raise UserError(
                "LABELS", name, cause, "give x0, y0, x1, y1 for films, and z0, z1 for volumes"
            )
        if each.get("space"):
            to_ras = np.eye(4) if each["space"] == "RAS" else LPS_TO_RAS
            box = moved(box[None], np.linalg.inv(scan) @ to_ras, edges=(False, True))[0]
        else:
            box = as_in_files(box[None])[0]
        if (box[d:] <= 0).any() or (box[:d] >= shape).any():
            space = f" ({each['space']} mm)" if each.get("space") else ""
            cause = f"{where}, {each['box']}{space}, lies outside the scan"
            fix = "check which axes and units the boxes are in; see `medssl index --help` on labels"
            raise UserError("LABELS", name, cause, fix)
        found = np.vstack([found, box])
    return found


def as_in_files(boxes: np.ndarray) -> np.ndarray:
    """Boxes (n, 2 d) along the axes of arrays as files have them, and the other way round."""
    return boxes[:, [1, 0, 3, 2]] if boxes.shape[1] == 4 else boxes


def moved(boxes: np.ndarray, affine: np.ndarray, edges=(True, True)) -> np.ndarray:
    """Boxes (n, 2 d) taken by a 4x4 affine between two grids' voxel centres: their hulls there.

    edges  whether the numbers before and after count from the edge of voxel 0 (else from its centre)
    """
    d = boxes.shape[1] // 2
    sides = np.stack([boxes[:, :d], boxes[:, d:]]) - 0.5 * edges[0]
    corners = np.stack([
        sides[list(choice), :, range(d)].T for choice in itertools.product((0, 1), repeat=d)
    ])  # fmt: skip
    ends = corners @ affine[:d, :d].T + affine[:d, 3] + 0.5 * edges[1]
    return np.hstack([ends.min(0), ends.max(0)]) if len(boxes) else np.zeros((0, 2 * d))


def parts(mask: np.ndarray, classes, smallest: int = 1) -> tuple[np.ndarray, np.ndarray, int]:
    """Boxes (n, 2 d) around each connected part of each class of a label mask (*space), and their
    classes; the number of parts under `smallest` voxels, which are left out, comes last."""
    from scipy import ndimage

    boxes, labels, left = [], [], 0
    touching = np.ones((3,) * mask.ndim)
    for label in classes:
        found, _ = ndimage.label(mask == label, touching)
        for number, where in enumerate(ndimage.find_objects(found), 1):
            if (found[where] == number).sum() < smallest:
                left += 1
                continue
            boxes.append([s.start for s in where] + [s.stop for s in where])
            labels.append(label)
    table = np.array(boxes, float).reshape(-1, 2 * mask.ndim)
    return table, np.array(labels, int), left
