import json
import shutil

import pandas as pd
import pytest

from medssl.errors import UserError
from medssl.stages import call
from medssl.stages.finetune.labels import truths_of
from medssl.tasks.segmentation import Segmentation
from medssl.training import registry
from medssl.training.checkpoint import load_state, read_card
from tests.stages.conftest import FIT, TINY


def test_pretrained_weights_really_arrive(segmented):
    start = load_state(segmented / "voco/checkpoints")[0]
    tuned = load_state(segmented / "tuned/checkpoints")[0]
    scratch = load_state(segmented / "scratch/checkpoints")[0]
    name = "backbone.stages.0.0.conv1.conv.weight"
    near, far = [float((w[name] - start[name]).norm()) for w in (tuned, scratch)]
    assert near < 0.5 * far


def test_a_bright_ball_is_learnt(segmented):
    cases = pd.read_parquet(segmented / "scratch/evaluation/cases.parquet")
    assert cases["dice"].mean() > 0.6


def test_the_guard_refuses_patients_that_were_pretrained_on(cohort, segmented):
    out = cohort / "out"
    call(
        "pretrain", "voco_small", store=out / "store", out=out / "greedy", backbone=TINY,
        method={"size": [8, 8, 8], "width": 16}, fit={**FIT, "steps": 1}, splits=["train", "test"],
    )  # fmt: skip
    options = dict(
        store=out / "store",
        backbone=out / "greedy",
        task={"size": [16, 16, 16], "width": 4},
        fit=FIT,
    )
    with pytest.raises(UserError, match="LEAKAGE .*1 seen in pretrain"):
        call("finetune", "few_labels", **options, labelled=2, out=out / "leaky")
    call("finetune", "few_labels", **options, labelled=2, allow_overlap=True, out=out / "leaky")
    with pytest.raises(UserError, match="LEAKAGE"):
        call("evaluate", run=out / "leaky")
    call("evaluate", run=out / "leaky", allow_overlap=True)
    assert "CAUTION" in (out / "leaky/evaluation/report.html").read_text()


def test_scans_seen_under_other_names_are_recognised_by_their_bytes(cohort, segmented, tmp_path):
    (tmp_path / "copies").mkdir()
    for i in range(10):
        shutil.copy(cohort / f"images/case_{i}.nii.gz", tmp_path / f"copies/renamed_{i}.nii.gz")
    call("index", scans=tmp_path / "copies", modality="MR", out=tmp_path / "m")
    recipe = {"spacing": [1.2, 1.2, 1.2]}
    call("prepare", "mr_crop", manifest=tmp_path / "m", out=tmp_path / "s", recipe=recipe)
    call(
        "pretrain", "voco_small", store=tmp_path / "s", out=tmp_path / "all", backbone=TINY,
        method={"size": [8, 8, 8], "width": 16}, fit={**FIT, "steps": 1},
    )  # fmt: skip
    with pytest.raises(UserError, match="LEAKAGE .* seen in pretrain"):
        call(
            "finetune", "few_labels", store=cohort / "out/store", backbone=tmp_path / "all",
            task={"size": [16, 16, 16], "width": 4}, fit=FIT, out=tmp_path / "leaky",
        )  # fmt: skip
    with pytest.raises(UserError, match="LEAKAGE .* seen in pretrain"):
        call("probe", run=tmp_path / "all", store=cohort / "out/store")


def test_a_run_that_starts_from_a_fine_tuned_one_remembers_its_patients(segmented, tmp_path):
    call(
        "finetune", "few_labels", store=segmented / "store", backbone=segmented / "tuned",
        task={"size": [16, 16, 16], "width": 4}, fit={**FIT, "steps": 1}, out=tmp_path / "child",
        labelled=2,
    )  # fmt: skip
    parent, child = (
        read_card(run)["patients"] for run in (segmented / "tuned", tmp_path / "child")
    )
    assert set(parent["train"]) <= set(child["pretrain"]) and len(child["train"]) < 3
    with pytest.raises(UserError, match="LEAKAGE .* seen in pretrain"):
        call("evaluate", run=tmp_path / "child", split="train")


