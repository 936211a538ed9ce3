"""nnU-Net v2 raw datasets: `imagesTr/case_0000.nii.gz`, `labelsTr/case.nii.gz`, `dataset.json`.

Training and validation cases have masks; which are which is in `splits_final.json`. Scans of the
other splits without masks lie in `imagesUn`, which nnU-Net does not look into. A case of several
channels becomes a scan a channel, all of one patient.
"""

import re
from pathlib import Path

from medssl.data.exchange import side
from medssl.data.exchange.entry import AS_LINKS, STRICT, Entry, Reading, Writing, modality
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
from medssl.data.paths import listed
from medssl.errors import UserError
from medssl.progress import say

NAME, SPLITS = "dataset.json", "splits_final.json"
FOLDER = re.compile(r"Dataset\d{3}_.+")
CHANNEL = re.compile(r"(.+)_(\d{4})")
VOLUMES, FILMS = (".nii.gz", ".nrrd", ".mha"), (".png",)
FOLDERS = {"imagesTr": "labelsTr", "imagesTs": "labelsTs", "imagesUn": ""}


def write(manifest: Manifest, out: Path, how: Writing = AS_LINKS) -> None:
    """Write the dataset into `out`, which is called as nnU-Net wants it.

    Raises UserError: CONFIG for another name, MIXED for films among volumes, LABELS for labels that
    are not 1, 2, 3, ..., which nnU-Net refuses.
    """
    if not FOLDER.fullmatch(out.name):
        cause = "nnU-Net finds datasets by names such as Dataset101_Liver"
        raise UserError("CONFIG", f"out={out}", cause, "name the folder like that")
    rows = manifest.used.to_dict("records")
    films = {is_film(row) for row in rows}
    if len(films) > 1:
        cause = "holds films and volumes, a dataset of nnU-Net only one of them"
        raise UserError("MIXED", "manifest", cause, "index films and volumes apart")
    labels = _labels(manifest, [row for row in rows if row["label_mask"]], how)
    rule = _rule(manifest, rows)
    empty_folder(out)
    (out / "imagesTr").mkdir()
    (out / "labelsTr").mkdir()
    placed = place_all(manifest, out, rule, how, lambda row: _targets(out, row))
    meant = side.entries(manifest, placed)
    training = [e for e in meant if e.image.startswith("imagesTr/")]
    modalities = {e.modality for e in meant}
    write_json(
        out / NAME,
        {
            "channel_names": {
                "0": modalities.pop() or "image" if len(modalities) == 1 else "image"
            },
            "labels": labels,
            "numTraining": len(training),
            "file_ending": rule.films[0] if True in films else rule.volumes[0],
            "name": out.name,
        },
    )
    if not training:
        say(f"remark: no scan has a mask, so {NAME} counts no training case: all are in imagesUn")
    fold = {key: [e.id for e in training if e.split == key] for key in ("train", "val")}
    if fold["val"]:
        write_json(out / SPLITS, [fold])
    side.write(out, manifest, meant, parse(out / NAME))


def read(path: Path, how: Reading = STRICT) -> Manifest:
    """The manifest of a dataset's folder. Raises UserError DATASET if cases and labels differ."""
    folder, file = based(path, NAME)
    return gather(parse(file), folder, file, how)


def recognises(path: Path) -> bool:
    folder = path if path.is_dir() else path.parent
    return (
        (path.is_dir() or path.name == NAME)
        and (folder / NAME).is_file()
        and (folder / "imagesTr").is_dir()
        and ("file_ending" in read_json(folder / NAME) or bool(FOLDER.fullmatch(folder.name)))
    )


def parse(file: Path) -> list[Entry]:
    folder, about = file.parent, read_json(file)
    ending = str(about.get("file_ending") or ".nii.gz")
    channels = part(about, "channel_names", dict, file) or part(about, "modality", dict, file)
    split_of = _splits(folder / SPLITS)
    entries, training = [], set()
    for images, labels in FOLDERS.items():
        cases = _cases(folder / images, ending)
        masks = {_stem(name, ending): name for name in _names(folder / labels, ending) if labels}
        if images == "imagesTr":
            training = set(cases)
            _refuse_differences(cases, masks, about, file)
        for case, names in cases.items():
            there = {int(number) for number, _ in names}
            if channels and there != set(map(int, channels)):
                cause = f"{images}: case {case} has {len(there)} channels, {file.name} names "
                cause += f"{len(channels)}"
                raise UserError("DATASET", file, cause, "add the images, or correct channel_names")
            for number, name in names:
                kind = modality(channels.get(str(int(number)))) if channels else ""
                entry = Entry(f"{images}/{name}", f"{images}/{name}", case, modality=kind)
                if len(names) > 1:
                    entry.id, entry.patient = f"{case}_{number}", case
                if case in masks:
                    entry.mask = f"{labels}/{masks[case]}"
                if images == "imagesTr":
                    entry.split = split_of.get(case, "" if split_of else "train")
                elif images == "imagesTs":
                    entry.split = "test"
                entries.append(entry)
    unknown = sorted(set(split_of) - training)
    if unknown:
        cause = f"{SPLITS} names {len(unknown)} cases that imagesTr lacks: {listed(unknown)}"
        raise UserError("MISSING", file, cause, "add these images or take the cases out")
    return entries


