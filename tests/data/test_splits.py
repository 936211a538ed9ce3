import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medssl.data.index import scan
from medssl.data.manifest import Manifest
from medssl.data.splits import attach_splits, check, split_by_patient
from medssl.errors import UserError


def cohort(patients: int, scans: int = 2) -> pd.DataFrame:
    rows = [
        {"patient": f"p-{p:04d}", "label": p % 4 == 0}
        for p in range(patients)
        for _ in range(scans)
    ]
    return pd.DataFrame(rows)


def share(names: pd.Series) -> dict:
    return (names.value_counts() / len(names)).round(2).to_dict()


def test_whole_patients_in_the_asked_proportions():
    table = cohort(200)
    names = split_by_patient(table, seed=3)
    assert (names.groupby(table["patient"]).nunique() == 1).all()
    assert share(names) == {"train": 0.7, "test": 0.2, "val": 0.1}


def test_a_function_of_seed_and_patients_and_not_of_row_order():
    table = cohort(50)
    names = split_by_patient(table, seed=1)
    mixed = table.sample(frac=1, random_state=0)
    assert split_by_patient(mixed, seed=1).sort_index().equals(names)
    assert not split_by_patient(table, seed=2).equals(names)


def test_strata_are_kept_in_proportion():
    table = cohort(200, 1)
    names = split_by_patient(table, stratify="label")
    for split in ("train", "val", "test"):
        assert table["label"][names == split].mean() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("patients", range(3, 9))
def test_small_cohorts_get_every_split(patients):
    assert set(split_by_patient(cohort(patients))) == {"train", "val", "test"}
    assert "val" not in set(split_by_patient(cohort(patients), (0.5, 0, 0.5)))


def test_bad_fractions_are_refused():
    for fractions in ((0.7, 0.1), (0.7, 0.1, 0.1), (1.2, -0.1, -0.1)):
        with pytest.raises(UserError, match="SPLIT"):
            split_by_patient(cohort(5), fractions)


def test_a_patient_in_two_splits_is_refused():
    table = cohort(3).assign(verdict="used", split=["train"] * 5 + ["test"], id=list("abcdef"))
    with pytest.raises(UserError, match=r"1 of 3 patients .*p-0002 \(test\+train: e, f\)"):
        check(table)
    check(table.assign(verdict=["used"] * 5 + ["refused"]))
    check(table.assign(split=["train"] * 5 + [""]))


def test_attach_splits(tmp_path):
    for name in ("a", "b", "c"):
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / f"{name}.png")
    manifest = Manifest.from_rows(tmp_path, scan(tmp_path))
    (tmp_path / "s.csv").write_text("id,split\na,training\nb,test\nz,val\n")
    attach_splits(manifest, tmp_path / "s.csv")
    assert manifest.table["split"].tolist() == ["train", "test", ""]
    assert manifest.notes == ["s.csv: 2 used scans have a split, 1 lines are of no scan here"]
    (tmp_path / "s.csv").write_text("id,name,split,class,age\na,A,test,1,50\n")
    attach_splits(manifest, tmp_path / "s.csv")
    assert manifest.notes[2].startswith("s.csv: columns class, age are not read: give")
    manifest.table["label_class"] = "x"  # as labels= has read it, too
    attach_splits(manifest, tmp_path / "s.csv")
    assert manifest.notes[4].startswith("s.csv: columns age are not read")
    (tmp_path / "s.csv").write_text("id,fold\na,1\n")
    with pytest.raises(UserError, match="no column `split`"):
        attach_splits(manifest, tmp_path / "s.csv")


def test_splits_are_matched_by_how_names_begin_and_never_to_masks(tmp_path):
    for name in ("P-1_T1", "P-2_T1", "P-1_T1_seg"):
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / f"{name}.png")
    manifest = Manifest.from_rows(tmp_path, scan(tmp_path))
    (tmp_path / "s.csv").write_text("id,split\nP-1,train\nP-2,test\n")
    with pytest.raises(UserError, match="'P-1' could mean P-1_T1.png and P-1_T1_seg.png"):
        attach_splits(manifest, tmp_path / "s.csv")
    is_mask = manifest.table["path"] == "P-1_T1_seg.png"
    manifest.table.loc[is_mask, ["verdict", "code"]] = ["refused", "IS_MASK"]
    attach_splits(manifest, tmp_path / "s.csv")
    assert manifest.used["split"].tolist() == ["train", "test"]


def test_strata_are_numbers_where_labels_are(tmp_path):
    table = cohort(8).assign(label=pd.array([9, 10] * (len(cohort(8)) // 2), "Int64"))
    assert split_by_patient(table, stratify="label").notna().all()
