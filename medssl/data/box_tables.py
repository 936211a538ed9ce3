"""Boxes from a table: a line a box, in voxels or in world millimetres.

What its columns are called says what the numbers mean:

x0, y0, x1, y1                          films: pixels, column then row, the edges of the box
x0, y0, z0, x1, y1, z1                  volumes: voxels along the file's axes, the edges of the box
xmin, ymin, (zmin,) xmax, ymax, (zmax)  the same
r0, a0, s0, r1, a1, s1                  millimetres to the right, front and top, as NIfTI has them
l0, p0, s0, l1, p1, s1                  millimetres to the left, back and top, as DICOM and ITK have them
coordX, coordY, coordZ, diameter_mm     a ball, as LUNA16 has it: left, back, top

Voxel number i reaches from i to i + 1. `class` names what is in a box. A line without any number says
that there is nothing in the scan. What `medssl predict` writes beside its boxes is left out, and so are
boxes that it does not call.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.errors import UserError

FINDING = "finding"  # the class where a table has none
FORMS = {
    ("x0", "y0", "z0", "x1", "y1", "z1"): "",
    ("x0", "y0", "x1", "y1"): "",
    ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax"): "",
    ("xmin", "ymin", "xmax", "ymax"): "",
    ("r0", "a0", "s0", "r1", "a1", "s1"): "RAS",
    ("l0", "p0", "s0", "l1", "p1", "s1"): "LPS",
    ("coordx", "coordy", "coordz", "diameter_mm"): "LPS",
}
PREDICTED = re.compile(r"(sd_)?score|called|longest_side_mm|centre_(right|front|top)_mm")


def taken(table: pd.DataFrame, source: Path) -> tuple[pd.DataFrame, list[dict | None] | None]:
    """The table without its columns of boxes, and each line's box, None where it says that there is none;
    None in place of all of them if the table has no such columns. Raises UserError LABELS."""
    plain = {c.lower(): c for c in table}
    forms = [form for form in FORMS if set(form) <= set(plain)]
    if not forms:
        return table, None
    if others := [f for f in forms if not set(f) <= set(forms[0])]:
        cause = f"gives boxes twice: {', '.join(forms[0])} and {', '.join(others[0])}"
        raise UserError("LABELS", source, cause, "keep one of them")
    form = forms[0]
    columns = [plain[c] for c in form]
    given = table[columns]
    numbers = given.apply(pd.to_numeric, errors="coerce")
    empty = (given == "").all(axis=1)
    if "called" in plain:
        empty |= table[plain["called"]].str.lower() == "false"
    wrong = ~np.isfinite(numbers.to_numpy(float)).all(1) & ~empty.to_numpy()
    kind = table[plain["class"]] if "class" in plain else pd.Series(FINDING, index=table.index)
    values, lines = numbers.to_numpy(float), list(table.index)
    if form[-1] == "diameter_mm":
        half = values[:, 3:] / 2
        values = np.hstack([values[:, :3] - half, values[:, :3] + half])
    d = values.shape[1] // 2
    with np.errstate(invalid="ignore"):
        wrong |= ~(values[:, :d] < values[:, d:]).all(1) & ~empty.to_numpy()
    wrong |= (kind == "").to_numpy() & ~empty.to_numpy()
    if wrong.any():
        line = int(np.flatnonzero(wrong)[0])
        said = ", ".join(f"{c}={given.iloc[line][c]}" for c in columns)
        cause = f"line {lines[line]} holds no box of a class: {said}"
        fix = "give every number, the lower edges first, and a class; or none for a scan without a finding"
        raise UserError("LABELS", source, cause, fix)
    boxes = [
        None if none else {"box": [float(v) for v in box], "class": str(name)}
        for none, box, name in zip(empty, values, kind, strict=True)
    ]
    if FORMS[form]:  # whether it lies in the scan can only be told later, and then by its line
        for line, box in zip(lines, boxes, strict=True):
            if box is not None:
                box |= {"space": FORMS[form], "line": int(line)}
    used = [*columns, *([plain["class"]] if "class" in plain else [])]
    if "called" in plain:
        used += [column for name, column in plain.items() if PREDICTED.fullmatch(name)]
    return table.drop(columns=used), boxes
