"""What a study may be asked, and what it refuses before anything is done."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from medssl.data.store import Store
from medssl.errors import UserError
from medssl.stages import call
from medssl.stages.study.arms import Arm, Start, named, settings, steps_of
from medssl.stages.study.cells import cells
from tests.stages.study.conftest import FIT


def test_of_all_labels_there_is_one_draw():
    start = Start("voco", Path("run"), False, {})
    found = cells([start], [4, 0], 2, 2, {}, [{}], [{}], Path("out"))
    four, every = [(4, 0, 0), (4, 0, 1), (4, 1, 0), (4, 1, 1)], [(0, 0, 0), (0, 0, 1)]
    assert [(cell.labelled, cell.draw, cell.seed) for cell in found] == four + every


def test_a_backbone_called_as_an_arm_stands_for_it():
    arms = {
        "SparK": Arm(pretrain=["spark_small"], finetune={"a": 1}),
        "a b": Arm(pretrain=["mae_small"]),
    }
    found = named([], [Path("s/SparK"), Path("s/a-b"), Path("other")], arms)
    assert found == {
        "SparK": Arm(backbone=Path("s/SparK"), finetune={"a": 1}), "a b": Arm(backbone=Path("s/a-b")),
        "other": Arm(backbone=Path("other")),
    }  # fmt: skip
    with pytest.raises(UserError, match="two are called x"):
        named([], [Path("x"), Path("b/x")], {})


def test_steps_that_fit_into_the_minutes_are_told_from_those_of_the_preset(tmp_path):
    chain = [
        ("voco_small", {"out": str(tmp_path / "a")}),
        ("mae_small", {"out": str(tmp_path / "b")}),
    ]
    whole = sum(settings(*part).fit.steps for part in chain)
    for name, steps in (("a", 5), ("b", 7)):
        (tmp_path / f"{name}.steps.json").write_text(json.dumps({"steps": steps, "every": 1}))
    assert steps_of(chain, 1.0) == {"steps": 12, "whole": whole}
    assert steps_of(chain, 0) == {"steps": whole, "whole": whole}


def test_a_study_that_failed_before_anything_was_trained_may_be_asked_otherwise(keys, tmp_path):
    out, few = tmp_path / "study", {"labelled": [2], "draws": 1, "trials": [], "scratch_trials": []}
    wrong = {"arms": {"other": {"backbone": str(tmp_path / "nowhere")}}, "pretrain": {}}
    with pytest.raises(UserError, match="CHECKPOINT"):
        call("study", **{**keys, **few, **wrong}, out=out)
    call("study", **{**keys, **few, "only": ["mae"]}, out=out)
    assert json.loads((out / "config.json").read_text())["only"] == ["mae"]


def test_films_are_classified_in_a_study_too(keys, tmp_path):
    tune = {
        "preset": "classification",
        "target": ["odd"],
        "task": {"size": [16, 16, 16]},
        "fit": FIT,
    }
    few = {"labelled": [4], "draws": 1, "trials": [], "scratch_trials": [], "only": ["mae"]}
    page = call("study", **{**keys, **few, "finetune": tune}, out=tmp_path / "study").read_text()
    assert "AUROC" in page and "Calibration" in page


def test_arms_of_a_preset_may_stay_out(keys, tmp_path, capsys):
    one = {**keys, "labelled": [2], "draws": 1, "trials": [], "scratch_trials": [], "only": ["mae"]}
    report = call("study", **one, tolerance=0.5, out=tmp_path / "study")
    assert set(pd.read_csv(tmp_path / "study/table.csv")["arm"]) == {"from scratch", "mae"}
    said = capsys.readouterr().err
    assert "NSD takes outlines to agree within 0.5 mm" in said and "give it now, as" in said
    page = report.read_text()  # of one number of labels there is no curve to go along
    assert "Labels saved" not in page and "When labels are few" not in page
    assert "Every point is one fine-tuning;" in page and "draws=3 and more" in page


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"arms": {}}, "nothing to compare"),
        ({"methods": ["no_such_preset"]}, "no_such_preset"),
        ({"arms": {"a": {}}}, "wants either pretrain or backbone"),
        ({"finetune": {"labelled": 3}}, "is set by the study"),
        ({"trials": [{"fit": {"steps": 9}}], "scratch_trials": []}, "is the same in every arm"),
        ({"finetune": {"fit": {"stepps": 9}}}, "finetune.fit.stepps: .* you mean 'fit.steps'"),
        ({"pretrain": {"fit": {"stepps": 9}}}, "pretrain.fit.stepps: unknown key"),
        (
            {"fit": {"threads": 1}},
            r"fit\.threads: .*give finetune\.fit\.threads or pretrain\.fit\.thr",
        ),
        ({"draw": 3}, "unknown key, did you mean 'draws'"),
        ({"classes": {1: "ball"}}, r"classes\.1: .*Fix: give finetune\.classes\.1"),
        (
            {"pretrain": {"method": {"size": [9, 9, 9]}}},
            r"does nothing: arms\.voco\.keys.*, such as 'arms\.mae\.keys\.method\.size=\.\.\.'",
        ),
        ({"finetune": {"optim": {"lr": 0.5}}}, r"finetune.optim.lr: does nothing: trials\.0, tri"),
        ({"finetune": {"fit": {"devices": 2}}}, "on one device"),
        ({"finetune": {"patience": 3}}, "finetune.patience: would end arms after different steps"),
        (
            {"trials": [{"classes": {1: "a"}}], "scratch_trials": []},
            r"classes\.1: is the same in ev",
        ),
        (
            {"trials": [{"preset": "segmentation"}], "scratch_trials": []},
            "preset: is the same in every",
        ),
        (
            {"arms": {"all": {"pretrain": ["mae_small"], "keys": {"splits": ["train", "test"]}}}},
            r"LEAKAGE pretraining of all: .*1 seen in pretrain .*finetune\.KEY",
        ),
        (
            {"arms": {"own": {"pretrain": ["mae_small"], "keys": {"store": "gone"}}}},
            "STORE gone: holds no readable store",
        ),
        ({"split": "val"}, r"LEAKAGE .*seen in validation .*finetune\.KEY"),
        ({"trials": [{"fitt": 9}], "scratch_trials": []}, "trials.0.fitt: unknown key"),
        ({"scratch_trials": [{}]}, "let every arm try as often"),
        ({"labelled": []}, "labelled"),
        ({"labelled": [2, 6, 0]}, "0, which is all, and 6 are the same scans"),
        ({"labelled": [2, 99]}, "99 scans were asked for, 6 are labelled"),
        ({"split": "validation"}, "there are test, train, val"),
        ({"figure": "dices"}, "is no figure"),
        ({"finetune": {"classes": {99: "none"}}}, r"LABELS .*as finetune\.KEY"),
        ({"by": ["age"]}, "found 'age'"),
        ({"only": ["spark"]}, "the arms are voco, mae"),
        ({"arms": {"a": {"backbone": "run"}}}, "every arm comes with a backbone"),
    ],
)
def test_wrong_keys_are_refused_before_anything_is_done(keys, tmp_path, wrong, told):
    with pytest.raises(UserError, match=told):
        call("study", **{**keys, **wrong}, out=tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_scans_that_have_gone_are_told_before_anything_is_done(keys, monkeypatch, tmp_path):
    monkeypatch.setattr("medssl.data.manifest.stamp", lambda files: "another")
    with pytest.raises(UserError, match="STALE .*has changed or gone since it was indexed"):
        call("study", **keys, out=tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_classes_that_some_draw_does_not_show_are_told_before_anything_is_done(
    keys, monkeypatch, tmp_path
):
    grades = {f"case_{i}": "I" for i in range(10)} | {"case_1": "II", "case_4": "III"}
    read = Store.read_from

    def graded(folder):
        store = read(folder)
        store.items["label_grade"] = [grades[i] for i in store.items.index]
        return store

    monkeypatch.setattr(Store, "read_from", graded)
    monkeypatch.setattr(Store, "check_current", lambda *_: None)
    tune = {"preset": "classification", "task": {"size": [16, 16, 16]}, "fit": FIT}
    asked = {**keys, "trials": [], "scratch_trials": [], "out": tmp_path / "study"}
    asked["finetune"] = {**tune, "target": ["grade"]}
    with pytest.raises(
        UserError, match="LABELS labelled=2, draw 0: .*do not show II+, which others"
    ):
        call("study", **{**asked, "labelled": [4, 2]})
    with pytest.raises(UserError, match="LABELS labelled=1, draw 0: label_grade: .*one class only"):
        call("study", **{**asked, "labelled": [1]})
    assert not (tmp_path / "study").exists()


def test_a_draw_without_foreground_is_told_before_anything_is_done(keys, monkeypatch, tmp_path):
    foreground = Store.foreground
    monkeypatch.setattr(
        Store, "foreground", lambda self, i: foreground(self, i)[: 0 if i == "case_0" else None]
    )
    asked = {**keys, "labelled": [1], "draws": 20, "out": tmp_path / "study"}
    with pytest.raises(
        UserError, match=r"LABELS labelled=1, draw \d+: .*all masks are empty.*labelled="
    ):
        call("study", **asked)
    assert not (tmp_path / "study").exists()


def test_a_study_goes_on_with_the_scans_and_backbones_that_it_began_with(
    segmented, keys, tmp_path, monkeypatch
):
    monkeypatch.setattr(Store, "check_current", lambda *_: None)  # as if prepared once more
    store = shutil.copytree(keys["store"], keys["store"].with_name("corrected"))
    backbone = shutil.copytree(segmented / "voco", tmp_path / "voco")
    asked = {
        "store": store, "backbones": [backbone], "labelled": [2], "draws": 1, "resamples": 1000,
        "finetune": keys["finetune"], "out": tmp_path / "study",
    }  # fmt: skip
    call("study", **asked)
    items = pd.read_parquet(store / "items.parquet")
    whole, other = items.copy(), items["split"].eq("train") & items["has_mask"]
    items.loc[other, "source"] = "0" * 32  # as if masks had been corrected since
    items.to_parquet(store / "items.parquet")
    with pytest.raises(
        UserError, match=r"STALE .*\(the labelled scans\): .*Fix: choose another out="
    ):
        call("study", **{**asked, "draws": 2})
    whole.to_parquet(store / "items.parquet")
    card = json.loads((backbone / "model/card.json").read_text())
    (backbone / "model/card.json").write_text(json.dumps({**card, "weights_sha256": "0" * 64}))
    with pytest.raises(UserError, match=r"STALE .*has changed since \(voco\)"):
        call("study", **{**asked, "draws": 2})
    (backbone / "model/card.json").write_text(json.dumps(card))
    assert len(pd.read_csv(call("study", **asked).parent / "table.csv")) == 2
