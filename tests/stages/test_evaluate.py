import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from medssl.data.index.row import NO_SPACING
from medssl.data.store import Store
from medssl.errors import UserError
from medssl.stages import call
from medssl.stages.evaluate.remarks import of_cases, without_spacing
from medssl.stages.evaluate.scoring import Scoring, Voxels
from medssl.stages.finetune.model import load_task
from medssl.tasks.segmentation import Segmentation
from tests.stages.conftest import FIT, TINY


def test_figures_have_intervals_patients_and_seed(segmented):
    found = json.loads((segmented / "tuned/evaluation/metrics.json").read_text())
    dice = found["metrics"]["dice, ball"]
    assert dice["low"] <= dice["estimate"] <= dice["high"]
    assert dice["n_patients"] == 1 and dice["n_cases"] == 2 and "seed" in dice
    assert (
        set(found["difference_to_baseline"])
        == set(found["metrics"])
        == {
            f"{measure}, {of}"
            for measure in ("dice", "nsd", "hd95_mm")
            for of in ("mean of classes", "ball")
        }
    )
    assert found["baseline"]["start"] == "from scratch" != found["start"]
    cases = pd.read_parquet(segmented / "tuned/evaluation/cases.parquet")
    assert cases["dice"].mean() == pytest.approx(dice["estimate"])
    assert len(pd.read_csv(segmented / "tuned/evaluation/cases.csv")) == len(cases) == 2
    page = (segmented / "tuned/evaluation/report.html").read_text()
    assert (
        "<img" in page
        and "differences are paired" in page
        and "http" not in page.replace("http://www.w3.org", "")
    )


def test_classes_that_one_side_alone_has_are_remarked():
    rows = [("a", 2.0, 0.0), ("b", 2.0, 0.0), ("c", 0.0, 1.0), ("d", 1.0, 1.0), ("e", 0.0, 0.0)]
    columns = ["id", "volume_ml_truth", "volume_ml_prediction"]
    (said,) = of_cases(pd.DataFrame(rows, columns=columns).assign(**{"class": "ball"}))
    assert said.startswith(
        "of 5 cases ball was not found in 2, ball was found in 1 without it: HD95"
    )
    assert of_cases(pd.DataFrame(rows[3:], columns=columns).assign(**{"class": "ball"})) == []


def test_pixels_of_unknown_size_are_remarked():
    table = pd.DataFrame({"id": ["a", "b"], "remarks": ["", NO_SPACING]})
    (said,) = without_spacing(SimpleNamespace(table=table), pd.DataFrame(index=["a", "b"]))
    assert said.startswith("of 1 of 2 scans no pixel size is known")
    assert without_spacing(SimpleNamespace(table=table), pd.DataFrame(index=["a"])) == []


def test_classification_of_volumes_and_probe(cohort, segmented):
    out = cohort / "out"
    call(
        "finetune", "classification", store=out / "store", target="label_odd", arch=TINY,
        task={"size": [16, 16, 16]}, fit=FIT, out=out / "odd",
    )  # fmt: skip
    with pytest.raises(UserError, match="label_odd"):
        call(
            "finetune",
            "classification",
            store=out / "store",
            target="label_od",
            arch=TINY,
            out=out / "no",
        )
    call("evaluate", run=out / "odd", examples_by="truth")  # as studies ask; nothing is drawn
    cases = pd.read_csv(out / "odd/evaluation/cases.csv")
    assert {"truth", "predicted", "score_0", "score_1"} <= set(cases)
    call("predict", run=out / "odd", scans=cohort / "images", modality="MR", out=out / "scores")
    scores = pd.read_csv(out / "scores/scores.csv")
    assert len(scores) == 10 and np.allclose(
        scores[["score_0", "score_1"]].sum(axis=1), 1, atol=1e-5
    )
    call("probe", run=out / "voco", store=out / "store", per_class=4, probes=["knn"])
    found = json.loads((out / "voco/probe/probe.json").read_text())["knn"]
    assert found["pretrained"]["estimate"] == 1  # one class


ANSWERS = {
    "multilabel": (
        ["odd", "big"],
        {"truth_odd", "truth_big", "score_odd", "predicted"},
        "auroc, odd",
    ),
    "ordinal": (["grade"], {"truth_step", "predicted_step", "score_2"}, "quadratic_kappa"),
    "regression": (["size"], {"truth", "predicted", "usual"}, "gain over the training mean"),
}


