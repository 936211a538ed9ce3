"""E6: masks that do not match what they are to teach; I6: one patient in several splits."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medssl.data.index import scan
from medssl.data.labels import attach
from medssl.data.manifest import Manifest
from medssl.data.patients import pseudonym
from medssl.data.splits import attach_splits, check
from medssl.errors import UserError
from medssl.stages import call
from tests.faults import good

SHAPE = (20, 20, 20)
TINY = {"name": "res_unet", "channels": [4, 8]}
FIT = {"steps": 2, "batch_size": 1, "every": 2}


def mask(*values: float) -> np.ndarray:
    """A stripe of each value."""
    array = np.zeros(SHAPE, np.float32 if any(v % 1 for v in values) else np.int32)
    for k, value in enumerate(values):
        array[4 * k : 4 * k + 3, 5:15, 5:15] = value
    return array


def cohort(folder: Path, *masks: np.ndarray, splits=("train", "train", "val", "test")) -> Path:
    """A manifest of four scans with these masks, each of a patient of its own."""
    for name in ("scans", "masks"):
        (folder / name).mkdir()
    rows = []
    for i, (array, split) in enumerate(zip(masks, splits, strict=True)):
        good.nifti(folder / "scans", f"case_{i}.nii", good.voxels(SHAPE) + i)
        good.nifti(folder / "masks", f"case_{i}.nii", array)
        rows.append({"id": f"case_{i}", "patient_id": f"P{i}", "split": split})
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    labels = [folder / "masks", folder / "table.csv"]
    call("index", scans=folder / "scans", labels=labels, modality="MR", out=folder / "m")
    return folder / "m"


def finetune(folder: Path, **options) -> Path:
    call("prepare", manifest=folder / "m", out=folder / "store")
    return call(
        "finetune", "segmentation", store=folder / "store", arch=TINY, fit=FIT, out=folder / "run",
        task={"size": [16, 16, 16], "width": 4}, **options,
    )  # fmt: skip


ONE = partial(mask, 1)
# Values of the four masks, the classes given, and the refusal of finetune.
REFUSED = {
    "E6-training-value": ([(1, 2), (1,), (1,), (1,)], {1: "liver"}, "hold values \\[2\\]"),
    "E6-validation-value": ([(1,), (1,), (1, 3), (1,)], {1: "liver"}, "case_2.*holds \\[3\\]"),
    "E6-two-values": ([(1, 5), (1, 7), (1,), (1,)], {1: "liver"}, "\\[5, 7\\]"),
    "E6-all-empty": ([(), (), (), ()], {}, "all masks are empty"),
    "E6-all-training-empty": ([(), (), (1,), (1,)], {}, "all masks are empty"),
    "E6-background-named": ([(1,), (1,), (1,), (1,)], {0: "air", 1: "liver"}, "background"),
    "E6-names-alike": ([(1, 2), (1, 2), (1,), (1,)], {1: "liver", 2: "liver"}, "alike"),
}  # fmt: skip


@pytest.mark.parametrize("row", REFUSED)
def test_masks_that_contradict_the_classes_are_refused(row, tmp_path):
    values, classes, told = REFUSED[row]
    cohort(tmp_path, *[mask(*v) for v in values])
    with pytest.raises(UserError, match=told):
        finetune(tmp_path, classes=classes)
    assert not (tmp_path / "run").exists()


# Values of the four masks, and the remark of finetune, then of evaluate.
REMARKED = {
    "E6-some-empty": ([(1,), (), (1,), (1,)], "training: 1 of 2 masks are empty", ""),
    "E6-validation-empty": ([(1,), (1,), (), (1,)], "validation: 1 of 1 masks are empty", ""),
    "E6-test-empty": ([(1,), (1,), (1,), ()], "", "1 of 1 masks are empty"),
    "E6-validation-unseen": ([(1,), (1,), (1, 2), (1,)], "validation: 1 of 1 masks hold [2]", ""),
    "E6-test-unseen": ([(1,), (1,), (1,), (1, 4)], "", "1 of 1 masks hold [4]"),
}  # fmt: skip


@pytest.mark.parametrize("row", REMARKED)
def test_odd_masks_are_told_and_counted(row, tmp_path, capsys):
    values, of_finetune, of_evaluate = REMARKED[row]
    cohort(tmp_path, *[mask(*v) for v in values])
    run = finetune(tmp_path)
    told = capsys.readouterr().err
    assert of_finetune in told and (of_finetune or "masks are" not in told)
    out = call("evaluate", run=run, resamples=100, examples_shown=0)
    assert of_evaluate in capsys.readouterr().err
    remarks = json.loads((out / "metrics.json").read_text())["remarks"]
    assert [r for r in remarks if of_evaluate in r] if of_evaluate else remarks == []


# What a mask must not hold; its scan is refused when the store is prepared, the others go on.
SPOILT = {
    "E6-fractions": (mask(0.5), "LABELS", "fractions"),
    "E6-negative": (mask(-1), "LABELS", "-1"),
    "E6-huge": (mask(10**6), "LABELS", "1000000"),
    "E6-other-shape": (np.ones((19, 20, 20), np.uint8), "GEOMETRY", "shape"),
    "E6-picture": (good.voxels(SHAPE, np.float32) / 7, "LABELS", "fractions"),
}


@pytest.mark.parametrize("row", SPOILT)
def test_a_mask_that_is_none_is_refused_with_its_scan(row, tmp_path):
    array, code, told = SPOILT[row]
    cohort(tmp_path, ONE(), array, ONE(), ONE())
    call("prepare", manifest=tmp_path / "m", out=tmp_path / "store")
    refused = pd.read_csv(tmp_path / "store" / "refused.csv")
    assert refused["id"].tolist() == ["case_1"] and refused["code"].tolist() == [code]
    assert told in refused["cause"][0]


def patients(folder: Path, names: list[str], splits: list[str]) -> Manifest:
    """Scans of the patients named, split by a table."""
    rows = []
    for i, (name, split) in enumerate(zip(names, splits, strict=True)):
        good.nifti(folder, f"case_{i}.nii", good.voxels(SHAPE) + i)
        rows.append({"id": f"case_{i}", "patient_id": name, "split": split})
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    manifest = Manifest.from_rows(folder, scan(folder))
    return attach_splits(manifest, folder / "table.csv")


KINDS = {
    "I6-same": ("PAT1", "PAT1"),
    "I6-case": ("Pat1", "pAT1"),
    "I6-spaces": ("PAT 1", " PAT   1 "),
    "I6-umlaut-case": ("M\u00fcLLER", "m\u00dcller"),
    "I6-accent-apart": ("M\u00fcller", "Mu\u0308ller"),
    "I6-tab": ("PAT\t1", "PAT 1"),
    "I6-number": ("007", "007 "),
}  # fmt: skip


@pytest.mark.parametrize("row", KINDS)
@pytest.mark.parametrize("splits", [("train", "test"), ("train", "val"), ("val", "test")])
def test_a_patient_in_two_splits_is_refused(row, splits, tmp_path):
    manifest = patients(tmp_path, [*KINDS[row], "OTHER"], [*splits, "train"])
    with pytest.raises(UserError, match="SPLIT patients: 1 of 2 patients are in several splits"):
        check(manifest.table)


def test_fifty_overlaps_are_all_counted(tmp_path):
    names = [f"P{i}" for i in range(50)] * 2
    manifest = patients(tmp_path, names, ["train"] * 50 + ["test"] * 50)
    with pytest.raises(UserError, match="50 of 50 patients"):
        check(manifest.table)


def test_numbers_that_look_alike_are_two_patients(tmp_path):
    manifest = patients(tmp_path, ["01", "1"], ["train", "test"])
    check(manifest.table)


@pytest.mark.parametrize("other", ["dicom", "nifti"])
def test_a_patient_in_another_format_or_without_a_label_is_the_same(other, tmp_path):
    """A DICOM scan names its patient itself, a table names that of the NIfTI file."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    good.ct(tmp_path / "a", PatientID="PAT 1")
    if other == "dicom":
        good.ct(tmp_path / "b", PatientID="pat 1 ", SeriesInstanceUID="9.9")
    else:
        good.nifti(tmp_path / "b", "case_1.nii")
        (tmp_path / "t.csv").write_text("id,patient_id\ncase_1,pat 1\n")
    manifest = Manifest.from_rows(tmp_path, scan(tmp_path))
    if other == "nifti":
        attach(manifest, tmp_path / "t.csv")
    assert set(manifest.used["patient"]) == {pseudonym("PAT 1", "p")}
    manifest.table.loc[manifest.used.index, "split"] = ["train", "test"]
    with pytest.raises(UserError, match="1 of 1 patients"):
        check(manifest.table)
