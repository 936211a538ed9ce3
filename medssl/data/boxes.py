"""Boxes in COCO form: JSON with `images`, `annotations` and `categories`; and what any box must be."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from medssl.data.paths import listed
from medssl.errors import UserError

PARTS = ("categories", "images", "annotations")
OVERHANG = 1.0  # pixels that rounding may push a box over the edge


@dataclass
class CocoImage:
    """One image; `boxes` are {"box": [x0, y0, x1, y1], "class": name} in (column, row) pixels, with
    "ignored" where something is that is neither to be found nor false (COCO's iscrowd), and `sources`
    what each is called in the file."""

    file_name: str
    width: int
    height: int
    split: str | None = None
    patient: str = ""
    boxes: list[dict] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)


def read_coco(path: Path) -> list[CocoImage]:
    """Every image and its boxes; no annotation means no box. Raises UserError LABELS that names the
    entry which is wrong, what it should be, and how to mend it."""
    content = _content(path)
    categories, images, annotations = (_entries(content, part, path) for part in PARTS)
    names = _by_id(categories, "category", _category, path)
    found = _by_id(images, "image", _image, path)
    for number, entry in enumerate(annotations, 1):
        id = entry.get("id")
        where = f"annotation {id}" if _is_id(id) else f"entry {number} of annotations"
        image = _known(entry, "image_id", found, where, path)
        where += f" (on {image.file_name})"
        name = _known(entry, "category_id", names, where, path)
        box = {"box": _box(entry.get("bbox"), image, where, path), "class": name}
        image.boxes.append(box | ({"ignored": True} if _is_crowd(entry, where, path) else {}))
        image.sources.append(where)
    return list(found.values())


def check_size(image: CocoImage, row: pd.Series, source: Path) -> None:
    """Raises UserError LABELS if the boxes were drawn on an image of another size."""
    shape = f"{image.height}x{image.width}"
    if image.width and image.height and row["shape"] and row["shape"] != shape:
        cause = f"{image.file_name} is {shape} (rows x columns) here, the scan {row['shape']}"
        raise UserError("LABELS", source, cause, "draw the boxes on the scans as they are")


def check_inside(given: dict, row: pd.Series, source: Path, where: str) -> None:
    """Raises UserError LABELS for a box in voxels that the scan has not, or of other axes; `where` in the
    source it stands."""
    size = [int(n) for n in row["shape"].split("x")] if row["shape"] else []
    if len(size) == 2:
        size = size[::-1]  # the shape of a film is rows x columns
    box, d = given["box"], len(given["box"]) // 2
    if size and len(size) != d:
        cause = f"{where}: a box of {row['id']} has {d} axes, the scan {len(size)}"
        raise UserError("LABELS", source, cause, "give films x and y, volumes z also")
    if size and not given.get("space"):
        beyond = max(*(-v for v in box[:d]), *(v - n for v, n in zip(box[d:], size, strict=True)))
        if beyond > OVERHANG:
            there = ", ".join(f"{axis} to {n}" for axis, n in zip("xyz", size, strict=False))
            cause = f"{where}: box {box} of {row['id']} reaches outside the scan ({there})"
            raise UserError("LABELS", source, cause, "count voxels along the file's axes from 0")


def _content(path: Path) -> dict:
    fix = "give a JSON with images, annotations and categories, in UTF-8"
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError("LABELS", path, f"cannot be read ({error.strerror})", fix) from error
    except UnicodeDecodeError as error:
        raise UserError("LABELS", path, f"is not UTF-8 (byte {error.start})", fix) from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise UserError("LABELS", path, f"is no JSON from {place} on", fix) from error
    except ValueError as error:
        raise UserError("LABELS", path, "holds a number that is too long to read", fix) from error
    except RecursionError as error:
        raise UserError("LABELS", path, "is nested too deeply to be a COCO file", fix) from error
    if not isinstance(content, dict):
        said = (
            "holds a list, as COCO has for results" if isinstance(content, list) else "is no object"
        )
        raise UserError("LABELS", path, f"{said}, and is no COCO file of labels", fix)
    return content


def _entries(content: dict, part: str, path: Path) -> list[dict]:
    """One of the three lists. Raises UserError LABELS if it is missing, or anything else."""
    entries = content.get(part)
    if not isinstance(entries, list):
        what = "is no list" if part in content else "is missing"
        there = f"; it has {listed([str(k) for k in content], 5)}" if content else "; it is empty"
        cause = f"is no COCO file of labels: {part} {what}{there}"
        raise UserError("LABELS", path, cause, f"give {part} as a list of objects")
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            cause = f"entry {number} of {part} is {_said(entry)}, expected an object"
            raise UserError("LABELS", path, cause, "write {...} with the keys that COCO has there")
    return entries


def _by_id(
    entries: list[dict], what: str, read: Callable[[dict, str, Path], object], path: Path
) -> dict:
    found = {}
    for number, entry in enumerate(entries, 1):
        name = entry.get("file_name", entry.get("name"))
        where = f"{what} number {number}" + (f" ({name})" if isinstance(name, str) else "")
        id = entry.get("id")
        if not _is_id(id):
            cause = f"{where} has {f'the id {_said(id)}' if 'id' in entry else 'no id'}"
            raise UserError("LABELS", path, f"{cause}, expected a number", "give each its own id")
        if id in found:
            cause = f"{where} has the id {id} of an earlier one"
            raise UserError("LABELS", path, cause, "give each its own id")
        found[id] = read(entry, where, path)
    return found


def _known(entry: dict, key: str, known: dict, where: str, path: Path):
    """What an annotation's `key` refers to."""
    id, part = entry.get(key), "images" if key == "image_id" else "categories"
    if not _is_id(id) or id not in known:
        said = (
            f"the {key} {_said(id)}, which none of the {part} has" if key in entry else f"no {key}"
        )
        fix = f"correct it, or add what it means to {part}"
        if part == "categories" and known:
            fix += f" (there are {listed([f'{k}: {name}' for k, name in known.items()], 5)})"
        raise UserError("LABELS", path, f"{where} has {said}", fix)
    return known[id]


def _is_crowd(entry: dict, where: str, path: Path) -> bool:
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1, None):
        cause = f"{where} has the iscrowd {_said(crowd)}, expected 0 or 1"
        fix = "write 1 for a region that is to be ignored, 0 for a box"
        raise UserError("LABELS", path, cause, fix)
    return bool(crowd)


