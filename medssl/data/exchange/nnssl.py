"""A folder of volumes with pretrain_data.json of nnssl: collection, dataset, subjects, sessions.

Lies in $nnssl_raw under its own name, so that paths are written from there. Masks are anatomy masks.
"""

import json
from collections import defaultdict
from pathlib import Path

from medssl.data.exchange import placing
from medssl.data.exchange.datalist import load, word
from medssl.data.exchange.scans import Options, Scan, plain_stem
from medssl.errors import UserError

LISTING = "pretrain_data.json"
RAW = "$nnssl_raw"


def recognise(source: Path) -> bool:
    return (source / LISTING if source.is_dir() else source).name == LISTING and (
        source.is_file() or (source / LISTING).is_file()
    )


def write(scans: list[Scan], out: Path, options: Options) -> Path:
    """Raises UserError EXCHANGE for films, which nnssl does not read."""
    films = [scan.id for scan in scans if placing.kind(scan) != placing.VOLUME]
    if films:
        cause = f"{len(films)} scans are films ({', '.join(films[:3])}), nnssl reads volumes"
        raise UserError("EXCHANGE", scans[0].manifest.root, cause, "index the volumes apart")
    subjects = defaultdict(lambda: defaultdict(list))
    with placing.whole(out) as folder:

        def one(scan: Scan) -> None:
            image, mask = placing.place(
                scan, folder / "images" / scan.id, folder / "masks" / scan.id
            )
            masks = {"anonymization_mask": None, "anatomy_mask": mask and _told(mask, folder, out)}
            entry = {
                "name": image.name, "image_path": _told(image, folder, out),
                "modality": scan.modality, "image_info": scan.about, "associated_masks": masks,
            }  # fmt: skip
            subjects[scan.patient][scan.study or "0"].append(entry)

        placing.place_all(scans, folder, one)
        listed = {
            patient: {"subject_id": patient, "subject_info": None, "sessions": {
                study: {"session_id": study, "session_info": None, "images": images}
                for study, images in sessions.items()}}
            for patient, sessions in subjects.items()
        }  # fmt: skip
        dataset = {"dataset_index": 0, "name": options.name, "dataset_info": None}
        content = {
            "collection_index": 0, "collection_name": out.name,
            "datasets": {"0": {**dataset, "subjects": listed}},
        }  # fmt: skip
        (folder / LISTING).write_text(json.dumps(content, indent=1))
    return out


def _told(file: Path, folder: Path, out: Path) -> str:
    return f"{RAW}/{out.name}/{file.relative_to(folder).as_posix()}"


def read(source: Path) -> tuple[list[Scan], Path]:
    """Scans of all datasets of the collection. Raises UserError EXCHANGE."""
    listing = source / LISTING if source.is_dir() else source
    content, scans = load(listing), []
    try:
        for dataset in content["datasets"].values():
            for subject, about in dataset["subjects"].items():
                for session, rest in about["sessions"].items():
                    for image in rest["images"]:
                        scans.append(_scan(image, subject, session))
    except (KeyError, AttributeError, TypeError) as error:
        cause = f"is no collection of datasets, subjects, sessions and images ({error!r})"
        raise UserError("EXCHANGE", listing, cause, "make it anew with nnssl's classes") from error
    return scans, listing.parent


def _scan(image: dict, subject: str, session: str) -> Scan:
    masks = image.get("associated_masks") or {}
    mask = masks.get("anatomy_mask")
    scan = Scan(plain_stem(Path(image["name"])), [_place(image["image_path"])], patient=subject)
    scan.mask = _place(mask) if mask else None
    scan.study = "" if session == "0" else f"{subject}/{session}"
    scan.modality = word(image.get("modality", ""))
    info = image.get("image_info") or {}
    if "id" in info:
        scan.study = ""
    scan.tell(info)
    return scan


def _place(text: str) -> Path:
    """From the listing's own folder: the variable and the folder's name go."""
    if text.startswith("$"):
        return Path(*Path(text).parts[2:])
    return Path(text)