@pytest.mark.parametrize("task", ANSWERS)
def test_labels_grades_and_numbers_go_through_the_chain(cohort, tmp_path, task):
    targets, columns, figure = ANSWERS[task]
    asked = pd.read_csv(cohort / "splits.csv").assign(
        size=range(10), big=[""] + ["yes", "no", "no"] * 3, grade=[0, 1, 2, 2, 1, 0, 0, 1, 2, 1]
    )
    asked.to_csv(tmp_path / "labels.csv", index=False)
    call("index", scans=cohort / "images", labels=tmp_path / "labels.csv", modality="MR",
         out=tmp_path / "m")  # fmt: skip
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=tmp_path / "s")
    run = call("finetune", task, store=tmp_path / "s", target=targets, arch=TINY, fit=FIT,
               task={"size": [16, 16, 16]}, out=tmp_path / "run")  # fmt: skip
    found = call("evaluate", run=run)
    assert columns <= set(pd.read_csv(found / "cases.csv"))
    assert figure in json.loads((found / "metrics.json").read_text())["metrics"]
    assert "<img" in (found / "report.html").read_text()
    call("evaluate", run=run, baseline=found, out=tmp_path / "again")
    told = json.loads((tmp_path / "again/metrics.json").read_text())["difference_to_baseline"]
    assert told[figure]["estimate"] in (0, None) or np.isnan(told[figure]["estimate"])
    call("predict", run=run, scans=cohort / "images", modality="MR", out=tmp_path / "p")
    assert len(pd.read_csv(tmp_path / "p/scores.csv")["predicted"]) == 10


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


def test_a_card_names_no_folder_and_the_report_says_how_to_reproduce(cohort, segmented):
    for run in ("voco", "tuned"):
        card = (segmented / run / "model/card.json").read_text()
        assert str(cohort) not in card and '"store": "store"' in card
    page = (segmented / "tuned/evaluation/report.html").read_text()
    assert str(cohort) not in page
    for words in ("medssl pretrain out=voco method=voco", "medssl finetune out=tuned",
                  "backbone=voco", "medssl evaluate run=tuned baseline=scratch/evaluation"):  # fmt: skip
        assert words in page, words


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


def test_one_class_for_all_is_remarked(cohort, segmented, tmp_path, monkeypatch):
    run = call(
        "finetune", "classification", store=segmented / "store", target="odd", out=tmp_path / "r",
        arch=TINY, task={"size": [16, 16, 16]}, fit={**FIT, "steps": 1, "every": 1},
    )  # fmt: skip
    monkeypatch.setattr("medssl.tasks.classification.Classification.logits",
                        lambda self, image: torch.tensor([[2.0, 0.0]]))  # fmt: skip
    out = call("evaluate", run=run)
    remarks = json.loads((out / "metrics.json").read_text())["remarks"]
    assert remarks == ["all 2 cases were called 0, and no other class"]
    assert remarks[0][1:] in (out / "report.html").read_text()


def test_one_number_for_all_is_remarked_and_cautioned(segmented, tmp_path, monkeypatch):
    run = call(
        "finetune", "regression", store=segmented / "store", target="odd", out=tmp_path / "r",
        arch=TINY, task={"size": [16, 16, 16]}, fit={**FIT, "steps": 1, "every": 1},
    )  # fmt: skip
    monkeypatch.setattr("medssl.tasks.classification.Classification.logits",
                        lambda self, image: torch.tensor([[1e-3 * float(image[0, 5, 5, 5])]]))  # fmt: skip
    out = call("evaluate", run=run, split="train", allow_overlap=True)
    remark, *_ = json.loads((out / "metrics.json").read_text())["remarks"]
    assert remark.startswith("the 6 predicted numbers hardly differ (standard deviation 0.0")
    assert remark[1:] in (out / "report.html").read_text()


def test_a_class_that_no_training_scan_is_of_is_named(cohort, tmp_path, capsys):
    asked = pd.read_csv(cohort / "splits.csv").assign(
        kind=["a", "b", "a", "b", "a", "b", "rare", "a", "odd", "a"]
    )
    asked.to_csv(tmp_path / "labels.csv", index=False)
    call("index", scans=cohort / "images", labels=tmp_path / "labels.csv", modality="MR",
         out=tmp_path / "m")  # fmt: skip
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=tmp_path / "s")
    run = call("finetune", "classification", store=tmp_path / "s", target="kind", arch=TINY,
               task={"size": [16, 16, 16]}, fit={**FIT, "steps": 1, "every": 1},
               out=tmp_path / "run")  # fmt: skip
    said = capsys.readouterr().err
    assert "remark: 1 of 2 validation scans hold rare, which no training scan does" in said
    remarks = json.loads((call("evaluate", run=run) / "metrics.json").read_text())["remarks"]
    assert "1 scans are of odd, which the model has not learnt: they are left out" in remarks


def test_figures_of_groups_are_told_and_unknown_columns_refused(segmented, tmp_path, capsys):
    out = call("evaluate", run=segmented / "scratch", by=["odd", "modality"], out=tmp_path / "by")
    said = capsys.readouterr().err
    found = json.loads((out / "metrics.json").read_text())
    assert {k: set(v) for k, v in found["subgroups"].items()} == {
        "odd": {"0", "1"}, "modality": {"MR"},
    }  # fmt: skip
    cases = pd.read_csv(out / "cases.csv")
    of_one = cases[cases["id"].isin(["case_9"])]["dice"].mean()  # odd
    assert found["subgroups"]["odd"]["1"]["dice, ball"]["estimate"] == pytest.approx(of_one)
    assert "Main scores by odd" in (out / "report.html").read_text()
    head, *rows = said[said.index("odd ") :].splitlines()[:3]
    assert re.split(" {2,}", head) == ["odd", "Dice, mean of classes", "95 % interval", "patients"]
    assert [row.split()[:2] for row in rows] == [
        [value, f"{found['subgroups']['odd'][value]['dice, mean of classes']['estimate']:.3f}"]
        for value in "01"
    ]
    with pytest.raises(UserError, match="LABELS by: found 'sex', there are odd"):
        call("evaluate", run=segmented / "scratch", by=["sex"], out=tmp_path / "no")


