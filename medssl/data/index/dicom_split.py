"""Which images of one series make a scan each, and which single one spoils the scan it belongs to."""

import math
import re
from collections import defaultdict
from collections.abc import Callable
from itertools import combinations

import numpy as np

from medssl.data.index.dicom_series import CONTRASTS, FEWEST, GAP_MM, allowed, ordered
from medssl.data.index.dicom_slice import Header
from medssl.errors import UserError

Part = tuple[str, list[Header]]
SAME_AXES = 1e-3
SAME_SPACING = 1e-3
NEAR = 0.1
MOST_TAGS = 3
ALWAYS = ("EchoNumbers", "ConvolutionKernel", "StackID")
# In this order, and none of them unless two images share a place: each may vary in a good volume.
RESOLVERS = (
    "DiffusionBValue", "TemporalPositionIdentifier", "TemporalPositionIndex", "EchoTime",
    "AcquisitionNumber", "ImageType", "DiffusionGradientOrientation", "InversionTime", "FlipAngle",
    "KVP", "NominalPercentageOfCardiacPhase", "NominalCardiacTriggerDelayTime", "TriggerTime", *ALWAYS,
)  # fmt: skip
RANKED, NUMBER = "TriggerTime", re.compile(r"-?\d+(\.\d*)?")


def split(headers: list[Header]) -> list[Part]:
    """Parts of one series, named by what tells them apart.

    Image size, orientation, patient, modality, pixel spacing, echo, kernel and stack always split.
    Other tags do only where two images of a part share a place, or lie unevenly among one another,
    and the split ends that: the fewest parts, by the fewest tags.
    """
    parts = _by(headers, _grid_name())
    for naming in (_identity, _modality, _spacing_name()):
        parts = [(n, p) for name, part in parts for n, p in _by(part, naming, name)]
    for tag in ALWAYS:
        parts = [(n, p) for name, part in parts for n, p in _by_tag(part, tag, name)]
    return [done for name, part in parts for done in _resolved(name, part)]


def odd_ones(parts: list[Part], films: list[Header]) -> list[tuple[Part, list[Header], UserError]]:
    """(scan, single images that fill its gaps or go on at its ends, why they do not fit) of parts."""
    found = []
    singles = [h for _, part in parts if len(part) < FEWEST for h in part] + films
    for part in parts:
        slices = part[1]
        if len(slices) < FEWEST:
            continue
        odd = [header for header in singles if _continues(header, slices)]
        if odd:
            found.append((part, odd, _odd_error(odd[0], slices)))
    return found


def _continues(header: Header, slices: list[Header]) -> bool:
    """Whether an image lies where `slices` lack one, or one step beyond their ends."""
    slices, places = ordered(slices)
    steps = np.diff(places)
    typical = float(np.median(steps))
    if header.position is None or "LOCALIZER" in header.apart.get("ImageType", "") or not typical:
        return False
    first, last = slices[0].position, slices[-1].position
    place = header.position @ slices[0].normal
    along = (place - places[0]) / typical
    beside = first + (last - first) * (place - places[0]) / (places[-1] - places[0])
    return (
        -1 - NEAR < along < (places[-1] - places[0]) / typical + 1 + NEAR
        and abs(along - round(along)) < NEAR
        and np.abs(places - place).min() > (1 - NEAR) * typical
        and np.linalg.norm(header.position - beside) < 2 * max(slices[0].spacing)
    )


def _odd_error(odd: Header, slices: list[Header]) -> UserError:
    usual = slices[0]
    said = {
        "Modality": (odd.modality, usual.modality),
        "Rows": (odd.rows, usual.rows),
        "Columns": (odd.columns, usual.columns),
        "PixelSpacing": (odd.spacing, usual.spacing),
        "ImageOrientationPatient": (_axes(odd), _axes(usual)),
        "PatientID": (odd.patient, usual.patient),
        **{name: (odd.apart.get(name), usual.apart.get(name)) for name in ALWAYS},
    }
    tag, (its, others) = next(
        ((tag, values) for tag, values in said.items() if values[0] != values[1]),
        ("SOPClassUID", (odd.sop_class, usual.sop_class)),
    )
    cause = f"{odd.name} lies among the slices but has {tag} {its}, the others {others}"
    return UserError("GEOMETRY", odd.path, cause, "export the series again, or move the file away")


def _axes(header: Header) -> list[float] | None:
    return None if header.axes is None else np.round(header.axes, 4).ravel().tolist()


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


