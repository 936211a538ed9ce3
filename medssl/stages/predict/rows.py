"""What is found in a scan, as rows of the tables: scores, boxes and volumes."""

import numpy as np

from medssl.data.located import as_in_files, moved
from medssl.data.preprocess import Prepared
from medssl.data.volume import Volume
from medssl.evaluation.detection import EDGES, Boxes
from medssl.tasks.ensemble import Ensemble

WRITTEN = SCORES, VOLUMES, BOXES = "scores.csv", "volumes.csv", "boxes.csv"
CENTRE = ("centre_right_mm", "centre_front_mm", "centre_top_mm")


def apart(task: Ensemble, spread: np.ndarray | None) -> dict[str, float]:
    """Standard deviations over models of each score of a whole scan."""
    names = task.answer.names
    return (
        {}
        if spread is None
        else {f"sd_{n}": round(float(sd), 6) for n, sd in zip(names, spread, strict=True)}
    )


def placed_in(found: Boxes, prepared: Prepared, scan: Volume) -> np.ndarray:
    """Found boxes (n, 2 d) in voxels of the scan as it is, along its axes, no further than it reaches."""
    to_scan = np.linalg.inv(scan.affine) @ prepared.image.affine
    return np.clip(moved(found.box, to_scan), 0, np.tile(scan.shape, 2))


def of_boxes(
    found: Boxes, placed: np.ndarray, spread: np.ndarray | None, task: Ensemble, scan: Volume,
    known: bool,
) -> list[dict]:  # fmt: skip
    """A row a box, in the form that `medssl index` reads; one without numbers where there is none, and
    without millimetres where the spacing of pixels is not known."""
    d, rows = scan.ndim, found.rows(task.classes, as_in_files(placed))
    centres = CENTRE if d == 3 else ()
    columns = ["class", "score", *EDGES[d], "called", "longest_side_mm", *centres]
    if not rows:
        return [dict.fromkeys(columns)]
    middle = (placed[:, :d] + placed[:, d:]) / 2 - 0.5
    middle = (middle @ scan.affine[:d, :d].T + scan.affine[:d, 3]).round(3).tolist()
    sides = ((placed[:, d:] - placed[:, :d]) * scan.spacing).max(1).round(3).tolist()
    for k, row in enumerate(rows):
        row["called"] = bool(found.score[k] >= task.threshold)
        row["longest_side_mm"] = sides[k] if known else None
        row |= dict(zip(centres, middle[k], strict=False))
        if spread is not None:
            row["sd_score"] = round(float(spread[k]), 6)
    return rows


def of_volumes(
    labels: Volume, classes: dict[int, str], prepared: tuple[float, ...], spread: np.ndarray | None
) -> list[dict]:
    """How much there is of each class, ml, of a film mm2, and its standard deviation over models; those
    count voxels of the prepared size."""
    unit, factor = ("area_mm2", 1.0) if labels.ndim == 2 else ("volume_ml", 1e-3)
    rows = []
    for place, (k, name) in enumerate(classes.items()):
        size = (labels.array == k).sum() * np.prod(labels.spacing) * factor
        rows.append({"class": name, unit: round(float(size), 4)})
        if spread is not None:
            rows[-1][f"sd_{unit}"] = round(float(spread[place] * np.prod(prepared) * factor), 4)
    return rows
