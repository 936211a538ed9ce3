"""Files beside a series of slices that may be slices it lacks, told by their names."""

import re
from collections import defaultdict
from pathlib import Path

from medssl.data.index.row import Row
from medssl.errors import UserError

LOST = {("", "EMPTY"), ("", "UNREADABLE"), ("", "NOT_IMAGE"), ("dicom", "UNREADABLE"),
        ("dicom", "CUT"), ("dicom", "HEADER")}  # fmt: skip


def doubt_incomplete(rows: list[Row], others: list[Row]) -> list[Row]:
    """`rows`, where a file too broken to name its series may be a missing slice of one beside it.

    A scan alone in its folder is refused if the broken file is named like its slices, digits
    aside; any other scan gets a remark. So does one alone in its folder beside any other file that is
    named like its slices: whatever that file says it is may be its damage. `others` are files that no
    reader took.
    """
    broken, alone, scans = defaultdict(list), defaultdict(list), defaultdict(list)
    for row in [*rows, *others]:
        if row.used and row.format == "dicom" and len(row.files) > 1:
            scans[row.files[0].parent].append(row)
        elif (row.format, row.code) in LOST and not row.patient:
            broken[row.files[0].parent].append(row)
        elif row.format in ("dicom", "") and len(row.files) == 1 and row.code != "COPY":
            alone[row.files[0].parent].append(row)
    for folder in alone.keys() & scans.keys():
        row = scans[folder][0]
        names = {_pattern(path) for path in row.files}
        alike = [a.files[0].name for a in alone[folder] if {_pattern(a.files[0])} == names]
        if alike and len(scans[folder]) == 1:
            row.remarks.append(
                f"{len(alike)} file(s) named like its slices beside it are none of it"
            )
    refused = {}
    for folder in broken.keys() & scans.keys():
        for row in scans[folder]:
            names = {_pattern(path) for path in row.files}
            alike = [b for b in broken[folder] if {_pattern(b.files[0])} == names]
            if alike and len(scans[folder]) == 1:
                refused[id(row)] = _incomplete(row, alike)
            elif alike or any(b.format == "dicom" for b in broken[folder]):
                count = len(alike or broken[folder])
                row.remarks.append(f"{count} broken file(s) of no known series beside it")
    return [refused.get(id(row), row) for row in rows]


def _pattern(path: Path) -> str:
    return re.sub(r"\d+", "#", path.name)


def _incomplete(row: Row, alike: list[Row]) -> Row:
    cause = f"{alike[0].files[0].name} beside its {len(row.files)} slices is named like them, "
    cause += f"but broken ({alike[0].code}); {len(alike)} slice(s) may be missing"
    fix = "fetch it again, or move it away if it is none of this scan"
    error = UserError("MISSING", row.files[0], cause, fix)
    known = {n: getattr(row, n) for n in ("id", "patient", "study", "modality", "remarks")}
    return Row.refused(row.files, error, row.format, **known)
