import json
import os
import shutil
import subprocess
import sys

import pytest

from medssl.training import registry

CARD = {
    "kind": "finetuned", "steps": 20, "config": {"fit": {"steps": 20}, "task": {"name": "segmentation"}},
    "backbone": {"name": "res_unet"}, "recipe": {}, "weights_sha256": "aa", "classes": {"1": "ball"},
    "patients": {"pretrain": ["p1"], "train": ["p2"], "validation": ["p3"]},
    "scans": {"train": ["s"]}, "validation": 0.5, "figure": "mean Dice",
    "start": "from scratch", "trained_on": 1,
}  # fmt: skip
CONFIG = {"fit": {"steps": 20, "seed": 3}, "task": {"name": "segmentation"}, "patience": 0}
FIGURE = {"estimate": 0.5, "low": 0.4, "high": 0.6, "n_patients": 20, "n_cases": 30}
EVALUATION = {
    "metrics": {"dice, ball": FIGURE, "dice, mean of classes": FIGURE},
    "split": "test", "n_patients": 20, "weights_sha256": "aa",
}  # fmt: skip


def made(folder, config=CONFIG, card=CARD, evaluation=None, logged=20, checkpoint=20):
    """A run's folder with nothing in it but what is read."""
    (folder / "model").mkdir(parents=True)
    (folder / "model/weights.safetensors").write_bytes(b"")
    (folder / ".lock").touch()
    for name, values in (
        ("config", config),
        ("model/card", card),
        ("evaluation/metrics", evaluation),
    ):
        if values is not None:
            (folder / name).parent.mkdir(exist_ok=True)
            text = values if isinstance(values, str) else json.dumps(values)
            (folder / f"{name}.json").write_text(text)
    rows = [
        json.dumps({"step": n, "loss": 1.0, "validation": 0.9 - n / 100})
        for n in range(1, logged + 1)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    if checkpoint:
        (folder / f"checkpoints/step-{checkpoint:08d}").mkdir(parents=True)
    return folder


def test_a_whole_run_tells_what_it_is(tmp_path):
    run = registry.read(made(tmp_path / "r", evaluation=EVALUATION))
    assert (run.verb, run.name, run.state, run.steps, run.asked) == (
        "finetune", "segmentation", "finished", 20, 20
    )  # fmt: skip
    assert run.config.fit.seed == 3 and run.origin == "scratch" and not run.faults
    name, figure = run.evaluation.headline
    assert name == "dice, mean of classes" and str(figure) == "0.500 (0.400 to 0.600)"
    assert run.warnings == {} and not run.stale and run.date.startswith("20")


def test_one_that_was_stopped_is_where_it_would_go_on_from(tmp_path):
    run = registry.read(made(tmp_path / "r", logged=15, checkpoint=10))
    assert (run.state, run.steps) == ("stopped", 10)
    # A run whose checkpoints were deleted, to save room, has its log.
    run = registry.read(made(tmp_path / "s", logged=20, checkpoint=0))
    assert (run.state, run.steps) == ("finished", 20)
    run = registry.read(made(tmp_path / "t", card=None, logged=0, checkpoint=0))
    assert (run.state, run.steps) == ("stopped", 0)


def test_one_that_gained_no_more_has_finished(tmp_path):
    config = {**CONFIG, "patience": 3}
    run = registry.read(made(tmp_path / "r", config, logged=4, checkpoint=3))
    assert run.ended_early and (run.state, run.steps) == ("finished", 4)
    run = registry.read(made(tmp_path / "s", config, logged=3, checkpoint=3))
    assert not run.ended_early and run.state == "stopped"


HOLD = """
import sys, time
from medssl.training.run_folder import opened
with opened(sys.argv[1], {"fit": {"steps": 20}, "task": {"name": "segmentation"}}):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_run_that_another_process_holds_is_running(tmp_path):
    folder = tmp_path / "r"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"held\n"
        (folder / "metrics.jsonl").write_text('{"step": 7, "loss": 1}\n{"step": 8, "lo')
        (folder / "checkpoints/step-00000005").mkdir(parents=True)
        run = registry.read(folder)
        assert (run.state, run.steps) == ("running", 7)
        # All steps are done, and the model is about to be written for the first time.
        (folder / "metrics.jsonl").write_text('{"step": 20, "loss": 1}\n')
        shutil.rmtree(folder / "checkpoints")
        assert registry.read(folder).state == "running"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    run = registry.read(folder)  # killed before it was: there is nothing to go on from
    assert (run.state, run.steps) == ("stopped", 0)


DAMAGE = {
    "torn config": ({"config": '{"fit": {"steps'}, "config.json cannot be read"),
    "empty config": ({"config": ""}, "config.json cannot be read"),
    "config of a list": ({"config": "[1, 2]"}, "config.json holds no mapping"),
    "config without steps": ({"config": {"task": {"name": "x"}}}, "config.json: fit field required"),
    "steps that are a word": ({"config": {"fit": {"steps": "many"}}}, "config.json: fit.steps"),
    "config of no run": ({"config": {"fit": {"steps": 20}}}, "neither a method nor a task"),
    "torn card": ({"card": '{"kind": "fine'}, "model/card.json cannot be read"),
    "card without steps": (
        {"card": {k: v for k, v in CARD.items() if k != "steps"}}, "model/card.json: steps"
    ),
    "card of another recipe": ({"card": {**CARD, "recipe": {"colour": 1}}}, "recipe.colour"),
    "torn evaluation": ({"evaluation": '{"metrics": {"di'}, "evaluation/metrics.json cannot be read"),
    "evaluation of words": ({"evaluation": {"metrics": {"dice": "good"}}}, "evaluation/metrics.json"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_damaged_is_a_fault_with_its_file(tmp_path, kind):
    changes, words = DAMAGE[kind]
    run = registry.read(made(tmp_path / "r", **changes))
    assert run.state == "damaged" and words in "; ".join(run.faults)
    assert words in run.warnings["damaged"]


def test_lost_parts_are_faults(tmp_path):
    folder = made(tmp_path / "r")
    (folder / "model/weights.safetensors").unlink()
    assert registry.read(folder).faults == ("model/weights.safetensors is missing",)
    assert registry.read(made(tmp_path / "s", card=None)).faults == (
        "training has ended, and model/ is not there",
    )
    (folder / "metrics.jsonl").write_bytes(b"\xff\xfe\x00garbage\n3\n")
    assert registry.read(folder).logged == 0
    empty = tmp_path / "t"
    empty.mkdir()
    assert registry.read(empty).faults == ("there is no config.json that says what was asked",)


def test_a_copy_without_its_config_is_read_by_its_card(tmp_path):
    run = registry.read(made(tmp_path / "r", config=None))
    assert (run.verb, run.name, run.asked, run.state) == (
        "finetune",
        "segmentation",
        20,
        "finished",
    )


def test_what_changes_the_meaning_of_figures_is_said(tmp_path):
    seen = {"pretrain": ["p3"], "train": ["p2"], "validation": ["p3", "p4"]}
    told = {
        **EVALUATION, "n_patients": 4, "trained_on_held_out_patients": {"train": 2},
        "n_look_alikes_of_training_scans": 3, "weights_sha256": "bb", "remarks": ["all were called no"],
        "n_cases_of_unknown_patients": 1,
    }  # fmt: skip
    config = {**CONFIG, "allow_overlap": True}
    card = {**CARD, "patients": seen, "alarm": "collapsed to a point"}
    run = registry.read(made(tmp_path / "r", config, card, told))
    assert run.marks == [
        "ALARM", "validation seen", "overlap allowed", "test seen", "look-alikes", "other weights"
    ]  # fmt: skip
    little = registry.read(made(tmp_path / "s", card={**CARD, "validation": 0.01, "chance": 0.05}))
    assert (
        little.marks == ["learnt nothing"] and "more fit.steps" in little.warnings[little.marks[0]]
    )
    words = " ".join(run.warnings.values())
    for each in ("collapsed to a point", "1 patients", "2 in train", "3 scored scans", "4 patients",
                 "all were called no", "whose 1 scored"):  # fmt: skip
        assert each in words, each


def test_what_a_run_started_from(tmp_path):
    config = {**CONFIG, "backbone": "/data/runs/voco"}
    card = {**CARD, "start": "pretrained with voco"}
    assert registry.read(made(tmp_path / "a", config, card)).origin == "voco, pretrained with voco"
    scratch = {**config, "from_scratch": True}
    assert registry.read(made(tmp_path / "b", scratch)).origin == "scratch"
    pretrain = {"fit": {"steps": 20}, "method": {"name": "voco"}, "backbone": {"name": "vit"}}
    found = registry.read(made(tmp_path / "c", pretrain))
    assert (found.verb, found.name, found.origin) == ("pretrain", "voco", "random weights")
    found = registry.read(made(tmp_path / "d", {**pretrain, "start": "runs/mae"}))
    assert found.origin == "weights of mae"


def test_runs_are_found_at_any_depth_and_once_and_nowhere_else(tmp_path, monkeypatch):
    for name in ("b", "a/deep/down", "b/nested"):
        made(tmp_path / name)
    made(tmp_path / "store/arrays/x")  # in what is not walked through
    (tmp_path / "store/store.json").write_text("{}")
    made(tmp_path / "b/checkpoints/y")
    made(tmp_path / ".hidden/z")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.json").write_text('{"architectures": ["Bert"]}')  # not of ours
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn/config.json").write_text("{")
    (tmp_path / "torn/.lock").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    looked, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda p: looked.append(str(p)) or scandir(p))
    found = [p.relative_to(tmp_path).as_posix() for p in registry.find(tmp_path)]
    assert found == ["a/deep/down", "b", "b/nested", "torn"]
    inside = {"arrays", "checkpoints", "model", ".hidden"}
    assert not [p for p in looked if inside & set(p.split("/"))]
    assert list(registry.find(tmp_path / "a/deep/down")) == [tmp_path / "a/deep/down"]


def test_a_folder_that_cannot_be_looked_into_is_said(tmp_path, monkeypatch, capsys):
    made(tmp_path / "b")
    (tmp_path / "a").mkdir()
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert list(registry.find(tmp_path)) == [tmp_path / "b"]
    assert "cannot be looked into (Permission denied)" in capsys.readouterr().err
