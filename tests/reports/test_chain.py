import json
import re

import numpy as np
import pandas as pd
import pytest

from medssl.evaluation.detection import Boxes
from medssl.evaluation.volumes import volumes
from medssl.reports import chain, figures, method_figures, sections
from medssl.reports.style import as_png

RECIPE = {"modality": "CT", "orientation": "LPS", "spacing": [2.0, 1.0, 3.0], "size": None,
          "window": [-100.0, 200.0], "crop": False}  # fmt: skip


def interval(estimate: float, low: float, high: float, **more) -> dict:
    return {"estimate": estimate, "low": low, "high": high, "n_patients": 12, "n_cases": 20,
            "seed": 3, "n_left_out": 0, **more}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """A run folder and its pretraining, as far as the report reads them."""
    for name in ("pretrained/pictures", "run"):
        (tmp_path / name).mkdir(parents=True)
    rows = [{"step": i, "loss": 1 / i} for i in range(1, 60)] + [
        {"step": i, "spread": 0.5} for i in (30, 59)
    ]
    for name in ("pretrained", "run"):
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    config = {"method": {"name": "mae"}, "fit": {"steps": 59, "batch_size": 2}}
    (tmp_path / "pretrained/config.json").write_text(json.dumps(config))
    image = np.random.default_rng(0).normal(size=(12, 12))
    picture = as_png(method_figures.reconstruction(image, image, image))
    for step in (10, 20, 30):
        (tmp_path / f"pretrained/pictures/step-{step:08d}-0-reconstruction.png").write_bytes(
            picture
        )
    return tmp_path / "run"


def written(run, **changes) -> str:
    card = {
        "recipe": RECIPE, "task": {"name": "segmentation"}, "classes": {"1": "liver"},
        "patients": {"train": ["p-1"]}, "trained_on": 4, "cohort": "c0ffee",
        "versions": {"medssl": "0.1"},
        "config": {"backbone": str(run.parent / "pretrained"),
                   "fit": {"steps": 59, "batch_size": 2, "seed": 5}},
    } | changes.pop("card", {})  # fmt: skip
    result = {
        "run": "run", "start": "pretrained with mae", "trained_on": 4, "split": "test",
        "n_patients": 12, "n_cases": 20, "n_cases_of_unknown_patients": 0, "seed": 3, "examples_by": "score",
        "baseline": {},
        "trained_on_held_out_patients": {}, "difference_to_baseline": {},
        "metrics": {"dice, mean of classes": interval(0.8, 0.75, 0.85),
                    "nsd, liver": interval(float("nan"), float("nan"), float("nan"))},
    } | changes.pop("result", {})  # fmt: skip
    splits = changes.get("splits", ["test", ""])
    cohort = pd.DataFrame({"id": range(len(splits)), "patient": "p", "modality": "CT",
                           "split": splits, "verdict": "used"})  # fmt: skip
    cohort.loc[len(cohort)] = [99, "q", "", "train", "refused"]
    cases = changes.get("cases", pd.DataFrame({"id": ["a"], "dice": [0.8]}))
    parents = changes.get("pretrained", {run.parent / "pretrained": 0})
    path = chain.write(run, run, card, result, cases, cohort, changes.get("shown", []), parents,
                       ["medssl evaluate run"])  # fmt: skip
    assert path == run / "report.html"
    return path.read_text(encoding="utf-8")


def test_scores_stand_with_interval_patients_and_seed(run):
    page = written(run)
    for words in ("Dice, mean of classes", "0.800 <small>(0.750 to 0.850)</small>", "seed 3",
                  "trained on 4 labelled scans of 1 patient; scored on 20 scans of 12 other patients",
                  "c0ffee", "NSD, liver", "not defined"):  # fmt: skip
        assert words in page, words
    assert "CAUTION" not in page and "nan" not in page.split("<body>")[1].split("base64")[0]


def test_pretraining_shows_its_newest_pictures(run):
    page = written(run)
    assert (
        "Pretrained with mae, trained on 4" in page
        and "59 steps without labels, 2 scans a step" in page
    )
    assert (
        page.count(method_figures.KINDS["reconstruction"][1]) == sections.PICTURES
        and "spread and effective rank" in page
    )
    no_parent = {"config": {"backbone": None, "fit": {"steps": 1, "batch_size": 1, "seed": 0}}}
    scratch = {"start": "from scratch"}
    page = written(run, card=no_parent, result=scratch, pretrained={run.parent / "gone": 0})
    assert "Pretraining" not in page and "From scratch, trained on 4" in page


def test_splits_stand_in_their_usual_order_and_none_is_dropped(run):
    page = written(run, splits=["test", "", "fold7", "val", "train", "test"])
    table = page.split("Scans used, by split.")[1].split("</table>")[0]
    assert re.findall(r"<td>(.*?)</td>", table) == ["train", "val", "test", "fold7", "none"]
    assert '<td>test</td><td class="n">2</td>' in table


