"""What is left of a study, counted."""

import json
from contextlib import contextmanager
from pathlib import Path

import pytest

from medssl.command_line import of
from medssl.data.files import write_json
from medssl.errors import UserError
from medssl.stages import plan, study
from medssl.stages.plan import rehearsal, scans, training
from medssl.stages.plan.answer import Figure
from tests.stages.study.conftest import KEYS as STUDY


def begun_with(keys: dict) -> None:
    """The folder of a study that has been begun, and has done nothing yet."""
    told = of(study.Config, "study", "", keys).model_dump(mode="json")
    keys["out"].mkdir()
    write_json(keys["out"] / "config.json", told)


@pytest.fixture
def costing(monkeypatch):
    """Plans of a second and a byte for each kind of work, and the configs that were asked about."""
    asked = []

    def planned(verb, seconds):
        def plan(config, folder, **_):
            asked.append((verb, config))
            (folder / "batch-2/model").mkdir(parents=True, exist_ok=True)
            room, gpu = Figure(1, "", 9), Figure(2, "", 9)
            return plan_of(verb, Figure(seconds + 5, ""), room, room, gpu, loading=5)

        return plan

    plan_of = plan.Plan
    monkeypatch.setattr(training, "pretrain", planned("pretrain", 1000))
    monkeypatch.setattr(training, "fine_tuning", planned("finetune", 10))
    monkeypatch.setattr(scans, "evaluate", planned("evaluate", 1))
    return asked


def test_of_a_study_what_is_left_is_counted(cohort, tmp_path, costing):
    out = tmp_path / "study"
    keys = {**STUDY, "store": cohort / "out/store", "out": out}
    found = plan.forecast("study", **keys)
    # Two trials of the first draw and one of the second, for two arms and the one from scratch; all in
    # one process, which loads what it needs once.
    for words in ("1 x pretraining of mae", "18 x fine-tuning, 0m10s", "12 x scoring, 0m01s"):
        assert words in found.seconds.rests_on
    assert found.seconds.amount == 2 * 1000 + 18 * 10 + 12 + 5
    assert found.disk.amount == 2 + 12 + 1 and not out.exists()  # one fine-tuning at work
    assert plan.forecast("study", **keys, keep=True).disk.amount == 2 + 12 + 18
    quick = plan.forecast("study", **keys, minutes=0.5, jobs=2)
    assert "by 2 jobs, which were tried side by side" in quick.seconds.rests_on
    assert quick.seconds.amount == (2 * 30 + 18 * 10 + 12) / 2 + 5
    alone = plan.forecast("study", **{**keys, "only": ["mae"], "minutes": 0.5}, jobs=2)
    assert alone.seconds.amount == 30 + (12 * 10 + 8) / 2 + 5  # one pretrains, the other waits
    assert (quick.memory.amount, quick.gpu.amount, quick.disk.amount) == (2, 4, 2 + 12 + 2)
    begun_with(keys)
    for made in ("pretrain/voco/pretrained.json", "finetune/voco/2-draw0-seed0-trial1/trained.json",
                 "finetune/mae/4-draw1-seed0-trial1/trained.json",
                 "finetune/mae/4-draw1-seed0-trial1/scored.json"):  # fmt: skip
        (out / made).parent.mkdir(parents=True, exist_ok=True)
        (out / made).touch()
    left = plan.forecast("study", **keys).seconds
    assert left.amount == 1000 + 16 * 10 + 11 + 5 and "pretraining of voco" not in left.rests_on


def test_networks_of_a_study_are_told_apart_and_what_is_done_costs_nothing(
    segmented, tmp_path, costing
):
    arms = {
        "wide": {"pretrain": ["mae_small", "voco_small"]},
        "one": {"backbone": segmented / "voco"}, "two": {"backbone": segmented / "voco"},
    }  # fmt: skip
    keys = {**STUDY, "arms": arms, "labelled": [2], "draws": 1, "trials": [], "scratch_trials": [],
            "pretrain": {}, "store": segmented / "store", "out": tmp_path / "a"}  # fmt: skip
    told = plan.forecast("study", **keys).seconds.rests_on
    for words in ("1 x pretraining of wide, mae_small", "1 x pretraining of wide, voco_small",
                  "2 x fine-tuning, as wide", "3 x fine-tuning, as one"):  # fmt: skip
        assert words in told
    assert all(config.start is None for verb, config in costing if verb == "pretrain")
    wide, one = (config for verb, config in costing if verb == "finetune")
    assert (wide.backbone, wide.arch.name) == (None, "res_unet")
    assert one.backbone == segmented / "voco" and not one.from_scratch
    keys["only"] = ["one", "two"]
    begun_with(keys)
    for arm in ("from-scratch", "one", "two"):
        folder = tmp_path / f"a/finetune/{arm}/2-draw0-seed0-trial0"
        folder.mkdir(parents=True)
        (folder / "trained.json").touch()
        (folder / "scored.json").touch()
    assert plan.forecast("study", **keys).seconds == Figure(0, "all has been done")
    with pytest.raises(UserError, match="minutes"):
        plan.forecast("study", **{**keys, "minutes": 3})


def test_jobs_are_tried_side_by_side_and_end_with_what_they_keep_company(
    cohort, tmp_path, monkeypatch
):
    began, ended = [], []

    @contextmanager
    def process(request, said):
        began.append(request)
        yield
        ended.append(request)

    def carried_out(request, said, several):
        assert len(began) == 2 and not ended
        Path(request["told"]).write_text(json.dumps({"loops": [], "memory": 1, "waited": 0}))
        return 0, 0

    monkeypatch.setattr(rehearsal, "_process", process)
    monkeypatch.setattr(rehearsal, "_carried_out", carried_out)
    config = of(study.Config, "study", "", {**STUDY, "store": cohort / "out/store"})
    with rehearsal.in_company(2):
        rehearsal.rehearse("study", config, tmp_path, config)
    assert ended == began[::-1]
    outs = [Path(request["values"]["out"]) for request in began]
    assert len({*outs, config.out}) == 3 and all(out.is_relative_to(tmp_path) for out in outs)
    began.clear()
    with pytest.raises(AssertionError):
        rehearsal.rehearse("study", config, tmp_path, config)  # alone again
    assert not began


@pytest.mark.slow
@pytest.mark.usefixtures("at_hand")
def test_each_kind_of_work_of_a_study_is_rehearsed(segmented, tmp_path):
    keys = {**STUDY, "only": ["voco"], "store": segmented / "store", "out": tmp_path / "study"}
    found = plan.forecast("study", **keys)
    assert found.seconds.amount > 0 < found.disk.amount and found.memory.amount > 1e8
    assert "12 x fine-tuning" in found.seconds.rests_on and "8 x scoring" in found.seconds.rests_on
    assert not (tmp_path / "study").exists()
