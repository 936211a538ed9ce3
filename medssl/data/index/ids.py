"""What scans are called: unique, fit to name files, and telling nobody who a patient is."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Literal

from medssl.data.index.row import Row, relative
from medssl.data.patients import pseudonym
from medssl.privacy import PSEUDONYM, is_neutral

IMAGE_SUFFIXES = (
    ".nii.gz", ".nii", ".hdr", ".img", ".mha", ".mhd", ".nrrd", ".nhdr",
    ".png", ".jpeg", ".jpg", ".tiff", ".tif", ".dcm", ".dicom", ".ima",
)  # fmt: skip
SEPARATORS = "_-. "
MASK_ENDING = re.compile(r"[-_.](seg|label|labels|mask|gt)$", re.IGNORECASE)
LONGEST_ID = 120
RESERVED = re.compile(r"(?i)con|prn|aux|nul|(com|lpt)\d")  # devices, on Windows
IDS = Literal["auto", "names", "pseudonyms"]


def stem(name: str) -> str:
    """A file name without its image suffix."""
    for suffix in IMAGE_SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def beginnings(name: str) -> Iterator[str]:
    """What a name begins with before one of `_-. `, the longest first: a_b and a of a_b_seg."""
    for end in range(len(name) - 1, 0, -1):
        if name[end] in SEPARATORS:
            yield name[:end]


def slug(text: str) -> str:
    """Text of [A-Za-z0-9._-] that may name a file, at most 120 characters."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".-") or "_"
    if RESERVED.fullmatch(plain.partition(".")[0]):
        plain = f"_{plain}"
    return plain if len(plain) <= LONGEST_ID else f"{plain[: LONGEST_ID - 7]}-{_short_hash(text)}"


def assign_ids(rows: list[Row], root: Path) -> None:
    """Give every row a unique id, used rows first.

    A file's id is its stem; equal stems get the names of as many parent folders as tell them
    apart, and a short hash of the path where even that fails. Ids differ in more than case.
    """
    taken: set[str] = set()
    for used in (True, False):
        alike = defaultdict(list)
        for row in rows:
            if row.used == used:
                alike[_base(row).casefold()].append(row)
        for group in alike.values():
            _name_group(group, root, taken)


def hide_names(rows: list[Row], ids: str) -> None:
    """Replace ids that could tell who a patient is by salted ones.

    `ids` is "names" (keep all), "pseudonyms" (replace all but salted ones) or "auto" (keep those of
    neutral words and short numbers). An id comes from the name it replaces: the same in every run.
    """
    taken = {row.id.casefold() for row in rows}
    for row in rows:
        keep = ids == "names" or (ids == "auto" and is_neutral(row.id))
        if not keep and not PSEUDONYM.fullmatch(row.id):
            numbers = (neutral_id(row.id, n) for n in count(1))
            row.id = next(id for id in numbers if id not in taken)
            taken.add(row.id)


def neutral_id(name: str, number: int = 1) -> str:
    """The salted id for a name; `number` parts names whose ids are alike by chance."""
    return pseudonym(f"name:{name}" + (f"|{number}" if number > 1 else ""), "s")


def _base(row: Row) -> str:
    return row.id or slug(stem(row.files[0].name) if row.format else row.files[0].name)


def _name_group(group: list[Row], root: Path, taken: set[str]) -> None:
    parts = {id(row): relative(row.files[0].parent, root).split("/") for row in group}
    deepest = max(len(p) for p in parts.values())
    for depth in range(deepest + 1):
        names = [slug("-".join([*parts[id(r)][-depth:], _base(r)] if depth else [_base(r)]))
                 for r in group]  # fmt: skip
        folded = {name.casefold() for name in names}
        if len(folded) == len(group) and not folded & taken:
            break
    else:
        names = [f"{slug(_base(r))}-{_short_hash(relative(r.files[0], root))}" for r in group]
        names = [name if names.count(name) == 1 else f"{name}-{i}" for i, name in enumerate(names)]
    for row, name in zip(group, names, strict=True):
        row.id = name
        taken.add(name.casefold())


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:6]
