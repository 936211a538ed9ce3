"""The embedded cohort: phantom patients made by code, written as the files of an archive."""

import csv
import json
from pathlib import Path

from medssl.data.phantom import film, write_dicom, write_nifti, write_png
from medssl.data.phantom.ct import FINDING as LESION
from medssl.data.phantom.ct import GRIDS, torso
from medssl.data.phantom.mr import FINDING as ATROPHY
from medssl.data.phantom.mr import head
from medssl.data.phantom.patients import has_finding, splits
from medssl.errors import UserError
from medssl.progress import track

FORMATS = ("nifti", "dicom")
RECORD = "phantom.json"


def make(
    out: Path, *, ct: int = 8, mr: int = 0, films: int = 0, scans_per_patient: int = 2,
    size: str = "small", seed: int = 0, formats: tuple[str, ...] = ("nifti",),
) -> Path:  # fmt: skip
    """Write cohorts of so many CT, MR and film patients, all different people, and return `out`.

    out/ct and out/mr: images/ and labels/ (NIfTI), dicom/ (a folder a series), scans.csv with
    id, patient_id, split and the finding (`lesion`, `atrophy`), which one patient in two has.
    `formats` says how images are written; labels are always NIfTI.
    out/film: png/ (16 bit), dicom/ (every other patient MONOCHROME1), labels.csv with path,
    patient_id, split and `opacity`, boxes.json (COCO).
    Same arguments, same bytes. Raises UserError PHANTOM for arguments it cannot serve or a folder
    that holds another cohort.
    """
    out, formats = Path(out), (formats,) if isinstance(formats, str) else tuple(formats)
    _check(out, min(ct, mr, films), scans_per_patient, size, formats)
    common = {"scans_per_patient": scans_per_patient, "size": size, "seed": seed}
    for name, patients in (("ct", ct), ("mr", mr)):
        if patients:
            _claim(out / name, {"patients": patients, **common, "formats": list(formats)})
            _volumes(out / name, name, patients, scans_per_patient, size, seed, formats)
    if films:
        _claim(out / "film", {"patients": films, **common})
        _films(out / "film", films, scans_per_patient, size, seed)
    return out


def patient_id(kind: str, patient: int) -> str:
    """PatientID of a patient of the cohort `kind`; no two cohorts share a person."""
    return f"PHANTOM-{'' if kind == 'ct' else kind.upper() + '-'}{patient:03d}"


def _volumes(
    out: Path, kind: str, patients: int, scans: int, size: str, seed: int, formats: tuple[str, ...]
) -> None:
    draw, finding = {"ct": (torso, LESION), "mr": (head, ATROPHY)}[kind]
    names, rows = splits(seed, kind, patients), []
    jobs = [(p, s) for p in range(patients) for s in range(scans)]
    for patient, scan in track(jobs, f"phantom {kind.upper()}", unit="scans"):
        array, mask, affine = draw(seed, patient, scan, size)
        name, person = f"{kind}_p{patient:03d}_s{scan}", patient_id(kind, patient)
        if "nifti" in formats:
            write_nifti.volume(out / "images" / f"{name}.nii.gz", array, affine)
        if "dicom" in formats:
            write_dicom.series(
                out / "dicom" / name, array, affine, kind.upper(), person, scan, seed
            )
        write_nifti.volume(out / "labels" / f"{name}.nii.gz", mask, affine)
        rows.append(
            {"id": name, "patient_id": person, "split": names[patient]}
            | {finding: int(has_finding(seed, kind, patient))}
        )
    _table(out / "scans.csv", rows)


def _films(out: Path, patients: int, scans: int, size: str, seed: int) -> None:
    names, rows, images, boxes = splits(seed, "film", patients), [], [], []
    jobs = [(p, s) for p in range(patients) for s in range(scans)]
    for number, (patient, scan) in enumerate(track(jobs, "phantom films", unit="films"), 1):
        picture, box = film.chest(seed, patient, scan, size)
        name, person = f"film_p{patient:03d}_s{scan}", patient_id("film", patient)
        path = f"png/{name}.png"
        write_png.film(out / path, picture)
        # pairs share a photometric interpretation, so that it tells nothing about the finding
        write_dicom.film(
            out / "dicom" / f"{name}.dcm", picture, film.spacing(size), person, scan, seed,
            inverted=patient // 2 % 2 == 1,
        )  # fmt: skip
        labels = {"path": path, "patient_id": person, "split": names[patient]}
        rows.append(labels | {film.FINDING: int(box is not None)})
        images.append(
            {"id": number, "file_name": path, "width": picture.shape[1]}
            | {"height": picture.shape[0], "split": names[patient], "patient_id": person}
        )
        if box is not None:
            boxes.append(
                {"id": len(boxes) + 1, "image_id": number, "category_id": 1, "bbox": list(box)}
                | {"area": box[2] * box[3], "iscrowd": 0}
            )
    _table(out / "labels.csv", rows)
    coco = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": film.FINDING}]}
    (out / "boxes.json").write_text(json.dumps(coco, indent=1) + "\n")


def _check(out: Path, least: int, scans: int, size: str, formats: tuple[str, ...]) -> None:
    if least < 0 or scans < 1:
        cause = f"{least} patients, {scans} scans per patient"
        raise UserError("PHANTOM", out, cause, "give patients from 0 and scans from 1 upwards")
    if size not in GRIDS:
        raise UserError("PHANTOM", out, f"size is {size!r}", f"choose {' or '.join(GRIDS)}")
    if not formats or set(formats) - set(FORMATS):
        cause = f"formats are {', '.join(formats) or 'none'}"
        raise UserError("PHANTOM", out, cause, f"choose among {', '.join(FORMATS)}")


def _claim(folder: Path, made: dict) -> None:
    """Say what is made here; files of a different cohort would stay between the new ones."""
    record = folder / RECORD
    text = json.dumps(made, indent=1) + "\n"
    if record.exists() and record.read_text() != text:
        cause = f"another phantom cohort lies here ({' '.join(record.read_text().split())})"
        raise UserError("PHANTOM", folder, cause, "remove it or give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    record.write_text(text)


def _table(path: Path, rows: list[dict]) -> None:
    with open(path, "w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
