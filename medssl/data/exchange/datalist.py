"""MONAI and Decathlon datalists: `dataset.json` with lists `training`, `validation` and `test`.

An item is a path, or an object with `image` and `label` (a mask's path or a class); other words and
numbers in it are labels. Scans of no split lie in the list `unassigned`.
"""

from pathlib import Path

from medssl.data.exchange import side
from medssl.data.exchange.entry import (
    AS_LINKS,
    STRICT,
    Entry,
    Reading,
    Writing,
    modality,
    scalars,
    text,
)
from medssl.data.exchange.gather import based, gather
from medssl.data.exchange.json_file import part, read_json, write_json
from medssl.data.exchange.placing import (
    Rule,
    check_classes,
    empty_folder,
    is_film,
    label_values,
    place_all,
)
from medssl.data.index.ids import IMAGE_SUFFIXES
from medssl.data.manifest import Manifest
from medssl.data.paths import unsafe
from medssl.data.tables import PATIENTS, plain_name
from medssl.errors import UserError

NAME = "dataset.json"
LONGEST_NAME = 255
LISTS = {"training": "train", "validation": "val", "test": "test", "unassigned": ""}
OWN = {"image", "label", "id", "modality", "study", "fold"}


def write(manifest: Manifest, out: Path, how: Writing = AS_LINKS) -> None:
    """Write the datalist, and links to or copies of scans and masks beside it."""
    empty_folder(out)
    placed = place_all(
        manifest, out, Rule(), how,
        lambda row: (out / "images" / row["id"], out / "labels" / row["id"]),
    )  # fmt: skip
    meant = side.entries(manifest, placed)
    lists = {key: [_item(e) for e in meant if e.split == split] for key, split in LISTS.items()}
    rows = [row for row in manifest.used.to_dict("records") if row["id"] in placed]
    masked = [row for row in rows if row["label_mask"]]
    values = label_values(manifest, masked)
    check_classes(how.classes, values)
    names = {v: how.classes.get(v, "background" if v == 0 else str(v)) for v in values}
    content = {
        "name": "medssl manifest",
        "tensorImageSize": "2D" if all(map(is_film, rows)) else "3D",
        "modality": {"0": "/".join(sorted({e.modality for e in meant} - {""})) or "unknown"},
        "labels": {str(value): name for value, name in names.items()},
        "numTraining": len(lists["training"]),
        "numTest": len(lists["test"]),
        **{key: items for key, items in lists.items() if items or key in ("training", "test")},
    }
    write_json(out / NAME, content)
    side.write(out, manifest, meant, parse(out / NAME, out)[0])


def read(path: Path, how: Reading = STRICT) -> Manifest:
    """The manifest of a datalist's folder or file; paths are relative to it, or to `how.scans`."""
    folder, file = based(path, NAME)
    base = how.scans or folder
    entries, notes = parse(file, base)
    return gather(entries, base, file, how, notes)


def recognises(path: Path) -> bool:
    file = path / NAME if path.is_dir() else path
    if file.suffix.lower() != ".json" or not file.is_file():
        return False
    content = read_json(file)
    return any(isinstance(content.get(key), list) for key in LISTS)


def parse(file: Path, base: Path) -> tuple[list[Entry], list[str]]:
    content = read_json(file)
    if not any(key in content for key in LISTS):
        cause = f"has none of the lists {', '.join(LISTS)}"
        raise UserError("DATASET", file, cause, "give a datalist with a list `training`")
    channels = part(content, "modality", dict, file)
    general = modality(channels.get("0")) if len(channels) == 1 else ""
    entries, private = [], set()
    for key, split in LISTS.items():
        for number, item in enumerate(part(content, key, list, file)):
            entry, left_out = _entry(item, f"{key}[{number}]", file, base)
            entry.split = split
            entry.modality = entry.modality or ("" if "/" in general else general)
            entries.append(entry)
            private.update(left_out)
    unread = sorted(k for k, v in content.items() if isinstance(v, list) and k not in LISTS)
    notes = [f"{file.name}: lists left out: {', '.join(unread)}"] if unread else []
    if private:
        notes.append(f"{file.name}: keys left out, since they may tell who a patient is: "
                     + ", ".join(sorted(private)))  # fmt: skip
    return entries, notes


def _item(entry: Entry) -> dict:
    labels = {name: _number(value) for name, value in entry.labels.items()}
    item = {"image": entry.image, "id": entry.id, "patient_id": entry.patient}
    if entry.mask:
        item["label"] = entry.mask
    elif len(labels) == 1:
        item["label"] = next(iter(labels.values()))
    item |= {"study": entry.study, "modality": entry.modality}
    item |= {f"label_{k}" if k in OWN or k in item else k: v for k, v in labels.items()}
    return {key: value for key, value in item.items() if value != ""}


def _number(value: str) -> str | int | float:
    if value.removeprefix("-").isdecimal() and str(int(value)) == value:
        return int(value)
    return value


def _entry(item: object, where: str, file: Path, base: Path) -> tuple[Entry, list[str]]:
    item = {"image": item} if isinstance(item, str) else item
    if not isinstance(item, dict) or not isinstance(item.get("image"), str) or not item["image"]:
        cause = f"{where} names no image file"
        fix = "write one path as image; give the channels of a scan as scans of their own"
        raise UserError("DATASET", file, cause, fix)
    patients = {k for k in item if plain_name(k) in PATIENTS}
    labels, private = scalars(item, where, file, but=OWN | patients)
    entry = Entry(item["image"], where, labels=labels)
    for key in ("id", "study"):
        setattr(entry, key, text(item.get(key), key, where, file))
    entry.modality = modality(item.get("modality"))
    entry.patient = next((text(item[k], k, where, file) for k in sorted(patients)), "")
    label = text(item.get("label"), "label", where, file)
    if isinstance(item.get("label"), str) and _is_path(label, base):
        entry.mask = label
    elif label:
        labels["class"] = label
    return entry, private


def _is_path(label: str, base: Path) -> bool:
    """A class may hold slashes too; no class is called as a file of an image is."""
    lower = label.lower()
    return (
        any(suffix in lower for suffix in IMAGE_SUFFIXES)
        or unsafe(label) == ""
        and len(label) < LONGEST_NAME  # no file system takes a longer one
        and (base / label).is_file()
    )