def test_figures_are_printed_by_the_names_of_the_report(segmented, tmp_path, capsys):
    out = call("evaluate", run=segmented / "tuned", out=tmp_path / "e",
               baseline=segmented / "scratch/evaluation")  # fmt: skip
    said, page = capsys.readouterr().err, (out / "report.html").read_text()
    for name in ("Dice, ball", "NSD, mean of classes", "HD95 in mm, ball"):
        assert f"{name}: " in said and f"{name}, difference to" in said and name in page
    assert "hd95_mm" not in said and "nsd" not in said
    assert "NSD is of outlines within 1 mm (tolerance=, 1 by default)" in said
    assert "hd95_mm, ball" in json.loads((out / "metrics.json").read_text())["metrics"]


def test_a_tolerance_below_any_voxel_is_remarked(segmented, tmp_path):
    for tolerance, remarks in ((0.5, 1), (1.0, 0)):
        out = call("evaluate", run=segmented / "tuned", tolerance=tolerance, out=tmp_path / "e")
        told = json.loads((out / "metrics.json").read_text())
        said = [r for r in told["remarks"] if "within 0.5 mm, which is less than any voxel" in r]
        assert len(said) == remarks
    assert told["volumes"]["ball"]["difference"]["n_patients"] == 1


def test_lesions_are_of_masks(cohort, tmp_path):
    out = cohort / "out"
    call("finetune", "classification", store=out / "store", target="odd", arch=TINY,
         task={"size": [16, 16, 16]}, fit=FIT, out=tmp_path / "r")  # fmt: skip
    with pytest.raises(UserError, match="lesions=true: counts parts of masks"):
        call("evaluate", run=tmp_path / "r", lesions=True)


def test_a_scan_that_is_drawn_has_been_predicted_once_and_is_drawn_as_it_was_scored(
    cohort, tmp_path, monkeypatch
):
    store = Store.read_from(cohort / "out/store")
    run = call(
        "finetune", "segmentation", store=store.folder, arch=TINY, labelled=2,
        task={"size": [16, 16, 16], "width": 4}, fit={**FIT, "steps": 1, "every": 1},
        out=tmp_path / "r",
    )  # fmt: skip
    predicted, drawn = [], []
    predict, examples = Segmentation.predict, Scoring.examples
    monkeypatch.setattr(Segmentation, "predict", lambda *a: predicted.append(1) or predict(*a))
    monkeypatch.setattr(Scoring, "examples", lambda *a: drawn.extend(examples(*a)) or drawn)
    call("evaluate", run=run, resamples=100)
    assert len(predicted) == len(drawn) == 2
    task, _ = load_task(run)
    for each in drawn:
        again = task.labels(predict(task, store.read(each["id"])))
        assert np.array_equal(each["prediction"], again) and each["prediction"].dtype == again.dtype


@pytest.mark.parametrize("dice", [(0.9, 0.8, 0.7, 0.6, 0.0), (0.1, 0.5, 0.2, 0.3, np.nan)])
def test_drawn_by_their_truth_cases_are_the_same_whatever_the_model(dice, monkeypatch):
    cases = pd.DataFrame(
        {"id": list("abcde"), "dice": dice, "volume_ml_truth": [5.0, 2.0, 9.0, 1.0, 0.0]}
    )
    truths = SimpleNamespace(store=SimpleNamespace(burned_in=pd.Series(False, list("abcde"))))
    monkeypatch.setattr(Voxels, "_drawn", lambda self, item, caption, pair: item)

    def drawn(by: str) -> list[str]:
        return Voxels(None, truths, None, None, 1.0, None, False, 3, by).examples(cases)

    assert drawn("truth") == ["d", "a", "c"]  # e holds none
    assert drawn("score") == (["a", "c", "e"] if dice[0] == 0.9 else ["b", "c", "a"])


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


def test_a_collapsed_backbone_is_told_of(segmented, tmp_path):
    run, backbone = (shutil.copytree(segmented / n, tmp_path / n) for n in ("tuned", "voco"))
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "backbone": str(backbone)}))
    card = json.loads((backbone / "model/card.json").read_text())
    (backbone / "model/card.json").write_text(json.dumps({**card, "alarm": "features are alike"}))
    out = call("evaluate", run=run, out=tmp_path / "e")
    remarks = json.loads((out / "metrics.json").read_text())["remarks"]
    assert (
        "the backbone that it started from had been found collapsed: features are alike" in remarks
    )
