"""Stores, baselines and keys that do not go with a run."""

import json
import shutil

import pandas as pd
import pytest

from medssl.errors import UserError
from medssl.stages import call
from tests.stages.conftest import FIT, TINY


def test_a_store_of_another_recipe_or_another_index_is_refused(cohort, segmented, tmp_path):
    call("prepare", "mr_crop", manifest=cohort / "out/m", out=tmp_path / "fine",
         recipe={"spacing": [1.0, 1.0, 1.0]})  # fmt: skip
    with pytest.raises(UserError, match=r"MISMATCH .*spacing differ"):
        call("evaluate", run=segmented / "tuned", store=tmp_path / "fine", out=tmp_path / "e")
    splits = pd.read_csv(cohort / "splits.csv")
    splits["split"] = splits["split"].replace({"val": "test", "test": "val"})
    splits.to_csv(tmp_path / "splits.csv", index=False)
    asked = {"scans": cohort / "images", "modality": "MR", "out": tmp_path / "m"}
    call("index", **asked, labels=[cohort / "labels", cohort / "splits.csv"])
    recipe = {"spacing": [1.2, 1.2, 1.2]}
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=tmp_path / "s", recipe=recipe)
    call("evaluate", run=segmented / "tuned", store=tmp_path / "s", out=tmp_path / "e")
    call("index", **asked, labels=[cohort / "labels", tmp_path / "splits.csv"])
    with pytest.raises(UserError, match="STALE .*split of some scans"):
        call("evaluate", run=segmented / "tuned", store=tmp_path / "s", out=tmp_path / "e")


def test_whole_numbers_with_gaps_are_no_change_of_the_manifest(cohort, segmented, tmp_path):
    (tmp_path / "age.csv").write_text("id,age\ncase_0,24\ncase_1,25\n")
    labels = [cohort / "labels", cohort / "splits.csv", tmp_path / "age.csv"]
    call("index", scans=cohort / "images", modality="MR", labels=labels, out=tmp_path / "m")
    recipe = {"spacing": [1.2, 1.2, 1.2]}
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=tmp_path / "s", recipe=recipe)
    call("evaluate", run=segmented / "tuned", store=tmp_path / "s", out=tmp_path / "e")


def test_an_evaluation_is_not_compared_with_itself(segmented):
    with pytest.raises(UserError, match="CONFIG baseline=.*is the folder that this evaluation"):
        call("evaluate", run=segmented / "tuned", baseline=segmented / "tuned/evaluation")


def test_lesions_are_of_masks(cohort, tmp_path):
    out = cohort / "out"
    call("finetune", "classification", store=out / "store", target="odd", arch=TINY,
         task={"size": [16, 16, 16]}, fit=FIT, out=tmp_path / "r")  # fmt: skip
    with pytest.raises(UserError, match="lesions=true: counts parts of masks"):
        call("evaluate", run=tmp_path / "r", lesions=True)


def test_a_baseline_of_other_truths_is_refused(segmented, tmp_path):
    other = shutil.copytree(segmented / "scratch/evaluation", tmp_path / "other")
    cases = pd.read_parquet(other / "cases.parquet")
    cases.loc[0, "volume_ml_truth"] += 1  # as if its mask had been mended since
    cases.to_parquet(other / "cases.parquet", index=False)
    with pytest.raises(UserError, match="MISMATCH .*of 1 cases it has another volume_ml_truth"):
        call("evaluate", run=segmented / "tuned", baseline=other, out=tmp_path / "e")
    assert not (tmp_path / "e/report.html").exists()


def test_a_baseline_is_a_run_or_its_evaluation_and_of_the_weights_it_has_now(segmented, tmp_path):
    asked = {"run": segmented / "tuned", "out": tmp_path / "e"}
    call("evaluate", **asked, baseline=segmented / "scratch")
    told = json.loads((tmp_path / "e/metrics.json").read_text())
    assert told["baseline"]["start"] == "from scratch"
    trained = shutil.copytree(segmented / "scratch", tmp_path / "trained")
    card = json.loads((trained / "model/card.json").read_text())
    card["weights_sha256"] = "0" * 64  # as if it had been trained on since
    (trained / "model/card.json").write_text(json.dumps(card))
    for folder in (trained, trained / "evaluation"):
        with pytest.raises(UserError, match="STALE .*other weights.*Fix: medssl evaluate"):
            call("evaluate", **asked, baseline=folder)
    (trained / "evaluation/cases.parquet").unlink()
    with pytest.raises(
        UserError, match="EMPTY .*has no evaluation.*Fix: medssl evaluate .*trained$"
    ):
        call("evaluate", **asked, baseline=trained / "evaluation")
