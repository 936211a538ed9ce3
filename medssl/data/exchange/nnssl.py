"""nnssl's `pretrain_data.json`: collection, datasets, subjects, sessions, images.

Image paths begin with `$nnssl_raw/<collection>/`, as nnssl writes them: put the folder there.
Splits, labels and ids go into `image_info`; label masks into the side file only, since nnssl's own
masks mean where anatomy or defacing is.
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
    split_name,
    text,
)
from medssl.data.exchange.gather import based, gather
from medssl.data.exchange.json_file import part, read_json, write_json
from medssl.data.exchange.placing import Rule, empty_folder, place_all
from medssl.data.manifest import Manifest
from medssl.errors import UserError

NAME = "pretrain_data.json"
ROOT = "$nnssl_raw"
NO_SESSION = "ses-DEFAULT"
RULE = Rule(volumes=(".nii.gz",), no_films="nnssl holds volumes only")


def write(manifest: Manifest, out: Path, how: Writing = AS_LINKS) -> None:
    """Write the JSON and .nii.gz files beside it: nnssl takes one file ending only."""
    empty_folder(out)
    placed = place_all(
        manifest, out, RULE, how,
        lambda row: (out / "images" / row["id"], out / "labels" / row["id"]),
    )  # fmt: skip
    meant = side.entries(manifest, placed)
    subjects: dict[str, dict] = {}
    for entry in meant:
        subject = subjects.setdefault(
            entry.patient, {"subject_id": entry.patient, "sessions": {}, "subject_info": None}
        )
        name = entry.study or NO_SESSION
        session = subject["sessions"].setdefault(
            name, {"session_id": name, "session_info": None, "images": []}
        )
        session["images"].append(_image(entry, out.name))
    dataset = {"dataset_index": out.name, "name": out.name, "dataset_info": None}
    content = {
        "collection_index": 0,
        "collection_name": out.name,
        "datasets": {out.name: {**dataset, "subjects": subjects}},
    }
    write_json(out / NAME, content)
    side.write(out, manifest, meant, parse(out / NAME)[0])


def read(path: Path, how: Reading = STRICT) -> Manifest:
    """The manifest of a collection; paths are relative to its folder, or to `how.scans`."""
    folder, file = based(path, NAME)
    entries, notes = parse(file)
    return gather(entries, how.scans or folder, file, how, notes)


def recognises(path: Path) -> bool:
    return (path / NAME if path.is_dir() else path).is_file() and (
        path.is_dir() or path.name == NAME
    )


def parse(file: Path) -> tuple[list[Entry], list[str]]:
    content = read_json(file)
    if "datasets" not in content:
        cause = "has no `datasets`"
        raise UserError("DATASET", file, cause, "give the pretrain_data.json of nnssl")
    above = {file.parent.name, str(content.get("collection_name", ""))} - {""}
    entries, private = [], set()
    for data_key, dataset in part(content, "datasets", dict, file).items():
        for subject_key, subject in _children(dataset, "subjects", data_key, file):
            patient = subject_key
            for name, session in _children(subject, "sessions", f"{data_key}/{subject_key}", file):
                where = f"{data_key}/{subject_key}/{name}"
                for number, image in enumerate(part(session, "images", list, file, f"{where} ")):
                    infos = [subject.get("subject_info"), session.get("session_info")]
                    entry, left_out = _entry(image, infos, f"{where}[{number}]", above, file)
                    entry.patient = patient
                    entry.study = "" if name == NO_SESSION else name
                    entries.append(entry)
                    private.update(left_out)
    notes = []
    if private:
        notes.append(f"{file.name}: keys left out, since they may tell who a patient is: "
                     + ", ".join(sorted(private)))  # fmt: skip
    return entries, notes


def _image(entry: Entry, collection: str) -> dict:
    info = {"id": entry.id, "split": entry.split, **entry.labels}
    return {
        "name": Path(entry.image).name,
        "image_path": f"{ROOT}/{collection}/{entry.image}",
        "modality": entry.modality or "unknown",
        "image_info": {key: value for key, value in info.items() if value},
        "associated_masks": None,
    }


def _children(parent: object, key: str, where: str, file: Path):
    if not isinstance(parent, dict):
        raise UserError("JSON", file, f"{where} is no object", "correct the file")
    for name, child in part(parent, key, dict, file, f"{where} ").items():
        if not name.strip() or not isinstance(child, dict):
            cause = f"{where} has an entry without a name or content in {key}"
            raise UserError("JSON", file, cause, "give every subject and session a name")
        yield name, child


def _entry(image: object, infos: list, where: str, above: set[str], file: Path):
    if not isinstance(image, dict) or not isinstance(image.get("image_path"), str):
        raise UserError("DATASET", file, f"{where} has no image_path", "give every image a path")
    info = part(image, "image_info", dict, file, f"{where} ")
    labels, private = {}, []
    for values in (*infos, info):
        found, left_out = scalars(values, where, file, but={"id", "split"})
        labels |= found
        private += left_out
    entry = Entry(_inside(image["image_path"], above), where, labels=labels)
    entry.id = text(info.get("id"), "id", where, file)
    entry.modality = modality(image.get("modality"))
    entry.split = split_name(info.get("split"), where, file)
    return entry, private


def _inside(path: str, above: set[str]) -> str:
    """The path below the collection's folder; `$variable/` and the folder's own name are dropped."""
    if path.startswith("$"):
        path = path.partition("/")[2]
        first, _, rest = path.partition("/")
        path = rest if rest and first in above else path
    return path
