"""DICOM files to series: grouped by UID, split where one UID holds several, ordered by position."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from medssl.data.index import checks
from medssl.data.index.dicom_header import NO_SERIES, read_headers
from medssl.data.index.dicom_pixels import decode, decode_all
from medssl.data.index.dicom_series import contrast_remarks, duplicates, grid, scale_remarks
from medssl.data.index.dicom_slice import Header
from medssl.data.index.dicom_split import odd_ones, split
from medssl.data.index.row import Row, each, join, unreadable
from medssl.data.patients import pseudonym
from medssl.data.volume import Volume, spacing_affine
from medssl.errors import UserError

MOST_SLICES = 99_999
MEND_SERIES = {"CUT", "CODEC", "HEADER", "GEOMETRY", "DTYPE", "SCALE"}


def inspect(paths: list[Path], workers: int = 0) -> list[Row]:
    """One row a scan of slices or frames or a film, from headers only, and one a refused file.

    A series with a faulty slice is refused as a whole: it must never silently become shorter.
    """
    rows, films, series = [], [], defaultdict(list)
    for path, headers in zip(paths, each(paths, "dicom", read_headers, workers), strict=True):
        if isinstance(headers, Row):
            rows.append(headers)
            continue
        for header in headers:
            header.path = path  # instead of the copy that came from another process
            if header.fault and header.series.startswith(NO_SERIES):
                rows.append(Row.refused([header.path], header.fault, "dicom"))
                break
            bad = header.fault and header.fault.code not in MEND_SERIES
            if bad and header.frame:  # one row a file
                rows.append(
                    Row.refused([header.path], header.fault, "dicom", patient=header.patient)
                )
                break
            if not header.sliced or bad:
                films.append(header)
            else:
                series[header.series].append(header)
    films, copies = _without_copies(films)
    rows += copies
    placed = defaultdict(list)
    for film in films:
        if film.position is not None and film.series in series:
            placed[film.series].append(film)
    taken = set()
    for name, headers in series.items():
        found, odd = _series(headers, placed[name])
        rows += found
        taken |= odd
    rows += [_film(header) for header in films if header.path not in taken]
    return rows


def read(paths: list[Path], frames: list[list[int]] | None = None) -> Volume:
    """A volume (1, X, Y, Z) from the slices of one series, or a film (1, rows, columns).

    `frames` are the numbers, from 1, of the frames of each file that belong to the scan; all if
    not given. X runs along the rows (over the columns), Y down the columns, Z along the slices'
    normal. CT is in HU. A film in MONOCHROME1 is inverted: high = bright = dense. Raises UserError.
    """
    headers = []
    for path, wanted in zip(paths, frames or [None] * len(paths), strict=True):
        headers += [h for h in read_headers(path) if wanted is None or h.frame in wanted]
    for header in headers:
        if header.fault:
            raise header.fault
    first = headers[0]
    if not first.sliced:
        spacing = first.spacing or (1.0, 1.0)
        images, remarks = decode_all([first])
        return Volume(images[0][None], spacing_affine(spacing), first.modality, remarks)
    headers, affine = grid(headers)
    images, remarks = decode_all(headers)
    slices = [values.T for values in images]
    array = np.stack(slices, axis=-1, dtype=np.result_type(*{s.dtype for s in slices}))
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    return Volume(array[None], affine, first.modality, remarks)


def picture(path: Path) -> np.ndarray:
    """The pixels (rows, columns) of a file's only image or middle frame, whatever its series lacks.

    Raises UserError.
    """
    headers = read_headers(path)
    header = headers[len(headers) // 2]
    if header.fault:
        raise header.fault
    return decode(header)


def _film(header: Header) -> Row:
    id = pseudonym(f"{header.series}|{header.instance or header.path.name}", "s")
    known = {
        "id": id,
        "patient": header.patient,
        "study": header.study,
        "modality": header.modality,
        "remarks": header.remarks,
    }
    if header.rows:
        known["shape"] = join((header.rows, header.columns))
    if header.fault:
        return Row.refused([header.path], header.fault, "dicom", **known)
    spacing = tuple(float(s) for s in header.spacing or (1.0, 1.0))
    return Row([header.path], "dicom", spacing=join(spacing), **known)


def _series(headers: list[Header], films: list[Header]) -> tuple[list[Row], set[Path]]:
    """The rows of one series, and those of the `films` that turn out to spoil it."""
    headers, rows = _without_copies(headers)
    faulty = [header for header in headers if header.fault]
    if faulty:
        fault = faulty[0].fault
        cause = f"{faulty[0].path.name}: {fault.cause}"
        if len(headers) > 1:
            cause = f"{len(faulty)} of {len(headers)} slices cannot be used; {cause}"
        error = UserError(fault.code, fault.where, cause, fault.fix)
        return [*rows, _refused(headers, error, headers[0].series, [])], set()
    parts, taken = split(headers), set()
    several = len(parts) > 1
    doubts = _doubts(headers)
    for (name, part), odd, error in odd_ones(parts, films):
        group = part + [header for header in odd if id(header) not in taken]
        taken |= {id(header) for header in group}
        rows.append(_refused(group, error, f"{headers[0].series}|{name}", []))
    for name, part in parts:
        group = [header for header in part if id(header) not in taken]
        key = f"{headers[0].series}|{name}" if several else headers[0].series
        if not group:
            continue
        remarks = [f"one part of a series that holds several: {name}"] if several else []
        try:
            rows.append(_volume(group, key, remarks + doubts))
        except UserError as error:
            rows.append(_refused(group, error, key, remarks))
    return rows, {film.path for film in films if id(film) in taken}


def _doubts(headers: list[Header]) -> list[str]:
    """What counts say of slices that no gap tells, such as those missing at an end."""
    doubts = []
    promised = _usual(header.in_acquisition for header in headers)
    if promised > len(headers):
        doubts.append(f"ImagesInAcquisition is {promised}, found {len(headers)} slices")
    numbers = sorted({h.number for h in headers if h.number is not None})
    if len(numbers) == len(headers):
        low, high = numbers[0], numbers[-1]
        lacking = high + 1 - min(low, 1) - len(numbers)
        if 0 < lacking <= len(numbers):  # series that count from 1000 or by tens lack nothing
            doubts.append(
                f"InstanceNumber runs from {low} to {high}, found {len(numbers)} images: "
                "slices may be missing"
            )
    return doubts


def _usual(counts: Iterable[int]) -> int:
    """What most slices say, or 0 if that is no number of slices."""
    count = Counter(counts).most_common(1)[0][0]
    return count if count <= MOST_SLICES else 0


def _volume(group: list[Header], key: str, remarks: list[str]) -> Row:
    ordered, affine = grid(group)
    first = ordered[0]
    remarks = sorted({remark for header in ordered for remark in header.remarks}) + remarks
    remarks += checks.affine(affine, first.path) + scale_remarks(ordered)
    remarks += contrast_remarks(ordered)
    references = len({header.reference for header in ordered})
    if references > 1:
        remarks.append(f"its slices name {references} frames of reference")
    promised = _usual(header.in_volume for header in ordered)
    if promised > len(ordered):
        remarks.append(f"NumberOfSlices is {promised}, found {len(ordered)} slices")
    return Row(
        _files(ordered), "dicom", pseudonym(key, "s"),
        first.patient, first.study, first.modality, join((first.columns, first.rows, len(ordered))),
        join(np.linalg.norm(affine[:3, :3], axis=0).tolist()), checks.orientation(affine), remarks,
        frames=_frames(ordered),
    )  # fmt: skip


def _files(headers: list[Header]) -> list[Path]:
    return list(dict.fromkeys(header.path for header in headers))


def _frames(headers: list[Header]) -> list[list[int]]:
    """The numbers of the frames of each file, or none if whole files are used."""
    numbers = defaultdict(list)
    for header in headers:
        numbers[header.path].append(header.frame)
    whole = all(len(numbers[header.path]) == header.frames for header in headers)
    return [] if whole else [sorted(numbers[path]) for path in _files(headers)]


def _refused(group: list[Header], error: UserError, key: str, remarks: list[str]) -> Row:
    first = group[0]
    return Row.refused(
        _files(group), error, "dicom", id=pseudonym(key, "s"),
        patient=first.patient, study=first.study, modality=first.modality,
        remarks=remarks + sorted({remark for header in group for remark in header.remarks}),
    )  # fmt: skip


def _without_copies(headers: list[Header]) -> tuple[list[Header], list[Row]]:
    """Drop byte-identical copies of a file; each is listed as refused, and the original kept."""
    rows, seen, dropped = [], {}, set()
    suspects = duplicates(headers)
    firsts = {header.path: header for header in reversed(headers) if header.path in suspects}
    for path in sorted(firsts):
        try:
            with open(path, "rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").digest()
        except OSError as error:  # gone, since its header was read
            firsts[path].fault = unreadable(path, error)
            continue
        original = firsts[seen.setdefault(digest, path)]
        if original.path != path:
            dropped.add(path)
            cause = f"a byte-identical copy of {original.path.name}"
            error = UserError("COPY", path, cause, "nothing to do")
            rows.append(Row.refused([path], error, "dicom", patient=firsts[path].patient))
            original.remarks.append("an exact copy of a file was dropped")
    kept = Counter(firsts[path].instance for path in firsts.keys() - dropped)
    for path in firsts.keys() - dropped:
        if kept[firsts[path].instance] > 1:
            firsts[path].remarks.append("another image of other content has its SOPInstanceUID")
    return [header for header in headers if header.path not in dropped], rows