def test_what_cannot_be_learnt_is_said_before_anything_is_built(segmented, tmp_path):
    asked = {"store": segmented / "store", "arch": TINY, "fit": FIT, "out": tmp_path / "no"}
    with pytest.raises(UserError, match="learns from masks"):
        call("finetune", "segmentation", **asked, target="odd")
    with pytest.raises(UserError, match="the store has label_odd"):
        call("finetune", "classification", **asked, target="patient")
    assert not (tmp_path / "no").exists()


def test_a_backbone_that_was_trained_on_since_is_another_one(segmented, tmp_path):
    start = dict(store=segmented / "store", backbone=TINY, out=tmp_path / "b",
                 method={"size": [8, 8, 8], "width": 16})  # fmt: skip
    fit = {**FIT, "steps": 6, "every": 3}
    call("pretrain", "voco_small", **start, fit={**fit, "steps": 3})
    weights = (tmp_path / "b/model/weights.safetensors").read_bytes()
    tune = dict(store=segmented / "store", backbone=tmp_path / "b", out=tmp_path / "r",
                task={"size": [16, 16, 16], "width": 4}, fit={**FIT, "steps": 1})  # fmt: skip
    call("finetune", "few_labels", **tune)
    card = json.loads((tmp_path / "r/model/card.json").read_text())
    assert card["parent"]["steps"] == 3
    assert (tmp_path / "b/model/weights.safetensors").stat().st_mode & 0o044
    shutil.rmtree(tmp_path / "b")
    call("pretrain", "voco_small", **start, fit=fit)
    assert (tmp_path / "b/model/weights.safetensors").read_bytes() != weights
    with pytest.raises(UserError, match="other settings: backbone_weights"):
        call("finetune", "few_labels", **tune)
    with pytest.raises(UserError, match="a run of another verb"):
        call("finetune", "few_labels", **{**tune, "out": tmp_path / "b"})


def test_training_ends_when_validation_gains_no_more(segmented, tmp_path, capsys):
    asked = {
        "store": segmented / "store", "arch": TINY, "task": {"size": [16, 16, 16]}, "patience": 2,
        "fit": {"steps": 9, "batch_size": 2, "every": 1}, "optim": {"lr": 1e-12}, "out": tmp_path / "r",
    }  # fmt: skip
    run = call("finetune", "segmentation", **asked)
    assert "step 3: no gain in 2 validations; training ends here" in capsys.readouterr().err
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    before = (run / "model/weights.safetensors").read_bytes(), (run / "metrics.jsonl").read_bytes()
    assert max(steps) == 3
    call("finetune", "segmentation", **asked)
    after = (run / "model/weights.safetensors").read_bytes(), (run / "metrics.jsonl").read_bytes()
    assert before == after
    page = (call("evaluate", run=run) / "report.html").read_text()
    assert "Up to 9 were asked for" in page


def test_a_run_is_not_resumed_on_other_scans_of_the_same_file(segmented, tmp_path):
    """Or it would be tested on patients that it was trained on before it was stopped."""
    splits = tmp_path / "splits.csv"
    rows = [(f"case_{i}", ["train", "val", "test", "train", "train"][i // 2]) for i in range(10)]
    pd.DataFrame(rows, columns=["id", "split"]).to_csv(splits, index=False)
    asked = {
        "store": segmented / "store", "arch": TINY, "task": {"size": [16, 16, 16]}, "splits": splits,
        "fit": {"steps": 2, "batch_size": 2, "every": 1}, "out": tmp_path / "r",
    }  # fmt: skip
    call("finetune", "segmentation", **asked)
    call("finetune", "segmentation", **asked)
    turned = [(i, {"train": "train", "val": "test", "test": "val"}[s]) for i, s in rows]
    pd.DataFrame(turned, columns=["id", "split"]).to_csv(splits, index=False)
    with pytest.raises(UserError, match="other settings: scans.validation"):
        call("finetune", "segmentation", **asked)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"target": ["odd", "odd"]}, "names a column twice"),
        ({"target": ["odd"], "decoder": True}, "no backbone= that a decoder"),
        (
            {"target": ["odd"], "task": {"size": [17, 16, 16]}},
            "multiples of 4,4,4. Fix: use 16,16,16",
        ),
    ],
)
def test_what_cannot_be_is_told_by_its_key(segmented, tmp_path, asked, told):
    with pytest.raises(UserError, match=told):
        call("finetune", "classification", **{"task": {"size": [16, 16, 16]}, **asked}, arch=TINY,
             store=segmented / "store", fit=FIT, out=tmp_path / "no")  # fmt: skip


