"""The geometry of a series: which slices belong together, in which order, on which grid."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from medssl.data.index.dicom_slice import Header
from medssl.data.volume import LPS_TO_RAS
from medssl.errors import UserError

FEWEST = 3
GAP_MM, GAP_SHARE = 0.01, 0.01
TILT_DEGREES = 0.5
DRIFT_PIXELS = 0.25
# Why images mix that need no common place to do so: half-way between each other, for example.
CONTRASTS = (
    "DiffusionBValue", "TemporalPositionIdentifier", "TemporalPositionIndex", "EchoTime",
    "InversionTime", "FlipAngle", "KVP",
)  # fmt: skip
ODD_TYPES = ("LOCALIZER", "DERIVED", "PROJECTION", "MIP")
ALIKE_SHARE = 0.05
USUAL_SLOPE = 0.01, 10.0  # of CT, HU a stored step


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


def scale_remarks(headers: list[Header]) -> list[str]:
    """What is odd about the rescaling of slices. Raises UserError SCALE if only some are rescaled."""
    names = ("RescaleSlope", "RescaleIntercept")
    for at, (name, neutral) in enumerate(zip(names, (1.0, 0.0), strict=True)):
        given = [h for h in headers if h.scale[at] is not None]
        lacking = [h for h in headers if h.scale[at] is None]
        if lacking and any(h.scale[at] != neutral for h in given):
            cause = f"{lacking[0].name} has no {name} ({len(lacking)} of {len(headers)} slices), "
            cause += f"{given[0].name} has {given[0].scale[at]:g}"
            raise UserError("SCALE", lacking[0].path, cause, "export the series again")
    slopes = sorted({h.scale[0] for h in headers if h.scale[0] is not None})
    if headers[0].modality != "CT" or not slopes:
        return []
    remarks = []
    if not USUAL_SLOPE[0] <= slopes[0] <= slopes[-1] <= USUAL_SLOPE[1]:
        remarks.append(f"RescaleSlope is {slopes[0]:g}, unusual for CT")
    if len(slopes) > 1:
        remarks.append(f"RescaleSlope differs between slices ({slopes[0]:g} to {slopes[-1]:g})")
    return remarks


def contrast_remarks(headers: list[Header]) -> list[str]:
    """What says that slices show different things although nothing has told them apart."""
    remarks = []
    for tag in CONTRASTS:
        values = {header.apart.get(tag, "") for header in headers}
        # One a slice is a way to number them.
        if 1 < len(values) <= len(headers) / 2 and not _nearly_alike(values):
            remarks.append(f"{tag} has {len(values)} values among its slices")
    for word in ODD_TYPES:
        count = sum(word in header.apart.get("ImageType", "") for header in headers)
        if 0 < count < len(headers):
            remarks.append(f"ImageType is {word} in {count} of {len(headers)} slices")
    return remarks


def _nearly_alike(values: set[str]) -> bool:
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return False
    return max(numbers) - min(numbers) <= ALIKE_SHARE * abs(max(numbers, key=abs))


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