def _spacing_name() -> Callable[[Header], str]:
    known: list[tuple[float, float]] = []

    def name(header: Header) -> str:
        for spacing in known:
            if all(map(_alike, spacing, header.spacing)):
                break
        else:
            spacing = header.spacing
            known.append(spacing)
        return f"PixelSpacing {spacing[0]:g}x{spacing[1]:g} mm"

    return name


def _alike(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=SAME_SPACING)


def _identity(header: Header) -> str:
    return f"patient {header.patient}, study {header.study}"


def _modality(header: Header) -> str:
    return f"Modality {header.modality}"


def _tag(name: str) -> Callable[[Header], str]:
    return lambda header: f"{name} {header.apart.get(name, '')}"


def _by(headers: list[Header], naming: Callable[[Header], str], prefix: str = "") -> list[Part]:
    parts = defaultdict(list)
    for header in headers:
        parts[naming(header)].append(header)
    if len(parts) == 1:
        return [(prefix or next(iter(parts)), headers)]
    return [(f"{prefix}, {name}" if prefix else name, parts[name]) for name in sorted(parts)]


def _by_tag(part: list[Header], tag: str, name: str) -> list[Part]:
    """Parts by one tag, unless an image lacks it or nearly every one has a value of its own."""
    if not all(header.apart.get(tag) for header in part):
        return [(name, part)]
    pieces = _by(part, _tag(tag), name)
    few = len(pieces) <= 2 or len(part) >= FEWEST * len(pieces)
    return pieces if few else [(name, part)]


def _resolved(name: str, part: list[Header]) -> list[Part]:
    crowd = _crowd(part)
    if crowd == 1 and (len(part) < 2 * FEWEST or _even(part)):
        return [(name, part)]
    dimensions = sorted({tag for header in part for tag in header.apart if " " in tag})
    usable = (*RESOLVERS, *dimensions) if crowd > 1 else CONTRASTS
    tags = [tag for tag in usable if len({h.apart.get(tag) for h in part}) > 1]
    found = []
    for count in range(1, MOST_TAGS + 1):
        for chosen in combinations(tags, count):
            pieces = [(name, part)]
            for tag in chosen:
                pieces = [
                    (n, p) for known, piece in pieces for n, p in _by(piece, _tag(tag), known)
                ]
            if _apart(pieces, crowd):
                found.append(pieces)
        if found:  # more tags would only make more pieces
            break
    if not found and crowd > 1:
        found = _ranked(name, part, crowd)
    return min(found, key=len) if found else [(name, part)]


def _crowd(headers: list[Header]) -> int:
    """The most images that share a place."""
    places = ordered(headers)[1]
    most = count = 1
    for step in np.diff(places):
        count = count + 1 if step < GAP_MM else 1
        most = max(most, count)
    return most


def _even(headers: list[Header]) -> bool:
    steps = np.diff(ordered(headers)[1])
    typical = np.median(steps)
    return bool(np.abs(steps - typical).max() <= allowed(typical))


def _apart(pieces: list[Part], crowd: int) -> bool:
    """Whether pieces are scans of their own: no shared place in any, and not torn to single images.

    Where none shared a place before, pieces must be even, and lie among one another.
    """
    slices = [piece for _, piece in pieces]
    if any(_crowd(piece) > 1 for piece in slices):
        return False
    if crowd > 1:
        return len(slices) == crowd or sum(map(len, slices)) >= FEWEST * len(slices)
    if any(len(piece) < FEWEST or not _even(piece) for piece in slices):
        return False
    normal = slices[0][0].normal
    ends = [[h.position @ normal for h in piece] for piece in slices]
    return max(min(e) for e in ends) < min(max(e) for e in ends)


def _ranked(name: str, part: list[Header], crowd: int) -> list[list[Part]]:
    """Phases by the order of their trigger times at each place, which differ from place to place."""
    if not all(NUMBER.fullmatch(header.apart.get(RANKED, "")) for header in part):
        return []
    slices, places = ordered(part)
    groups = np.split(np.arange(len(slices)), np.flatnonzero(np.diff(places) >= GAP_MM) + 1)
    phases = defaultdict(list)
    for group in groups:
        by_time = sorted(group, key=lambda i: float(slices[i].apart[RANKED]))
        if len(group) != crowd or len({slices[i].apart[RANKED] for i in group}) != crowd:
            return []
        for phase, i in enumerate(by_time, 1):
            phases[phase].append(slices[i])
    return [[(f"{name}, phase {phase} of {crowd}", piece) for phase, piece in phases.items()]]
