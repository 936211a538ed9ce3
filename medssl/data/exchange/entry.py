"""What an exchange file says of one scan, and the words it says it with."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medssl.data.index import IDS
from medssl.data.index.dicom_header import MODALITIES as DICOM_MODALITIES
from medssl.data.tables import IDENTIFYING, SPLIT_WORDS, label_names, plain_name
from medssl.errors import UserError

Files = Literal["link", "copy"]
MODALITIES = {
    "mri": "MR", "mr": "MR", "t1": "MR", "t1w": "MR", "t1c": "MR", "t1ce": "MR", "t2": "MR",
    "t2w": "MR", "t2star": "MR", "pdw": "MR", "flair": "MR", "dwi": "MR", "adc": "MR", "bold": "MR",
    "cet1": "MR", "swi": "MR", "xray": "DX", "x-ray": "DX", "cta": "CT", "pet": "PT",
}  # fmt: skip
NOT_A_MODALITY = (
    "",
    "image",
    "zscore",
    "nonorm",
    "rescale_to_0_1",
    "rgb_to_0_1",
    "unknown",
    "none",
)


@dataclass
class Entry:
    """One scan: its file or folder as written in the exchange file; all else text, "" if not said.

    `where` is its place in that file, for messages.
    """

    image: str
    where: str
    id: str = ""
    patient: str = ""
    study: str = ""
    modality: str = ""
    split: str = ""
    mask: str = ""
    boxes: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """How an exchange file is read.

    `scans` is the folder that its paths are relative to, instead of its own; `outside` lets paths
    and links lead out of it; `max_missing` is the share of scans that may be missing.
    """

    scans: Path | None = None
    outside: bool = False
    modality: str = ""
    ids: IDS = "auto"
    max_missing: float = 0.0
    workers: int = 0


@dataclass(frozen=True)
class Writing:
    """How a manifest is written: by links or copies, with names for mask labels.

    `contrast` is BIDS' word for what MR scans show (T1w, T2w, FLAIR).
    """

    files: Files = "link"
    classes: dict[int, str] = field(default_factory=dict)
    contrast: str = ""


STRICT, AS_LINKS = Reading(), Writing()


def modality(word: object) -> str:
    """DICOM's word for what a format calls modality or channel; "" for what is none."""
    plain = text(word, "modality", "").lower()
    if plain in NOT_A_MODALITY:
        return ""
    first = re.split(r"[^a-z0-9-]", plain)[0].upper()  # CT_arterial
    return MODALITIES.get(plain, first if first in DICOM_MODALITIES else "")


def split_name(word: object, where: str, source: Path) -> str:
    """train, val, test or "". Raises UserError SPLIT."""
    name = SPLIT_WORDS.get(text(word, "split", where).lower())
    if name is None:
        raise UserError("SPLIT", source, f"{where} says {word!r}", "write train, val or test")
    return name


def text(value: object, key: str, where: str, source: object = "dataset") -> str:
    """A scalar as text. Raises UserError LABELS for NaN, infinity and what is no scalar."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and not math.isfinite(value):
        cause = f"{where} has {key} = {value}"
        raise UserError("LABELS", source, cause, "give a number, or leave the key out if unknown")
    if not isinstance(value, (str, int, float)):
        cause = f"{where} has a {type(value).__name__} as {key}, expected a word or number"
        raise UserError("LABELS", source, cause, "give one word or number")
    return str(value).strip()


def scalars(values: object, where: str, source: Path, but: set[str] = frozenset()):
    """Labels among a format's free keys, and the keys left out since they may name a patient."""
    if not isinstance(values, dict):
        return {}, []
    kept, private = {}, []
    for key, value in values.items():
        if key in but or isinstance(value, (dict, list)) or value in (None, ""):
            continue
        if IDENTIFYING.fullmatch(plain_name(key)):
            private.append(key)
        else:
            kept[key] = text(value, key, where, source)
    name_of = label_names(kept, source)
    return {name_of[key]: value for key, value in kept.items()}, private
