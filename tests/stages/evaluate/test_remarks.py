"""What is remarked of a model and its cases."""

import json
import shutil
from types import SimpleNamespace

import pandas as pd
import torch

from medssl.data.index.row import NO_SPACING
from medssl.stages import call
from medssl.stages.evaluate.remarks import of_cases, without_spacing
from tests.stages.conftest import FIT, TINY


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


def test_a_tolerance_below_any_voxel_is_remarked(segmented, tmp_path):
    for tolerance, remarks in ((0.5, 1), (1.0, 0)):
        out = call("evaluate", run=segmented / "tuned", tolerance=tolerance, out=tmp_path / "e")
        told = json.loads((out / "metrics.json").read_text())
        said = [r for r in told["remarks"] if "within 0.5 mm, which is less than any voxel" in r]
        assert len(said) == remarks
    assert told["volumes"]["ball"]["difference"]["n_patients"] == 1


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
