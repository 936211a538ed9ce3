"""The geometry of a series: which slices belong together, in which order, on which grid."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from medssl.data.index.dicom_slice import Header
from medssl.errors import UserError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
FEWEST = 3
GAP_MM, GAP_SHARE = 0.01, 0.01
TILT_DEGREES = 0.5
DRIFT_PIXELS = 0.25


def duplicates(headers: list[Header]) -> set[Path]:
    """Files that share their SOP instance UID with another."""
    files = defaultdict(set)
    for header in headers:
        if header.instance:
            files[header.instance].add(header.path)
    return {path for paths in files.values() if len(paths) > 1 for path in paths}


def grid(headers: list[Header]) -> tuple[list[Header], np.ndarray]:
    """Slices ordered along their normal, and the RAS affine (mm) of array axes (X, Y, Z).

    Raises UserError: DUPLICATE, FEW_SLICES, GEOMETRY, TILT or GAP.
    """
    headers, places = ordered(headers)
    first, steps = headers[0], np.diff(places)
    typical = float(np.median(steps)) if len(steps) else 0.0
    if len(headers) < FEWEST:
        cause = f"{len(headers)} slice(s) of one orientation, expected at least {FEWEST}"
        raise UserError("FEW_SLICES", first.path, cause, "scouts and single slices are left out")
    _refuse_duplicates(headers, places, steps)
    _refuse_mixture(headers)
    positions = np.array([header.position for header in headers])
    _refuse_tilt(positions, headers)
    _refuse_gaps(places, steps, typical, headers)
    affine = np.eye(4)
    affine[:3, 0] = first.axes[0] * first.spacing[1]
    affine[:3, 1] = first.axes[1] * first.spacing[0]
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(headers) - 1)
    affine[:3, 3] = positions[0]
    return headers, LPS_TO_RAS @ affine


def ordered(headers: list[Header]) -> tuple[list[Header], np.ndarray]:
    """Slices in order along the normal of the first one, and where on it they lie, mm."""
    normal = headers[0].normal
    places = np.array([header.position @ normal for header in headers])
    order = np.argsort(places, kind="stable")
    return [headers[i] for i in order], places[order]


def allowed(typical: float) -> float:
    """How far a step between slices may be off the typical one, mm."""
    return max(GAP_MM, GAP_SHARE * typical)


def _refuse_duplicates(headers: list[Header], places: np.ndarray, steps: np.ndarray) -> None:
    if (steps < GAP_MM).any():
        at = int(np.argmax(steps < GAP_MM))
        a, b = headers[at].name, headers[at + 1].name
        count = int((steps < GAP_MM).sum())
        cause = f"two images at one position ({places[at]:.2f} mm): {a} and {b}"
        cause += f" ({count} such pairs)" if count > 1 else ""
        raise UserError("DUPLICATE", headers[at].path, cause, "keep one image a position")


def _refuse_mixture(headers: list[Header]) -> None:
    usual = Counter(header.spacing for header in headers).most_common(1)[0][0]
    for header in headers:
        if not np.allclose(header.spacing, usual, rtol=1e-3):
            cause = f"{header.name} has PixelSpacing {header.spacing}, the others {usual}"
            raise UserError("GEOMETRY", header.path, cause, "export the series again")


def _refuse_tilt(positions: np.ndarray, headers: list[Header]) -> None:
    first, way = headers[0], positions[-1] - positions[0]
    share = (positions - positions[0]) @ way / (way @ way)
    drift = np.linalg.norm(positions - positions[0] - share[:, None] * way, axis=1)
    cosine = abs(way @ first.normal) / np.linalg.norm(way)
    angle = float(np.rad2deg(np.arccos(min(cosine, 1.0))))
    if angle > TILT_DEGREES:
        cause = f"slices are sheared by {angle:.1f} degrees (gantry tilt)"
        raise UserError("TILT", first.path, cause, "correct the tilt and export the series again")
    if drift.max() > max(DRIFT_PIXELS * min(first.spacing), GAP_MM):
        at = int(drift.argmax())
        cause = f"slice {at + 1} ({headers[at].name}) lies {drift.max():.2f} mm beside the others"
        raise UserError("GEOMETRY", headers[at].path, cause, "export the series again")


def _refuse_gaps(
    places: np.ndarray, steps: np.ndarray, typical: float, headers: list[Header]
) -> None:
    off = np.abs(steps - typical)
    if off.max() > allowed(typical):
        at = int(off.argmax())
        missing = round(steps[at] / typical) - 1
        cause = (
            f"{steps[at]:.2f} mm between slices {at + 1} and {at + 2} of {len(headers)} "
            f"({places[at]:.2f} and {places[at + 1]:.2f} mm), expected {typical:.2f} mm"
        )
        if missing > 0 and abs(steps[at] - (missing + 1) * typical) < 0.05 * typical:
            cause += f": {missing} missing"
        raise UserError("GAP", headers[at].path, cause, "add the missing slices or leave it out")