def _is_id(value: object) -> bool:
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


def _said(value: object) -> str:
    """A value of a file as it stands there, cut short."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _category(entry: dict, where: str, path: Path) -> str:
    name = entry.get("name")
    if not _is_id(name) or name == "":
        said = f"the name {_said(name)}" if "name" in entry else "no name"
        cause = f"{where} has {said}, expected a text"
        raise UserError("LABELS", path, cause, "write name: what is in the boxes of this category")
    return str(name)


def _image(entry: dict, where: str, path: Path) -> CocoImage:
    name = entry.get("file_name")
    if not isinstance(name, str) or not name:
        said = f"the file_name {_said(name)}" if "file_name" in entry else "no file_name"
        fix = "write file_name: the scan's path, relative to this file or to the scans"
        raise UserError("LABELS", path, f"{where} has {said}, expected a text", fix)
    size = [_pixels(entry, key, where, path) for key in ("width", "height")]
    split, patient = entry.get("split"), entry.get("patient_id")
    return CocoImage(
        name, *size, split if split is None else str(split), "" if patient is None else str(patient)
    )


def _pixels(entry: dict, key: str, where: str, path: Path) -> int:
    """Width or height; 0 where it is not given."""
    value = entry.get(key)
    (number,) = _numbers([0 if value is None else value]) or [math.nan]
    if not (number.is_integer() and number >= 0):
        cause = f"{where} has the {key} {_said(value)}, expected a number of pixels"
        raise UserError("LABELS", path, cause, f"correct {key}, or leave it out")
    return int(number)


def _box(values: object, image: CocoImage, where: str, path: Path) -> list[float]:
    fix, numbers = "write bbox as [x, y, width, height] in pixels", _numbers(values)
    if len(numbers) != 4:
        said = f"the bbox {_said(values)}" if values is not None else "no bbox"
        cause = f"{where} has {said}, expected four numbers"
        raise UserError("LABELS", path, cause, fix)
    x, y, width, height = numbers
    right, bottom = image.width or math.inf, image.height or math.inf
    beyond = max(-x, -y, x + width - right, y + height - bottom)
    finite = all(map(math.isfinite, (x, y, width, height)))
    if not finite or min(width, height) <= 0 or beyond > OVERHANG:
        of = f" ({image.width} x {image.height})" if image.width and image.height else ""
        cause = f"{where} has the bbox {_said(values)}, which is empty or outside the image{of}"
        raise UserError("LABELS", path, cause, fix)
    return [max(x, 0.0), max(y, 0.0), min(x + width, right), min(y + height, bottom)]


def _numbers(values: object) -> list[float]:
    """What a list holds, none of it if one is no number."""
    try:
        return [float(v) for v in values] if isinstance(values, list) else []
    except (TypeError, ValueError, OverflowError):
        return []