def _targets(out: Path, row: dict) -> tuple[Path, Path]:
    test = row["split"] == "test"
    images = "imagesTs" if test else "imagesTr" if row["label_mask"] else "imagesUn"
    labels = "labelsTs" if test else "labelsTr"
    return out / images / f"{row['id']}_0000", out / labels / row["id"]


def _rule(manifest: Manifest, rows: list[dict]) -> Rule:
    """One ending for all: the one they have, if nnU-Net reads it, else NIfTI or PNG."""
    names = [manifest.files(row["id"])[0].name.lower() for row in rows]
    names += [row["label_mask"].lower() for row in rows if row["label_mask"]]
    common = next((e for e in VOLUMES if all(name.endswith(e) for name in names)), ".nii.gz")
    # what cannot be taken as it is, is written as .nii.gz
    as_it_is = not manifest.recode and all(len(manifest.files(row["id"])) == 1 for row in rows)
    return Rule((common if as_it_is else ".nii.gz",), FILMS, plain=True)


def _labels(manifest: Manifest, rows: list[dict], how: Writing) -> dict[str, int]:
    values = label_values(manifest, rows)
    if values != list(range(len(values))):
        found = listed(list(map(str, values)), 20)
        cause = f"masks hold labels {found}; nnU-Net wants 0, 1, 2 and so on"
        fix = "number them without gaps, with `medssl index ... recode={...}`"
        raise UserError("LABELS", "manifest", cause, fix)
    check_classes(how.classes, values)
    names = {v: "background" if v == 0 else how.classes.get(v, f"label_{v}") for v in values}
    return {name: value for value, name in names.items()}


def _cases(folder: Path, ending: str) -> dict[str, list[tuple[str, str]]]:
    """Names of the files of every case, with the numbers of their channels."""
    cases: dict[str, list[tuple[str, str]]] = {}
    for name in _names(folder, ending):
        found = CHANNEL.fullmatch(_stem(name, ending))
        if not found:
            cause = f"{name} has no channel number such as _0000"
            raise UserError("DATASET", folder, cause, "name images case_0000" + ending)
        cases.setdefault(found[1], []).append((found[2], name))
    return cases


def _names(folder: Path, ending: str) -> list[str]:
    """Image files of a folder. Raises UserError DATASET for images of another ending."""
    if not folder.is_dir():
        return []
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    odd = [n for n in names if n.lower().endswith(IMAGE_SUFFIXES) and not n.endswith(ending)]
    if odd:
        cause = f"file_ending is {ending}, found {listed(odd)}"
        raise UserError("DATASET", folder, cause, "give all files the ending of dataset.json")
    return [name for name in names if name.endswith(ending)]


def _stem(name: str, ending: str) -> str:
    return name.removesuffix(ending)


def _splits(file: Path) -> dict[str, str]:
    """train or val of every case, as the first fold has them."""
    if not file.is_file():
        return {}
    content = read_json(file, list)
    if not content or not isinstance(content[0], dict):
        cause = "its first fold is no mapping of train and val"
        raise UserError("SPLIT", file, cause, "write it as nnU-Net does, or take the file out")
    train, val = (part(content[0], key, list, file) for key in ("train", "val"))
    found = {str(case): "train" for case in train}
    both = sorted(found.keys() & {str(case) for case in val})
    if both:
        cause = f"fold 0 has cases in train and val: {listed(both)}"
        raise UserError("SPLIT", file, cause, "put every case into one of them")
    return found | {str(case): "val" for case in val}


def _refuse_differences(cases: dict, masks: dict, about: dict, file: Path) -> None:
    for what, lost in {
        "cases of imagesTr have no mask in labelsTr": sorted(set(cases) - set(masks)),
        "masks of labelsTr have no image in imagesTr": sorted(set(masks) - set(cases)),
    }.items():
        if lost:
            fix = "add the missing files, or take the others out (images without masks: imagesUn)"
            raise UserError("MISSING", file, f"{len(lost)} {what}: {listed(lost)}", fix)
    said = about.get("numTraining")
    if isinstance(said, int) and said != len(cases):
        cause = f"numTraining is {said}, imagesTr holds {len(cases)} cases"
        raise UserError("MISSING", file, cause, "add the missing cases or correct numTraining")
