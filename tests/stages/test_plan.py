"""Plans are compared with what then happens in tests/benchmarks/test_bench_plan.py."""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medssl import cli
from medssl.config import of
from medssl.data.files import write_json
from medssl.data.manifest import Manifest
from medssl.data.store import Store
from medssl.errors import UserError
from medssl.stages import asked, plan, study
from medssl.stages.plan import rehearsal, scans, stores, training
from medssl.stages.plan.answer import Figure
from medssl.stages.plan.rehearsal import Loop, NoMemory, Rehearsal, rehearse
from medssl.stages.plan.training import _Timed
from medssl.training.checkpoint import sha256
from medssl.training.loop import Fit
from tests.stages.conftest import FIT, TINY
from tests.stages.test_study import KEYS as STUDY
from tests.training.killing import begun, warm

VOCO = {"backbone": TINY, "method": {"size": [8, 8, 8], "width": 16}}
TUNE = {"task": {"size": [16, 16, 16], "width": 4}, "classes": {1: "ball"}}


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory, monkeypatch):
    """Where temporary folders are made: nothing may be left there."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    there = {path.name.partition("_")[0] for path in folder.iterdir()}
    assert there <= {"torchinductor"}  # which torch makes when parts of it are loaded


@pytest.fixture
def at_hand(monkeypatch):
    """Rehearsals in forks of this process, which has imported everything: they begin at once."""

    def carried_out(request, said, several):
        asked, asking = os.pipe()
        child = begun(perform, asked, said)
        os.close(asked)
        with os.fdopen(asking, "w") as stream:
            print(json.dumps(request), file=stream, flush=True)
            _, status = os.waitpid(child, 0)
        return 0, os.waitstatus_to_exitcode(status)

    def perform(asked, said):
        os.dup2(asked, 0)
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
        sys.stdin, sys.stderr = os.fdopen(0), os.fdopen(2, "w")
        rehearsal.perform()

    warm()
    monkeypatch.setattr(rehearsal, "_carried_out", carried_out)


def medssl(*words):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def files(folder: Path) -> dict:
    return {p.relative_to(folder): sha256(p) for p in folder.rglob("*") if p.is_file()}


@pytest.mark.usefixtures("at_hand")
def test_plan_before_a_command_says_what_it_costs_and_runs_nothing(segmented, tmp_path):
    out, told = tmp_path / "run", tmp_path / "plan.json"
    result = medssl(
        "plan", f"out={told}", "pretrain", "voco_small", f"store={segmented / 'store'}", f"out={out}",
        "backbone.channels=4,8", "method.size=8,8,8", "method.width=16", "fit.steps=4000",
        "fit.every=1500", "fit.batch_size=2",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    shown = {line.split("  ")[0] for line in result.stdout.splitlines()}
    assert {"time", "memory", "disk", "batch size"} <= shown and not out.exists()
    found = json.loads(told.read_text())
    parts = found["parts"]
    assert (parts["steps"], parts["checkpoints"]) == (4000, 3)  # 1500, 3000, 4000
    assert found["seconds"]["amount"] == pytest.approx(
        parts["start"] + 4000 * parts["step"] + 3 * parts["checkpoint"]
    )
    assert 0 < parts["step"] < parts["start"]
    assert 2e8 < found["memory"]["amount"] < found["memory"]["room"]
    assert found["batch"]["asked"] == 2
    weights = (segmented / "voco/model/weights.safetensors").stat().st_size
    assert 3 * weights < found["disk"]["amount"] < found["disk"]["room"]
    assert "5 of 4000 steps timed" in result.stdout and str(tmp_path) not in told.read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("at_hand")
def test_of_a_branch_its_own_steps_are_planned(segmented, tmp_path):
    given = dict(**VOCO, store=segmented / "store", out=tmp_path / "low", fit={**FIT, "steps": 9})
    branch = dict(start=segmented / "voco", branch=True)
    before = files(segmented / "voco")
    found = plan.forecast("pretrain", "voco_small", **given, **branch)
    assert (found.parts["steps"], found.parts["checkpoints"]) == (3, 1)
    assert "goes on from step 6 of 9" in str(found) and not (tmp_path / "low").exists()
    assert files(segmented / "voco") == before


@pytest.mark.usefixtures("at_hand")
def test_of_a_run_that_was_cut_off_the_rest_is_planned_and_it_is_left_as_it_is(segmented, tmp_path):
    run = tmp_path / "voco"
    shutil.copytree(segmented / "voco", run)
    shutil.rmtree(run / "checkpoints/step-00000006")
    given = dict(**VOCO, store=segmented / "store", out=run, fit=FIT)
    before = files(run)
    found = plan.forecast("pretrain", "voco_small", **given)
    assert (found.parts["steps"], found.parts["checkpoints"]) == (3, 1)
    assert "goes on from step 3 of 6" in str(found)
    with pytest.raises(UserError, match="other settings: fit.steps") as error:
        plan.forecast("pretrain", "voco_small", **{**given, "fit": {**FIT, "steps": 7}})
    assert error.value.where == str(run) and files(run) == before


@pytest.mark.usefixtures("at_hand")
def test_a_part_of_the_validation_is_timed_and_all_of_it_counted(
    segmented, tmp_path, monkeypatch, capsys
):
    seen = []

    def few(verb, config, *more):
        seen.append(rehearse(verb, config, *more))
        return seen[-1]

    monkeypatch.setattr(training, "rehearse", few)
    monkeypatch.setattr(training, "FEW", 1)
    found = plan.forecast(
        "finetune", "few_labels", **TUNE, arch=TINY, store=segmented / "store", out=tmp_path / "run",
        fit={**FIT, "steps": 600, "every": 100}, patience=3,
    )  # fmt: skip
    assert "1 class: " in capsys.readouterr().err
    one, trained = (seen[0].loop(*which) for which in (("validate", 1), ("train",)))
    assert one.total == 1  # of two validation scans
    sizes = [n for n in trained.seconds]
    assert found.parts["checkpoint"] == pytest.approx(
        sizes[-1] - found.parts["step"] + one.seconds[0], rel=0.2
    )
    assert found.parts["checkpoints"] == 6 and "patience=3 may end it before" in str(found)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("at_hand")
def test_prepare_goes_on_where_it_was_cut_off(cohort, tmp_path):
    given = dict(manifest=cohort / "out/m", recipe={"spacing": [1.2, 1.2, 1.2]})
    store = tmp_path / "store"
    shutil.copytree(cohort / "out/store", store)
    whole = Store.read_from(store)
    for id in Manifest.read(given["manifest"]).used["id"][6:]:
        (store / f"arrays/{whole.items.at[id, 'key']}.json").unlink()
    before = files(store)
    found = plan.forecast("prepare", "mr_crop", **given, out=store)
    assert "goes on from scan 6 of 10; 4 of 4 scans prepared" in str(found)
    assert files(store) == before
    arrays = sum(p.stat().st_size for p in (store / "arrays").iterdir())
    assert found.disk.amount == pytest.approx(0.4 * arrays, rel=0.3)


@pytest.fixture
def two_at_a_time(monkeypatch):
    monkeypatch.setattr(scans, "FEW", 2)
    monkeypatch.setattr(scans, "MANY", 2)


def test_predict_is_tried_on_the_smallest_and_the_largest_scan(
    cohort, segmented, tmp_path, two_at_a_time
):
    """By a new process, as outside the tests: the others fork theirs."""
    given = dict(run=segmented / "tuned", scans=cohort / "images", modality="MR")
    found = plan.forecast("predict", **given, out=tmp_path / "new")
    assert "2 of 10 scans predicted" in str(found) and not (tmp_path / "new").exists()
    assert 0 < found.memory.amount < found.memory.room
    (tmp_path / "done").mkdir()
    (tmp_path / "done/case_0.nii.gz").write_bytes(b"")
    with pytest.raises(UserError, match="EXISTS .* 1 earlier predictions"):
        plan.forecast("predict", **given, out=tmp_path / "done")


@pytest.mark.usefixtures("at_hand")
def test_evaluate_is_tried_on_some_scans_of_the_split(segmented, two_at_a_time):
    before = files(segmented / "tuned")
    found = plan.forecast("evaluate", run=segmented / "tuned", split="train", allow_overlap=True)
    assert "2 of 6 scans scored" in str(found) and files(segmented / "tuned") == before


@pytest.mark.usefixtures("at_hand")
def test_reduce_and_probe_are_tried_on_a_part_of_the_store(segmented, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "FEW", 2)
    monkeypatch.setattr(stores, "READ", 1)
    found = plan.forecast("reduce", store=segmented / "store", out=tmp_path / "selection")
    assert "2 of 6 scans read" in str(found)
    options = {"store": segmented / "store", "probes": ["knn", "dense"], "out": tmp_path / "probe"}
    found = plan.forecast("probe", run=segmented / "voco", **options, allow_overlap=True)
    assert "4 of 10 scans looked at" in str(found) and not list(tmp_path.iterdir())


def test_what_grows_grows_by_its_own_measure():
    loops = [
        Loop("read", 0, 3, [1.0, 9.0, 10.0, 11.0]),  # the first item warms up
        Loop("read", 0, 2, [11.0, 12.0, 13.0]),
        Loop("fit", 0, 1, [16.0, 17.0]),
    ]
    found = Rehearsal(loops, 18.0, 0)
    assert stores._grown(found, {}) == 0
    assert stores._grown(found, {("read", 0): (3, 1)}) == 2 * 3
    assert stores._grown(found, {("read", 1): (1, 5), ("fit", 0): (4, 9)}) == 4 * 3 + 3 * 1


def test_scans_are_spread_over_sizes_and_the_others_follow_from_the_pace():
    sizes = [50, 10, 40, 20, 30]
    assert scans.spread(sizes, 3) == [0, 1, 4] and scans.spread(sizes, 9) == [0, 1, 2, 3, 4]
    loop = Loop("predict", 0, 3, [0.0, 60.0, 61.0, 64.0])  # 0.1 s a voxel, but for the first
    assert scans.beyond(loop, sizes, [0, 1, 4]) == pytest.approx(0.1 * (40 + 20))
    assert scans.beyond(loop, [1, 1, 1], [0, 1, 2]) == 0
    assert [scans.enough([n], 100) for n in (10**9, 20, 1)] == [scans.FEW, 5, scans.MANY]


def steps(seconds, memory, every, workers=0, changes=False, gpu=0):
    times = [0.0]
    for each in seconds:
        times.append(times[-1] + each)
    loop = Loop("train", 0, len(seconds), times, memory, [0] * len(times))
    fit = Fit(steps=len(seconds), every=every, workers=workers)
    return _Timed(Rehearsal([loop], times[-1] + 5, memory[-1], gpu), fit, changes)


def test_a_step_is_told_from_a_checkpoint_and_from_what_is_done_once():
    one = steps([9, 2, 2, 7, 2, 3, 2, 5], [100] + [400] * 8, every=4)
    assert (one.step, one.checkpoint, one.timed) == (2, 3, 5)
    assert one.start == 5 + 7 + 2 + 1  # the first step, the first checkpoint, one slow step
    assert (one.first, one.full, one.held) == (100, 400, 400)
    twice = steps([9, 2, 2, 7, 4, 4, 4, 6], [100] * 9, every=4, changes=True)
    assert (twice.step, twice.later, twice.checkpoint) == (2, 4, 2)


@pytest.fixture
def fitting(monkeypatch, tmp_path):
    """Plans of a training that holds 1 GB and as much a sample, of which `free` is there; a step takes a
    second, after the first checkpoint three of a method that does more from some step on."""

    def made(batch_size, free, fails_from=10**9, preset="mae", **fit):
        def rehearsal(verb, config, *_):
            size, every = config.fit.batch_size, config.fit.every
            if size >= fails_from:
                raise NoMemory
            tried.append(config)
            (config.out / "checkpoints/step-00000001").mkdir(parents=True)
            for name in training.LOGS:
                (config.out / name).write_text("")
            slow = 3 if config.method.options.get("pseudo_from") == every else 1
            times = [float(i) for i in range(every)]
            times += [every + float(i) * slow for i in range(every + 1)]
            held = [10**9] + [int(1e9 * (1 + size))] * (len(times) - 1)
            loop = Loop("train", 0, len(times) - 1, times, held, [0] * len(times))
            return Rehearsal([loop], times[-1] + 1, held[-1])

        tried = []
        monkeypatch.setattr(training, "rehearse", rehearsal)
        monkeypatch.setattr(training, "free_memory", lambda: int(free))
        given = {"batch_size": batch_size, **fit}
        found = plan.forecast("pretrain", preset, out=tmp_path / "run", fit=given)
        return found, [config.fit.batch_size for config in tried]

    return made


def test_the_largest_batch_follows_from_two(fitting):
    found, tried = fitting(4, free=20e9)
    assert tried == [2, 4] and found.batch.largest == 17  # (20 - 2 GB to spare - 1 GB) / 1 GB
    assert found.memory.amount == 5e9 and not found.warnings


def test_a_batch_that_does_not_fit_is_not_tried_but_told(fitting):
    found, tried = fitting(8, free=7e9)
    assert tried == [4] and found.memory.amount == 9e9
    assert found.warnings == ["memory: 9 GB are needed, 7 GB there are; a batch of 5 would fit"]
    assert found.parts["step"] == 2  # twice as long as one of half the samples


def test_a_batch_that_is_killed_is_tried_with_fewer(fitting):
    found, tried = fitting(8, free=100e9, fails_from=3)
    assert tried == [2] and "8 did not fit" in str(found)
    with pytest.raises(UserError, match="not even a batch of one sample fits"):
        fitting(8, free=100e9, fails_from=1)


def test_what_a_method_only_does_later_is_timed_and_counted_from_there(fitting):
    found, _ = fitting(4, free=20e9, preset="voco_omni_small")
    steps, later = (found.parts[key] for key in ("steps", "later_steps"))
    assert (steps, later) == (200, 200)
    assert (found.parts["step"], found.parts["later_step"]) == (1, 3)
    assert found.seconds.amount == pytest.approx(found.parts["start"] + 200 + 600, abs=20)
    never, _ = fitting(4, free=20e9, preset="voco_omni_small", steps=150)
    assert never.parts["later_steps"] == 0 and "from step" not in str(never)


def test_a_process_that_is_killed_is_short_of_memory(cohort, tmp_path, monkeypatch):
    (tmp_path / "hungry.py").write_text(
        "import os, signal, torch\n"
        "class Hungry(torch.nn.Module):\n"
        "    def __init__(self, backbone, augment, *, how: str = ''):\n"
        "        super().__init__()\n"
        "        if how == 'torch':\n"
        '            raise RuntimeError("can\'t allocate memory: you tried to allocate 1 bytes")\n'
        "        if how == 'fault':\n"
        "            torch.zeros(2) @ torch.zeros(3)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = ["method=hungry:Hungry", f"store={cohort / 'out/store'}", f"out={tmp_path / 'run'}"]
    config = asked("pretrain", [*words, "backbone=res_unet"])
    with tempfile.TemporaryDirectory() as folder, pytest.raises(NoMemory):
        rehearse("pretrain", config, Path(folder), config)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pretrain", "mae", "fit.stepz=4"], "did you mean 'fit.steps'"),
        (["pretrain", "vocoo"], "there is no such preset"),
        (["prepare", "--out", "x"], "without dashes"),
        (["run", "quickstart"], "cannot be planned: it calls other verbs"),
        (["index", "scans"], "cannot be planned: it reads headers"),
        (["pretrian", "voco"], "is no verb. Fix: plan one of prepare, reduce, pretrain"),
        (["outt=plan.json", "pretrain"], "unknown key"),
        ([], "names no verb"),
        (["evaluate", "nowhere"], "CHECKPOINT nowhere"),
        (["prepare", "manifest=nowhere"], "MANIFEST .: there is no nowhere"),
    ],
)
def test_what_cannot_be_planned_is_told_as_the_command_itself_would(words, told):
    result = medssl("plan", *words)
    assert result.exit_code == 2 and told in result.output and "Fix: " in result.output


@pytest.mark.usefixtures("at_hand")
def test_the_stage_s_own_errors_name_the_folders_that_were_given(cohort, tmp_path):
    store = tmp_path / "nothing"
    with pytest.raises(UserError, match="STORE .*nothing: holds no readable") as error:
        plan.forecast("pretrain", "mae_small", store=store, out=tmp_path / "run")
    assert error.value.where == str(store)


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
    monkeypatch.setattr(training, "finetune", planned("finetune", 10))
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
    assert quick.seconds.amount == (2 * 30 + 18 * 10 + 12) / 2 + 5
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
    with pytest.raises(UserError, match="labelled"):
        plan.forecast("study", **{**keys, "labelled": [4]})


@pytest.mark.slow
@pytest.mark.usefixtures("at_hand")
def test_each_kind_of_work_of_a_study_is_rehearsed(segmented, tmp_path):
    keys = {**STUDY, "only": ["voco"], "store": segmented / "store", "out": tmp_path / "study"}
    found = plan.forecast("study", **keys)
    assert found.seconds.amount > 0 < found.disk.amount and found.memory.amount > 1e8
    assert "12 x fine-tuning" in found.seconds.rests_on and "8 x scoring" in found.seconds.rests_on
    assert not (tmp_path / "study").exists()


def test_plans_add_up():
    one = plan.Plan("finetune", Figure(60, "", 0), Figure(5, "", 9), Figure(7, "", 30), busy=0.5)
    two = plan.Plan("evaluate", Figure(30, "", 0), Figure(8, "", 9), Figure(1, "", 25))
    found = plan.total({"few": (3, one), "scores": (2, two)})
    assert (found.seconds.amount, found.memory.amount, found.disk.amount) == (240, 8, 23)
    assert found.disk.room == 25 and found.busy == pytest.approx(90 / 240)
    assert "3 x few, 1m00s each; 2 x scores, 0m30s each" in str(found)
    assert one.times(5).seconds.amount == 300
    assert any("alone, about 2m30s" in words for words in found.warnings)
    assert "disk: 35 B are needed, 30 B are free" in one.times(5).warnings[0]
