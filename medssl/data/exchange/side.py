"""`medssl.json`: what a format cannot hold, kept beside it, so that nothing is lost on the way back.

For every scan it holds what the manifest said and what the format alone said right after writing.
Where the format's own file still says the same, the manifest's word is taken; what was edited since
wins.
"""

import json
import re
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import pandas as pd

from medssl.data.exchange.entry import Entry
from medssl.data.exchange.json_file import part, read_json, write_json
from medssl.data.manifest import Manifest
from medssl.data.manifest_checks import ID
from medssl.data.patients import PATIENT
from medssl.data.tables import SPLIT_WORDS, label_name
from medssl.errors import UserError

NAME = "medssl.json"
SCHEMA = 1
KINDS = ("str", "Int64", "Float64")
FORMS = {
    "id": re.compile(ID), "patient": re.compile(PATIENT), "study": re.compile(r"(st-[0-9a-f]+)?"),
}  # fmt: skip
SAID = tuple(f.name for f in fields(Entry) if f.name not in ("image", "where", "labels"))


@dataclass
class Side:
    """Types of label columns, entries as the manifest and as the format had them, by image.

    Ids, patients and studies in it are pseudonyms or neutral already.
    """

    kinds: dict[str, str] = field(default_factory=dict)
    meant: dict[str, Entry] = field(default_factory=dict)
    seen: dict[str, Entry] = field(default_factory=dict)

    def known(self, what: str) -> set[str]:
        """Every value of a field that came from a manifest."""
        return {getattr(entry, what) for entry in self.meant.values()} - {""}


def entries(manifest: Manifest, placed: dict[str, tuple[str, str]]) -> list[Entry]:
    """The used scans of a manifest that were placed: {id: (image, mask)}, in its order."""
    names, found = manifest.label_columns, []
    for row in manifest.used.to_dict("records"):
        if row["id"] not in placed:
            continue
        image, mask = placed[row["id"]]
        labels = {n.removeprefix("label_"): _text(row[n]) for n in names}
        found.append(
            Entry(
                image, row["id"], row["id"], row["patient"], row["study"], row["modality"],
                row["split"], mask, row["boxes"], {k: v for k, v in labels.items() if v},
            )
        )  # fmt: skip
    return found


def write(folder: Path, manifest: Manifest, meant: list[Entry], seen: list[Entry]) -> None:
    """Keep what the manifest said beside what the format, read alone, says now."""
    of = {entry.image: entry for entry in seen}
    scans = [{"image": e.image, "meant": _record(e), "seen": _record(of[e.image])} for e in meant]
    kinds = {n.removeprefix("label_"): _kind(manifest.table[n]) for n in manifest.label_columns}
    write_json(folder / NAME, {"schema": SCHEMA, "labels": kinds, "scans": scans})


def read(folder: Path) -> Side:
    """The side file of a folder, or an empty one. Raises UserError JSON for a damaged one."""
    path = folder / NAME
    if not path.is_file():
        return Side()
    content = read_json(path)
    try:
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}, this version reads {SCHEMA}")
        side = Side(dict(part(content, "labels", dict, path)))
        if set(side.kinds.values()) - set(KINDS):
            raise ValueError("a label column has a type that is none")
        for scan in content["scans"]:
            image = str(scan["image"])
            side.meant[image] = _trusted(_entry(image, scan["meant"]))
            side.seen[image] = _entry(image, scan["seen"])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        cause = f"is damaged ({type(error).__name__}: {error})"
        fix = "export the manifest again, or delete it and take what the format alone says"
        raise UserError("JSON", path, cause, fix) from error
    return side


def restored(found: list[Entry], side: Side) -> list[Entry]:
    """Entries with the manifest's words wherever the format still says what it was made to say."""
    done = []
    for entry in found:
        meant, seen = side.meant.get(entry.image), side.seen.get(entry.image)
        if meant and seen:
            kept = {f: getattr(meant, f) for f in SAID if getattr(entry, f) == getattr(seen, f)}
            labels = {
                name: _either(entry.labels, seen.labels, meant.labels, name)
                for name in {**meant.labels, **entry.labels}
            }
            labels = {name: value for name, value in labels.items() if value}
            entry = replace(entry, labels=labels, **kept)
        done.append(entry)
    return done


def _either(now: dict, seen: dict, meant: dict, name: str) -> str:
    return (meant if now.get(name) == seen.get(name) else now).get(name, "")


def _record(entry: Entry) -> dict:
    said = {k: v for k, v in asdict(entry).items() if k not in ("image", "where")}
    return {k: v for k, v in said.items() if v}


def _entry(image: str, record: dict) -> Entry:
    labels = {label_name(str(k)): str(v) for k, v in dict(record.get("labels", {})).items()}
    said = {f: str(record.get(f, "")) for f in SAID}
    return Entry(image, image, labels=labels, **said)


def _trusted(entry: Entry) -> Entry:
    """What the manifest said is taken word for word, so it must be what manifests say."""
    for what, form in FORMS.items():
        if not form.fullmatch(getattr(entry, what)):
            raise ValueError(f"a {what} is not as manifests have it")
    boxes = json.loads(entry.boxes or "[]")
    if entry.split not in SPLIT_WORDS.values() or not isinstance(boxes, list):
        raise ValueError("a split or the boxes are not as manifests have them")
    return entry


def _kind(column: pd.Series) -> str:
    if pd.api.types.is_integer_dtype(column):
        return "Int64"
    return "Float64" if pd.api.types.is_float_dtype(column) else "str"


def _text(value: object) -> str:
    return "" if pd.isna(value) else str(value)
