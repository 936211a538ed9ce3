"""The embedded cohort: phantom patients made by code, written as the files of a real archive."""

import csv
from pathlib import Path


from medssl.data.phantom import ct as torso
from medssl.data.phantom import write
from medssl.data.phantom.patients import has_finding, splits
from medssl.progress import track


def make(
    out: Path, *, ct: int = 0, size: str = "small", scans_per_patient: int = 2,
    formats: tuple[str, ...] = ("nifti",), seed: int = 0,
) -> Path:  # fmt: skip
    """Write a cohort and return its folder.

    out/ct: images/ and labels/ (NIfTI), dicom/ (a series a scan), scans.csv with id, patient_id,
    split and the class `lesion`. Same seed, same bytes.
    """
    out = Path(out)
    names = splits(seed, "ct", ct)
    rows = []
    scans = [(p, s) for p in range(ct) for s in range(scans_per_patient)]
    for patient, scan in track(scans, "phantom CT", unit="scans"):
        hu, mask, affine = torso.torso(seed, patient, scan, size)
        name = f"ct_p{patient:03d}_s{scan}"
        if "nifti" in formats:
            write.nifti(out / f"ct/images/{name}.nii.gz", hu, affine)
            write.nifti(out / f"ct/labels/{name}.nii.gz", mask, affine)
        if "dicom" in formats:
            write.dicom_series(out / f"ct/dicom/{name}", hu, affine, "CT", f"PHANTOM-{patient:03d}", scan)
        lesion = int(has_finding(seed, "ct", patient))
        rows.append({"id": name, "patient_id": f"PHANTOM-{patient:03d}", "split": names[patient], "lesion": lesion})
    if rows:
        _table(out / "ct/scans.csv", rows)
    return out


def _table(path: Path, rows: list[dict]) -> None:
    with open(path, "w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
