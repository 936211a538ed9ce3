"""Boxes in COCO form: JSON with `images`, `annotations` and `categories`; and what any box must be."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from medssl.errors import UserError

UNREADABLE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip
OVERHANG = 1.0  # pixels that rounding may push a box over the edge


@dataclass
class CocoImage:
    """One image; `boxes` are {"box": [x0, y0, x1, y1], "class": name} in (column, row) pixels."""

    file_name: str
    width: int
    height: int
    split: str | None = None
    patient: str = ""
    boxes: list[dict] = field(default_factory=list)


def read_coco(path: Path) -> list[CocoImage]:
    """Every image and its boxes; no annotation means no box. Raises UserError LABELS."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        names = _by_id(content["categories"], lambda category: str(category["name"]))
        images = _by_id(content["images"], _image)
        annotations = [
            (a.get("id", n), images.get(a.get("image_id")), a.get("category_id"), a.get("bbox"))
            for n, a in enumerate(content["annotations"])
        ]
        known = [category in names for _, _, category, _ in annotations]
    except UNREADABLE as error:
        cause = f"is no COCO file ({type(error).__name__}: {error})"
        fix = "give a JSON with images, annotations and categories"
        raise UserError("LABELS", path, cause, fix) from error
    for (number, image, category, bbox), is_known in zip(annotations, known, strict=True):
        where = f"annotation {number}"
        if image is None or not is_known:
            cause = f"{where} names an unknown image or category"
            raise UserError("LABELS", path, cause, "correct image_id and category_id")
        image.boxes.append({"box": _box(bbox, image, where, path), "class": names[category]})
    return list(images.values())


def check_size(image: CocoImage, row: pd.Series, source: Path) -> None:
    """Raises UserError LABELS if the boxes were drawn on an image of another size."""
    shape = f"{image.height}x{image.width}"
    if image.width and image.height and row["shape"] and row["shape"] != shape:
        cause = f"{image.file_name} is {shape} (rows x columns) here, the scan {row['shape']}"
        raise UserError("LABELS", source, cause, "draw the boxes on the scans as they are")


def check_inside(found: list[dict], row: pd.Series, source: Path) -> None:
    """Raises UserError LABELS for a box in voxels that the scan has not, or of other axes."""
    size = [int(n) for n in row["shape"].split("x")] if row["shape"] else []
    if len(size) == 2:
        size = size[::-1]  # the shape of a film is rows x columns
    for each in found:
        box, d = each["box"], len(each["box"]) // 2
        if size and len(size) != d:
            cause = f"a box of {row['id']} has {d} axes, the scan {len(size)}"
            raise UserError("LABELS", source, cause, "give films x and y, volumes z also")
        if size and not each.get("space"):
            beyond = max(
                *(-v for v in box[:d]), *(v - n for v, n in zip(box[d:], size, strict=True))
            )
            if beyond > OVERHANG:
                cause = f"box {box} of {row['id']} reaches outside the scan ({row['shape']})"
                raise UserError(
                    "LABELS", source, cause, "count voxels along the file's axes from 0"
                )


def _by_id(records: list[dict], read: Callable[[dict], object]) -> dict:
    found = {}
    for record in records:
        if record["id"] in found:
            raise ValueError(f"id {record['id']} is given twice")
        found[record["id"]] = read(record)
    return found


def _image(image: dict) -> CocoImage:
    split, patient = image.get("split"), image.get("patient_id")
    return CocoImage(
        str(image["file_name"]), int(image.get("width", 0)), int(image.get("height", 0)),
        split if split is None else str(split), "" if patient is None else str(patient),
    )  # fmt: skip


def _box(values, image: CocoImage, where: str, path: Path) -> list[float]:
    fix = "write bbox as [x, y, width, height] in pixels"
    try:
        x, y, width, height = (float(v) for v in values)
    except (TypeError, ValueError) as error:
        raise UserError("LABELS", path, f"{where} has bbox {values!r}", fix) from error
    right = image.width or math.inf
    bottom = image.height or math.inf
    beyond = max(-x, -y, x + width - right, y + height - bottom)
    finite = all(map(math.isfinite, (x, y, width, height)))
    if not finite or min(width, height) <= 0 or beyond > OVERHANG:
        cause = f"{where} has bbox {values} outside {image.file_name} ({right} x {bottom}) or empty"
        raise UserError("LABELS", path, cause, fix)
    return [max(x, 0.0), max(y, 0.0), min(x + width, right), min(y + height, bottom)]
