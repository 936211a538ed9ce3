"""DICOM files to series: grouped by UID, split where one UID holds several, ordered by position."""

import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from medssl.data.index import checks
from medssl.data.index.dicom_header import Header, read_header
from medssl.data.index.dicom_pixels import decode
from medssl.data.index.dicom_series import duplicates, grid, split
from medssl.data.index.row import Row, each, join
from medssl.data.patients import pseudonym
from medssl.data.volume import Volume, spacing_affine
from medssl.errors import UserError

MEND_SERIES = {"CUT", "CODEC", "HEADER", "GEOMETRY", "DTYPE", "SCALE"}


def inspect(paths: list[Path], workers: int = 0) -> list[Row]:
    """One row a series of slices or a film, from headers only, and one a refused file or series.

    A series with a faulty slice is refused as a whole: it must never silently become shorter.
    """
    rows, films, series = [], [], defaultdict(list)
    for header in each(paths, "dicom", read_header, workers):
        if isinstance(header, Row):
            rows.append(header)
        elif not header.sliced or (header.fault and header.fault.code not in MEND_SERIES):
            films.append(header)
        else:
            key = (header.patient, header.study, header.series, header.modality)
            series[key].append(header)
    _remark_broken(rows, series)
    _remark_strays(series)
    films, copies = _without_copies(films)
    rows += copies + [_film(header) for header in films]
    for headers in series.values():
        rows += _series(headers)
    return rows


def read(paths: list[Path]) -> Volume:
    """A volume (1, X, Y, Z) from the slices of one series, or a film (1, rows, columns).

    X runs along the rows (over the columns), Y down the columns, Z along the slices' normal.
    CT is in HU. A film in MONOCHROME1 is inverted: high = bright = dense. Raises UserError.
    """
    headers = [read_header(path) for path in paths]
    for header in headers:
        if header.fault:
            raise header.fault
    first = headers[0]
    if not first.sliced:
        spacing = first.spacing or (1.0, 1.0)
        return Volume(decode(first)[None], spacing_affine(spacing), first.modality)
    headers, affine = grid(headers)
    slices = [decode(header).T for header in headers]
    array = np.stack(slices, axis=-1, dtype=np.result_type(*{s.dtype for s in slices}))
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    return Volume(array[None], affine, first.modality)


def picture(path: Path) -> np.ndarray:
    """The pixels (rows, columns) of one file alone, whatever its series lacks. Raises UserError."""
    header = read_header(path)
    if header.fault:
        raise header.fault
    return decode(header)


def _remark_broken(rows: list[Row], series: dict[tuple, list[Header]]) -> None:
    """A file too broken to name its series may be a missing slice of one beside it."""
    broken = Counter(row.files[0].parent for row in rows if row.code != "NOT_IMAGE")
    alone = {
        key: len(headers) for key, headers in series.items()
        if headers[0].fault and (headers[0].nameless or len(headers) == 1)
    }  # fmt: skip
    for key, count in alone.items():
        broken[series[key][0].path.parent] += count
    for key, headers in series.items():
        count = 0 if key in alone else broken[headers[0].path.parent]
        if count:
            headers[0].remarks.append(f"{count} broken DICOM file(s) of no known series beside it")


def _remark_strays(series: dict[tuple, list[Header]]) -> None:
    """One series UID for two patients, studies or modalities: one of them lost its slices."""
    alike = defaultdict(list)
    for key, headers in series.items():
        if not headers[0].nameless:
            alike[key[2]].append(headers)
    for groups in alike.values():
        for headers in groups if len(groups) > 1 else ():
            headers[0].remarks.append(
                "its SeriesInstanceUID also stands in files of another patient, study or modality"
            )


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


def _series(headers: list[Header]) -> list[Row]:
    headers, rows = _without_copies(headers)
    faulty = [header for header in headers if header.fault]
    if faulty:
        fault = faulty[0].fault
        cause = f"{faulty[0].path.name}: {fault.cause}"
        if len(headers) > 1:
            cause = f"{len(faulty)} of {len(headers)} slices cannot be used; {cause}"
        error = UserError(fault.code, fault.where, cause, fault.fix)
        return [*rows, _refused(headers, error, headers[0].series, [])]
    groups = split(headers)
    for name, group in groups:
        key = headers[0].series if len(groups) == 1 else f"{headers[0].series}|{name}"
        try:
            rows.append(_volume(group, key, name if len(groups) > 1 else ""))
        except UserError as error:
            rows.append(_refused(group, error, key, [name] if len(groups) > 1 else []))
    return rows


def _volume(group: list[Header], key: str, name: str) -> Row:
    ordered, affine = grid(group)
    first = ordered[0]
    remarks = sorted({remark for header in ordered for remark in header.remarks})
    remarks += checks.affine(affine, first.path)
    if name:
        remarks.append(f"one part of a series that holds several: {name}")
    if first.in_acquisition > len(ordered):
        remarks.append(
            f"ImagesInAcquisition is {first.in_acquisition}, found {len(ordered)} slices"
        )
    return Row(
        [header.path for header in ordered], "dicom", pseudonym(key, "s"),
        first.patient, first.study, first.modality, join((first.columns, first.rows, len(ordered))),
        join(np.linalg.norm(affine[:3, :3], axis=0).tolist()), checks.orientation(affine), remarks,
    )  # fmt: skip


def _refused(group: list[Header], error: UserError, key: str, remarks: list[str]) -> Row:
    first = group[0]
    return Row.refused(
        [header.path for header in group], error, "dicom", id=pseudonym(key, "s"),
        patient=first.patient, study=first.study, modality=first.modality,
        remarks=remarks + sorted({remark for header in group for remark in header.remarks}),
    )  # fmt: skip


def _without_copies(headers: list[Header]) -> tuple[list[Header], list[Row]]:
    """Drop byte-identical copies of a slice; each is listed as refused, and the original kept."""
    kept, rows, seen = [], [], {}
    suspects = duplicates(headers)
    for header in headers:
        if header.path in suspects:
            with open(header.path, "rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").digest()
            original = seen.setdefault(digest, header)
            if original is not header:
                cause = f"a byte-identical copy of {original.path.name}"
                error = UserError("COPY", header.path, cause, "nothing to do")
                rows.append(Row.refused([header.path], error, "dicom", patient=header.patient))
                original.remarks.append("an exact copy of a file was dropped")
                continue
        kept.append(header)
    return kept, rows