def test_leaks_and_few_patients_are_cautioned(run):
    doubts = {"trained_on_held_out_patients": {"pretrain": 2}, "n_patients": 3}
    page = written(run, result={**doubts, "n_cases_of_unknown_patients": 2})
    assert "Whose 2 scans are is not known" in page
    assert "CAUTION" in page and "2 in pretrain" in page and "The split has 3 patients" in page


def test_difference_to_the_baseline(run):
    name = "dice, mean of classes"
    result = {
        "difference_to_baseline": {name: interval(-0.02, -0.03, -0.01)},
        "baseline": {"run": "plain", "start": "from scratch", "trained_on": 1,
                     "metrics": {name: interval(0.82, 0.8, 0.84)}},
    }  # fmt: skip
    page = written(run, result=result)
    table = page.split("the differences are paired")[1].split("</table>")[0]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", table)
    assert cells[:5] == ["Dice, mean of classes", "0.800", "0.820", "−0.020", "−0.030 to −0.010"]
    assert "plain (from scratch, trained on 1 labelled scan)" in page


def test_classification_has_a_curve_unless_one_class(run):
    cases = pd.DataFrame({"id": list("abcd"), "truth": ["no", "yes"] * 2,
                          "predicted": ["no", "yes", "no", "no"],
                          "score_yes": [0.1, 0.9, 0.3, 0.2]})  # fmt: skip
    card = {"classes": {"0": "no", "1": "yes"}}
    assert "Receiver operating characteristic for yes" in written(run, card=card, cases=cases)
    counts = written(run, card=card, cases=cases).split("the class predicted")[1]
    assert re.findall(r"<td[^>]*>(.*?)</td>", counts)[:6] == ["no", "2", "0", "yes", "1", "1"]
    page = written(run, card=card, cases=cases.assign(truth="no"))
    assert "Receiver" not in page and "every case is of class no" in page


def test_drawn_cases_are_turned_to_ras_with_their_spacing(run, monkeypatch):
    seen = {}

    def overlay(image, truth, prediction, classes, spacing):
        seen.update(image=image, spacing=spacing)
        return original(image, truth, prediction, classes, spacing=spacing)

    original = figures.overlay
    monkeypatch.setattr(figures, "overlay", overlay)
    image = np.random.default_rng(0).normal(size=(6, 8, 10))
    truth = (image > 1).astype(int)
    shown = [{"id": "s-1", "caption": "mean Dice 0.700.", "image": image, "truth": truth,
              "prediction": truth, "classes": {1: "liver"}, "spacing": (2.0, 1.0, 3.0)}]  # fmt: skip
    page = written(run, shown=shown, card={"recipe": RECIPE | {"orientation": "SPL"}})
    assert "s-1: mean Dice 0.700" in page
    assert np.array_equal(seen["image"], image.transpose(2, 1, 0)[::-1, ::-1])
    assert seen["spacing"] == [3.0, 1.0, 2.0]
    assert (run / "pictures/s-1.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_boxes_says_how_many_are_in_view(run):
    image = np.random.default_rng(0).normal(size=(60, 60, 60))
    low = np.repeat(np.arange(0, 50, 10.0), 3).reshape(-1, 3)
    truth = Boxes(np.hstack([low, low + 4]), np.ones(5, int))
    called = Boxes(truth.box[:1], np.ones(1, int), np.array([0.9]))
    shown = [{"id": "s-1", "caption": "1 of 5 found, 0 false.", "image": image, "truth": truth,
              "prediction": called, "classes": {1: "nodule"}, "spacing": (1.0, 1.0, 1.0)}]  # fmt: skip
    page = written(run, shown=shown)
    assert "s-1: 1 of 5 found, 0 false. In view: 3 of 5 true boxes, 1 of 1 called ones." in page
    assert "in up to 3 sets of planes" in page


def test_pretraining_is_shown_up_to_the_step_whose_weights_were_taken(run):
    page = written(run, pretrained={run.parent / "pretrained": 20})
    assert "20 steps without labels" in page and "59 steps without labels" not in page
    assert "It was to take 59 steps: these weights are from step 20." in page


def test_volumes_of_classes_stand_with_their_limits_of_agreement(run):
    classes = [f"organ {k}" for k in range(8)]
    cases = pd.DataFrame([
        {"id": i, "patient": i, "class": name, "dice": 0.8, "volume_ml_truth": 10.0**k,
         "volume_ml_prediction": 10.0**k * (1 + i / 10)}
        for i in range(3) for k, name in enumerate(classes)
    ])  # fmt: skip
    page = written(
        run, cases=cases, result={"volumes": volumes(cases, seed=0), "tolerance_mm": 2.0}
    )
    rows = page.partition("Volumes by class")[2]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", rows)
    assert cells[:5] == ["organ 0", "1.00", "1.10", "0.10 (0.00 to 0.20)", "−0.10 to 0.30"]
    assert cells[7 * 7 : 7 * 7 + 3] == ["organ 7", "10000000", "11000000"]
    assert "The 6 largest classes." in page and "Bland-Altman plots" in page
    assert "Scores with their intervals; NSD within 2 mm." in page
    assert "within 2 mm of the other (1 mm unless tolerance= says" in page
    assert "Bland-Altman" not in written(run)
