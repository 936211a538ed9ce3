import csv
import json

import pydicom
import pytest

from medssl.data.phantom import make
from medssl.data.phantom.cohort import patient_id
from medssl.errors import UserError

COHORT = {"ct": 2, "mr": 1, "films": 4, "formats": ("nifti", "dicom"), "seed": 4}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return make(tmp_path_factory.mktemp("phantom"), **COHORT)


def table(path):
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def test_same_seed_same_bytes(tmp_path):
    few = {"ct": 1, "mr": 1, "films": 1, "scans_per_patient": 1, "formats": ("nifti", "dicom")}
    one, two = make(tmp_path / "one", **few), make(tmp_path / "two", **few)
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(two) for p in two.rglob("*") if p.is_file())
    assert [f for f in files if (one / f).read_bytes() != (two / f).read_bytes()] == []


@pytest.mark.parametrize(("kind", "scans"), [("ct", 4), ("mr", 2)])
def test_every_scan_is_there_in_all_forms(cohort, kind, scans):
    rows = table(cohort / kind / "scans.csv")
    assert len(rows) == scans
    for row in rows:
        assert (cohort / kind / "images" / f"{row['id']}.nii.gz").is_file()
        assert (cohort / kind / "labels" / f"{row['id']}.nii.gz").is_file()
        first = next((cohort / kind / "dicom" / row["id"]).iterdir())
        header = pydicom.dcmread(first, stop_before_pixels=True)
        assert (header.PatientID, header.Modality) == (row["patient_id"], kind.upper())


@pytest.mark.parametrize("name", ["ct/scans.csv", "mr/scans.csv", "film/labels.csv"])
def test_patients_stay_in_one_split_and_class(cohort, name):
    seen = {}
    for row in table(cohort / name):
        finding = list(row.values())[-1]
        assert finding in ("0", "1")
        assert seen.setdefault(row["patient_id"], (row["split"], finding)) == (
            row["split"],
            finding,
        )


def test_boxes_belong_to_the_films_with_opacity(cohort):
    coco = json.loads((cohort / "film/boxes.json").read_text())
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    boxed = {names[a["image_id"]] for a in coco["annotations"]}
    rows = table(cohort / "film/labels.csv")
    assert boxed == {row["path"] for row in rows if row["opacity"] == "1"}
    assert all((cohort / "film" / row["path"]).is_file() for row in rows)


def test_films_come_in_both_photometric_interpretations(cohort):
    films = [pydicom.dcmread(p, stop_before_pixels=True) for p in (cohort / "film/dicom").iterdir()]
    assert {f.PhotometricInterpretation for f in films} == {"MONOCHROME1", "MONOCHROME2"}


def test_cohorts_share_no_person():
    assert len({patient_id(kind, 3) for kind in ("ct", "mr", "film")}) == 3
    assert patient_id("ct", 3) == "PHANTOM-003"


def test_dicom_alone_still_has_labels(tmp_path):
    make(tmp_path, ct=1, scans_per_patient=1, formats=("dicom",))
    assert not (tmp_path / "ct/images").exists()
    assert len(list((tmp_path / "ct/labels").iterdir())) == 1


@pytest.mark.parametrize(
    "wrong", [{"ct": -1}, {"scans_per_patient": 0}, {"size": "huge"}, {"formats": ("png",)}]
)
def test_refuses_what_it_cannot_make(tmp_path, wrong):
    with pytest.raises(UserError, match="PHANTOM"):
        make(tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_refuses_to_mix_two_cohorts(cohort):
    with pytest.raises(UserError, match="another phantom cohort"):
        make(cohort, ct=0, mr=0, films=7, seed=4)
