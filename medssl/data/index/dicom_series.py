"""The geometry of a series: which slices belong together, in which order, on which grid."""

from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from medssl.data.index.dicom_header import Header
from medssl.errors import UserError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
FEWEST = 3
GAP_MM, GAP_SHARE = 0.01, 0.01
TILT_DEGREES = 0.5
DRIFT_PIXELS = 0.25
SAME_AXES = 1e-3
RESOLVERS = ("TemporalPositionIdentifier", "AcquisitionNumber", "EchoTime", "ImageType")


def duplicates(headers: list[Header]) -> set[Path]:
    """Files that share their SOP instance UID with another."""
    count = Counter(header.instance for header in headers)
    return {header.path for header in headers if header.instance and count[header.instance] > 1}


def split(headers: list[Header]) -> list[tuple[str, list[Header]]]:
    """Parts of one series, named by what tells them apart.

    Image size, orientation and echo always split; temporal position, acquisition, echo time and
    image type do only where two slices of a part share a position and the split ends that.
    """
    parts = _by(headers, _grid_name())
    parts = [(n, p) for name, part in parts for n, p in _by(part, _tag("EchoNumbers"), name)]
    return [done for name, part in parts for done in _resolved(name, part)]


def grid(headers: list[Header]) -> tuple[list[Header], np.ndarray]:
    """Slices ordered along their normal, and the RAS affine (mm) of array axes (X, Y, Z).

    Raises UserError: DUPLICATE, FEW_SLICES, GEOMETRY, TILT or GAP.
    """
    first = headers[0]
    places = np.array([header.position @ first.normal for header in headers])
    order = np.argsort(places, kind="stable")
    headers, places = [headers[i] for i in order], places[order]
    steps = np.diff(places)
    typical = float(np.median(steps)) if len(steps) else 0.0
    _refuse_duplicates(headers, places, steps)
    if len(headers) < FEWEST:
        cause = f"{len(headers)} slice(s) of one orientation, expected at least {FEWEST}"
        raise UserError("FEW_SLICES", first.path, cause, "scouts and single slices are left out")
    _refuse_mixture(headers)
    positions = np.array([header.position for header in headers])
    _refuse_tilt(positions, headers[0])
    _refuse_gaps(places, steps, typical, headers)
    affine = np.eye(4)
    affine[:3, 0] = headers[0].axes[0] * headers[0].spacing[1]
    affine[:3, 1] = headers[0].axes[1] * headers[0].spacing[0]
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(headers) - 1)
    affine[:3, 3] = positions[0]
    return headers, LPS_TO_RAS @ affine


def _grid_name() -> Callable[[Header], str]:
    """Names image size and orientation; orientations within rounding get the same number."""
    known: list[np.ndarray] = []

    def name(header: Header) -> str:
        same = [np.abs(axes - header.axes).max() < SAME_AXES for axes in known] + [True]
        number = same.index(True)
        if number == len(known):
            known.append(header.axes)
        return f"{header.columns}x{header.rows}, orientation {number + 1}"

    return name


def _tag(name: str) -> Callable[[Header], str]:
    return lambda header: f"{name} {header.apart[name]}"


def _by(headers: list[Header], naming: Callable[[Header], str], prefix: str = ""):
    parts = defaultdict(list)
    for header in headers:
        parts[naming(header)].append(header)
    if len(parts) == 1:
        return [(prefix or next(iter(parts)), headers)]
    return [(f"{prefix}, {name}" if prefix else name, parts[name]) for name in sorted(parts)]


def _resolved(name: str, part: list[Header]) -> list[tuple[str, list[Header]]]:
    if not _shares_position(part):
        return [(name, part)]
    for tag in RESOLVERS:
        pieces = _by(part, _tag(tag), name)
        if len(pieces) > 1 and not any(_shares_position(piece) for _, piece in pieces):
            return pieces
    return [(name, part)]


def _shares_position(headers: list[Header]) -> bool:
    places = np.sort([header.position @ headers[0].normal for header in headers])
    return bool((np.diff(places) < GAP_MM).any())


def _refuse_duplicates(headers: list[Header], places: np.ndarray, steps: np.ndarray) -> None:
    if (steps < GAP_MM).any():
        at = int(np.argmax(steps < GAP_MM))
        a, b = headers[at].path.name, headers[at + 1].path.name
        count = int((steps < GAP_MM).sum())
        cause = f"two images at one position ({places[at]:.2f} mm): {a} and {b}"
        cause += f" ({count} such pairs)" if count > 1 else ""
        raise UserError("DUPLICATE", headers[at].path, cause, "keep one image a position")


def _refuse_mixture(headers: list[Header]) -> None:
    usual = Counter(header.spacing for header in headers).most_common(1)[0][0]
    for header in headers:
        if not np.allclose(header.spacing, usual, rtol=1e-3):
            cause = f"{header.path.name} has PixelSpacing {header.spacing}, the others {usual}"
            raise UserError("GEOMETRY", header.path, cause, "export the series again")


def _refuse_tilt(positions: np.ndarray, first: Header) -> None:
    way = positions[-1] - positions[0]
    cosine = abs(way @ first.normal) / np.linalg.norm(way)
    angle = float(np.rad2deg(np.arccos(min(cosine, 1.0))))
    if angle > TILT_DEGREES:
        cause = f"slices are sheared by {angle:.1f} degrees (gantry tilt)"
        raise UserError("TILT", first.path, cause, "correct the tilt and export the series again")
    share = (positions - positions[0]) @ way / (way @ way)
    drift = np.linalg.norm(positions - positions[0] - share[:, None] * way, axis=1)
    if drift.max() > max(DRIFT_PIXELS * min(first.spacing), GAP_MM):
        cause = f"slice {int(drift.argmax()) + 1} lies {drift.max():.2f} mm beside the others"
        raise UserError("GEOMETRY", first.path, cause, "export the series again")


def _refuse_gaps(
    places: np.ndarray, steps: np.ndarray, typical: float, headers: list[Header]
) -> None:
    off = np.abs(steps - typical)
    if off.max() > max(GAP_MM, GAP_SHARE * typical):
        at = int(off.argmax())
        missing = round(steps[at] / typical) - 1
        cause = (
            f"{steps[at]:.2f} mm between slices {at + 1} and {at + 2} of {len(headers)} "
            f"({places[at]:.2f} and {places[at + 1]:.2f} mm), expected {typical:.2f} mm"
        )
        if missing > 0 and abs(steps[at] - (missing + 1) * typical) < 0.05 * typical:
            cause += f": {missing} missing"
        raise UserError("GAP", headers[at].path, cause, "add the missing slices or leave it out")
