"""A Brain Imaging Data Structure (BIDS 1.9): sub-*/[ses-*/]anat/, masks in derivatives/masks/.

CT lies in ct/ and films in xray/, which the standard does not know yet: .bidsignore names them. The
manifest's own words are extra columns of each *_scans.tsv, as the standard allows.
"""

import json
import re
from collections import defaultdict
from pathlib import Path

import pandas as pd

from medssl import __version__
from medssl.data.exchange import placing
from medssl.data.exchange.datalist import load, word
from medssl.data.exchange.scans import Options, Scan, suffix
from medssl.data.tables import identifying_columns, plain_name, read_table
from medssl.errors import UserError

VERSION = "1.9.0"
ENTITY = re.compile(r"(sub|ses|acq|run)-([A-Za-z0-9]+)")
SUFFIX = re.compile(r"[A-Za-z0-9]+")
MASKS = Path("derivatives/masks")
MASK_SUFFIXES = ("dseg", "mask")
NOTHING = "n/a"


def recognise(source: Path) -> bool:
    listing = source / "dataset_description.json"
    return listing.is_file() and "BIDSVersion" in load(listing)


def write(scans: list[Scan], out: Path, options: Options) -> Path:
    """Raises UserError EXCHANGE for MR without options.suffix: its contrast is not guessed."""
    if any(
        s.modality not in ("CT", "PT") and placing.kind(s) == placing.VOLUME for s in scans
    ) and (not SUFFIX.fullmatch(options.suffix)):
        cause = "BIDS wants the contrast of MR and other volumes, which the manifest does not hold"
        raise UserError("EXCHANGE", f"suffix={options.suffix}", cause, "give suffix=T1w, T2w, ...")
    taken, tables = set(), defaultdict(list)
    with placing.whole(out) as folder:

        def one(scan: Scan) -> None:
            place = _place(scan, options, taken)
            base = place.name.rpartition("_")[0]
            mask = folder / MASKS / place.parent / f"{base}_dseg"
            image, _ = placing.place(scan, folder / place, mask)
            subject = folder / place.parts[0]
            about = {"filename": image.relative_to(subject).as_posix(), **scan.about}
            tables[subject].append(about)

        placing.place_all(scans, folder, one)
        for subject, records in tables.items():
            _write_table(subject / f"{subject.name}_scans.tsv", records)
        people = sorted(subject.name for subject in tables)
        _write_table(folder / "participants.tsv", [{"participant_id": name} for name in people])
        _describe(folder, options.name, "raw")
        if (folder / MASKS).is_dir():
            _describe(folder / MASKS, f"masks of {options.name}", "derivative")
        (folder / ".bidsignore").write_text("**/ct/\n**/xray/\nrefused.csv\n")
    return out


def _place(scan: Scan, options: Options, taken: set[str]) -> Path:
    """sub-P/anat/sub-P_acq-ID_T1w; ids that differ in signs only are told apart by run-N."""
    if placing.kind(scan) == placing.FILM:
        kind, ending = "xray", scan.modality.lower() or "xray"
    elif scan.modality in ("CT", "PT"):
        kind, ending = {"CT": ("ct", "ct"), "PT": ("pet", "pet")}[scan.modality]
    else:
        kind, ending = "anat", options.suffix
    subject = f"sub-{plain_name(scan.patient)}"
    parts = [subject, f"acq-{re.sub(r'[^A-Za-z0-9]', '', scan.id)}"]
    if scan.study:
        parts.insert(1, f"ses-{plain_name(scan.study)}")
    base, run = "_".join(parts), 1
    while f"{base}_{ending}".casefold() in taken:
        run += 1
        base = "_".join([*parts, f"run-{run}"])
    taken.add(f"{base}_{ending}".casefold())
    return Path(*parts[:-1], kind, f"{base}_{ending}")


def _describe(folder: Path, name: str, kind: str) -> None:
    about = {"Name": name, "BIDSVersion": VERSION, "DatasetType": kind,
             "GeneratedBy": [{"Name": "medssl", "Version": __version__}]}  # fmt: skip
    (folder / "dataset_description.json").write_text(json.dumps(about, indent=1))


def _write_table(path: Path, records: list[dict[str, str]]) -> None:
    table = pd.DataFrame(records).fillna("").replace("", NOTHING)
    table.to_csv(path, sep="\t", index=False)


def read(source: Path) -> tuple[list[Scan], Path]:
    """Every image of every subject; columns of participants.tsv are labels of the subject's scans."""
    people = _table(source / "participants.tsv", "participant_id")
    scans = []
    for subject in sorted(source.glob("sub-*")):
        told = {}
        for path in sorted(subject.rglob("*_scans.tsv")):
            told |= {(path.parent / name).relative_to(source).as_posix(): about
                     for name, about in _table(path, "filename").items()}  # fmt: skip
        images = [file for file in sorted(subject.rglob("*")) if _is_image(file)]
        for file in images:
            scans.append(_scan(file, source, told, people.get(subject.name, {})))
    if not scans:
        cause = "holds no image in sub-*"
        raise UserError("EXCHANGE", source, cause, "give the folder that holds sub-*")
    return scans, source


def _is_image(file: Path) -> bool:
    return suffix(file) in (".nii", ".nii.gz", ".png", ".jpg", ".jpeg", ".tif", ".tiff")


def _scan(file: Path, source: Path, told: dict, person: dict[str, str]) -> Scan:
    place, ending = file.relative_to(source), suffix(file)
    base = file.name[: -len(ending)]
    entities = dict(ENTITY.findall(base))
    scan = Scan(base, [place], patient=entities.get("sub", ""))
    if "ses" in entities:
        scan.study = f"{scan.patient}/{entities['ses']}"
    scan.modality = word(base.rpartition("_")[2])
    scan.labels = {f"label_{plain_name(name)}": text for name, text in person.items()
                   if name != "split"}  # fmt: skip
    scan.split = person.get("split", "")
    about = told.get(place.as_posix(), {})
    if "id" in about:
        scan.study = ""
    scan.tell(about)
    scan.mask = _mask(place, base.rpartition("_")[0], source)
    return scan


def _mask(place: Path, base: str, source: Path) -> Path | None:
    """The one segmentation of the same entities under derivatives/."""
    masks = [file for file in sorted((source / "derivatives").glob(f"*/{place.parent.as_posix()}/{base}*"))
             if _is_image(file) and file.name[: -len(suffix(file))].endswith(MASK_SUFFIXES)]  # fmt: skip
    if len(masks) > 1:
        cause = (
            f"has several masks: {', '.join(m.relative_to(source).as_posix() for m in masks[:3])}"
        )
        raise UserError("EXCHANGE", source / place, cause, "leave one of them")
    return masks[0].relative_to(source) if masks else None


def _table(path: Path, key: str) -> dict[str, dict[str, str]]:
    """Rows by key, without what is not known or could tell who a patient is. {} if there is none."""
    if not path.is_file():
        return {}
    table = read_table(path)
    if key not in table:
        raise UserError("EXCHANGE", path, f"has no column {key}", "mend the table")
    kept = [c for c in table if c not in identifying_columns(table) or c == key]
    return {
        row[key]: {c: text for c, text in row.items() if c != key and text not in ("", NOTHING)}
        for row in table[kept].to_dict("records")
    }
