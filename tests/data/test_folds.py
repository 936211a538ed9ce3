import json

import pandas as pd
import pytest

from medssl.data.folds import folds, nested, read, resplit, write
from medssl.errors import UserError


def cohort(patients: int = 40, scans: int = 2) -> pd.DataFrame:
    rows = [
        {
            "id": f"s{p}_{k}",
            "patient": f"p{p:03d}",
            "ill": str(p % 4 == 0),
            "site": "abcdef"[p % 7 % 6],
        }
        for p in range(patients)
        for k in range(scans)
    ]
    return pd.DataFrame(rows)


def test_every_scan_is_tested_once_and_patients_stay_together():
    table = cohort()
    fold = folds(table, 5, seed=1)
    assert (fold.groupby(table["patient"]).nunique() == 1).all()
    assert fold.value_counts().tolist() == [16] * 5
    tested = pd.concat([nested(fold, k).eq("test") for k in range(5)], axis=1).sum(1)
    validated = pd.concat([nested(fold, k).eq("val") for k in range(5)], axis=1).sum(1)
    assert (tested == 1).all() and (validated == 1).all()
    assert "val" not in set(nested(folds(table, 2), 0))  # two folds: one trains
    mixed = table.sample(frac=1, random_state=0)
    assert folds(mixed, 5, seed=1).sort_index().equals(fold)
    assert not folds(table, 5, seed=2).equals(fold)


def test_strata_are_dealt_in_proportion_and_sites_stay_together():
    table = cohort()
    fold = folds(table, 5, stratify="ill")
    ill = table["ill"].eq("True")
    assert ill.groupby(fold).sum().tolist() == [4] * 5
    fold = folds(table, 3, site="site")
    assert set(fold) == {0, 1, 2}
    assert (fold.groupby(table["site"]).nunique() == 1).all()
    assert (
        fold.value_counts().max() - fold.value_counts().min() <= 12
    )  # the largest site has 12 more
    with pytest.raises(UserError, match="there are 6 sites"):
        folds(table, 7, site="site")
    table.loc[0, "site"] = "elsewhere"
    with pytest.raises(UserError, match="patient p000 has scans of several"):
        folds(table, 3, site="site")


def test_files_are_read_back_and_by_other_tools(tmp_path):
    table = cohort(10, 1)
    fold = folds(table, 5)
    write(table, fold, tmp_path)
    for k in range(5):
        wanted = dict(zip(table["id"], nested(fold, k), strict=True))
        assert read(tmp_path / f"fold_{k}.csv") == wanted
        nnunet = read(tmp_path / "splits_final.json", k)
        assert {i for i, s in nnunet.items() if s == "test"} == set(table["id"][fold == k])
        assert set(nnunet.values()) == {"train", "test"}
    listed = json.loads((tmp_path / "datalist_folds.json").read_text())["training"]
    assert {e["image"]: e["fold"] for e in listed} == dict(zip(table["id"], fold, strict=True))


@pytest.mark.parametrize("content, cause", [
    ("id,split\na,train\na,test\n", "names a twice"),
    ("id,split\na,nowhere\n", "says 'nowhere'"),
    ("name,part\na,train\n", "has no columns id and split"),
])  # fmt: skip
def test_files_that_say_something_else_are_refused(tmp_path, content, cause):
    path = tmp_path / "splits.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=cause):
        read(path)
    (tmp_path / "s.json").write_text('[{"train": ["a"], "val": ["b"]}]')
    with pytest.raises(UserError, match="no fold 3"):
        read(tmp_path / "s.json", 3)


def test_a_store_takes_the_splits_of_a_file_and_no_torn_patient(tmp_path):
    items = cohort(3).assign(split="train")
    path = tmp_path / "splits.csv"
    path.write_text("id,split\ns0_0,train\ns0_1,train\ns1_0,test\nelsewhere,val\n")
    assert resplit(items, path)["split"].tolist() == ["train", "train", "test", "", "", ""]
    path.write_text("id,split\ns0_0,train\ns0_1,test\n")
    with pytest.raises(UserError, match="1 patients are in several splits, as p000"):
        resplit(items, path)
    path.write_text("id,split\nx,train\n")
    with pytest.raises(UserError, match="names none of the 6 scans"):
        resplit(items, path)