def test_a_network_in_2d_says_that_it_reads_slices_of_volumes(cohort, tmp_path, capsys):
    asked = {"store": cohort / "out/store", "target": "label_odd", "fit": {**FIT, "steps": 1}}
    call("finetune", "classification", **asked, arch="timm", task={"size": [32, 32]},
         validation=1, out=tmp_path / "flat")  # fmt: skip
    line = (
        "reads axial slices; for volumes give a 3D backbone (arch=res_unet) and task.size of three"
    )
    assert line in capsys.readouterr().err
    call("finetune", "classification_3d", **asked, arch=TINY, task={"size": [16, 16, 16]},
         out=tmp_path / "whole")  # fmt: skip
    assert "slices" not in capsys.readouterr().err


def test_a_size_of_other_axes_is_answered_with_one_that_would_do(cohort, tmp_path):
    asked = {"store": cohort / "out/store", "target": "label_odd", "fit": FIT, "arch": TINY}
    told = r"has 2 values, the backbone has 3 axes. Fix: give 3, multiples of 4,4,4: .* task.size="
    with pytest.raises(UserError, match=told) as raised:
        call("finetune", "classification", **asked, out=tmp_path / "no")
    size = raised.value.fix.rpartition("=")[2]
    asked["fit"] = {**FIT, "steps": 1}
    call(
        "finetune", "classification", **asked, task={"size": size.split(",")}, out=tmp_path / "yes"
    )


def test_little_that_was_learnt_is_remarked_and_kept_and_validation_is_announced(
    cohort, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("medssl.tasks.segmentation.SCATTERED", 1.0)
    run = call(
        "finetune", "segmentation", store=cohort / "out/store", arch=TINY, labelled=2,
        task={"size": [16, 16, 16], "width": 4}, fit={**FIT, "steps": 1, "every": 1},
        out=tmp_path / "r",
    )  # fmt: skip
    said = capsys.readouterr().err
    assert said.index("1 class: 1\n") < said.index("step 1: validate 2 scans")
    assert said.index("step 1: validate 2 scans") < said.index("step 1: validation mean Dice 0.")
    assert "kept are the weights of step 1, whose validation mean Dice of 2 scans is 0." in said
    assert "remark: next to nothing has been learnt" in said and read_card(run)["chance"] == 1.0
    assert registry.read(run).marks == ["learnt nothing"]
    scan = cohort / "images/case_1.nii.gz"
    call("predict", run=run, scans=scan, modality="MR", out=tmp_path / "predicted")
    assert "remark: of this model next to nothing has been learnt" in capsys.readouterr().err
    call("predict", run=run, scans=scan, modality="MR", out=tmp_path / "predicted")
    assert "predicted 0 scans, refused 0" in capsys.readouterr().err
    call("evaluate", run=run, resamples=100)
    assert "remark: of this model next to nothing has been learnt" in capsys.readouterr().err
    page = (run / "evaluation/report.html").read_text()
    assert page.count("Of this model next to nothing has been learnt") == 1


def test_values_that_are_no_class_are_expected_where_that_was_said():
    def expected(scored=False, **settings):
        found = truths_of(Segmentation, None, [], {1: "ball"}, settings, scored)
        return found.others, found.expected

    assert expected(classes={1: "ball"}, others=True) == (True, True)
    assert expected(classes={1: "ball"}, others=True, scored=True) == (True, True)
    assert expected(classes={1: "ball"}, others=False, scored=True) == (True, False)
    assert expected(classes={}, others=True) == (True, False)  # all that training holds are classes


@pytest.mark.parametrize(
    ("task", "more"),
    [
        ("segmentation", {"task": {"size": [16, 16, 16], "width": 4}}),
        ("classification", {"task": {"size": [16, 16, 16]}, "target": ["odd"]}),
        ("detection_3d", {"task": {"size": [16, 16, 16]}, "boxes_of_masks": True}),
    ],
)  # fmt: skip
def test_in_double_precision_it_is_validated_too(cohort, tmp_path, task, more):
    run = call("finetune", task, store=cohort / "out/store", arch=TINY, **more, out=tmp_path / "r",
               fit={**FIT, "steps": 1, "every": 1, "precision": "64-true"})  # fmt: skip
    assert read_card(run)["validation"] is not None
    call("evaluate", run=run, resamples=100)
