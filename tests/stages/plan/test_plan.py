"""Plans are compared with what then happens in tests/benchmarks/test_bench_plan.py."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medssl import cli
from medssl.data.manifest import Manifest
from medssl.data.store import Store
from medssl.errors import UserError
from medssl.stages import plan
from medssl.stages.plan import scans, stores, training
from medssl.stages.plan.answer import Figure
from medssl.stages.plan.rehearsal import Loop, Rehearsal, rehearse
from medssl.training.durable import sha256
from tests.stages.conftest import FIT, TINY

VOCO = {"backbone": TINY, "method": {"size": [8, 8, 8], "width": 16}}
TUNE = {"task": {"size": [16, 16, 16], "width": 4}, "classes": {1: "ball"}}


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


@pytest.mark.usefixtures("at_hand")
def test_embed_is_tried_on_a_part_of_the_store(segmented, tmp_path, monkeypatch):
    monkeypatch.setattr(scans, "FEW", 2)
    monkeypatch.setattr(stores, "PREDICTED", 1)
    options = {
        "run": segmented / "voco",
        "store": segmented / "store",
        "out": tmp_path / "features",
    }
    found = plan.forecast("embed", **options)
    assert "2 of 10 scans looked at" in str(found) and not list(tmp_path.iterdir())
    assert found.seconds.amount > 0 and found.disk.amount > 0


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
        (["prepare", "manifest=nowhere"], "MANIFEST nowhere: there is no such manifest"),
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
