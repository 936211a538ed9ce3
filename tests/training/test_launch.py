"""Ranks as torchrun and Slurm start them, and runs of several: equal, killed, resumed with others."""

import os
import signal
import subprocess
import sys
import time

import pytest

from medssl.errors import UserError
from medssl.stages import asked, call
from medssl.training.launch import launch, started
from medssl.training.log import read_jsonl
from tests.data.test_store import make
from tests.stages.conftest import TINY

METHOD = {"size": [16, 16, 16], "patch": [4, 4, 4]}


@pytest.mark.parametrize(
    "given, expected",
    [
        ({}, (1, 1)),
        ({"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, (8, 4)),
        ({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "6", "SLURM_STEP_NUM_NODES": "3"}, (6, 2)),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8"}, (1, 1)),  # a batch script, outside srun
    ],
)
def test_who_started_how_many(monkeypatch, given, expected):
    for name in [n for n in os.environ if n.startswith(("SLURM_", "TORCHELASTIC_"))]:
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert started() == expected


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks") / "store"
    make(folder, [(20, 24, 20)] * 4)
    return folder


def words(store, out, **fit):
    options = {"steps": 4, "every": 2, "batch_size": 4, "threads": 1, **fit}
    return [
        "pretrain", "conv_mae_small", f"store={store}", f"out={out}",
        "method.size=16,16,16", "method.patch=4,4,4", f"backbone={TINY}".replace("'", '"'),
        *(f"fit.{k}={v}" for k, v in options.items()),
    ]  # fmt: skip


def start(asked):
    return subprocess.Popen(
        [sys.executable, "-m", "medssl", *asked], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_two_ranks_train_as_one_does_and_others_are_refused_unless_asked_for(store, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for out, devices in ((one, 1), (two, 2)):
        run = start(words(store, out, devices=devices))
        said, told = run.communicate(timeout=600)
        assert run.returncode == 0, told
        assert said == f"{out}\n"  # once, not by every rank
    a, b = (read_jsonl(out / "metrics.jsonl") for out in (one, two))
    assert [r["step"] for r in a] == [r["step"] for r in b]
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys()
        assert all(x[k] == pytest.approx(y[k], rel=1e-3, abs=1e-3) for k in ("loss",) if k in x)

    more = {"store": store, "out": two, "method": METHOD, "backbone": TINY}
    fit = {"steps": 4, "every": 2, "batch_size": 4, "threads": 1}
    (two / "checkpoints/step-00000004").rename(tmp_path / "last")
    with pytest.raises(UserError, match="RANKS step 2: the run had 2 ranks, now there are 1"):
        call("pretrain", "conv_mae_small", **more, fit=fit)
    call("pretrain", "conv_mae_small", **more, fit={**fit, "other_ranks": True})
    assert {"step": 2, "ranks": 1.0} in read_jsonl(two / "metrics.jsonl")


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_all_and_is_named(store, tmp_path):
    run = start(words(store, tmp_path / "run", devices=2, steps=100000))
    children = begun(run, tmp_path / "run/metrics.jsonl")
    os.kill(children[-1], signal.SIGKILL)
    began = time.monotonic()
    _, told = run.communicate(timeout=300)
    assert time.monotonic() - began < 90 and run.returncode == 2
    assert "RANKS rank 1: was ended by SIGKILL" in told
    assert all(map(gone, children))


def test_ranks_are_asked_for_what_was_asked_for(monkeypatch, tmp_path, store):
    """Also where a folder's name holds characters that JSON writes as two."""
    seen = []

    def elastic_launch(settings, python):
        return lambda *words: seen.append(asked(words[2], [words[3]]))

    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", elastic_launch)
    out = tmp_path / "\U0001f9e0 \U00020000"
    config = asked("pretrain", words(store, out, devices=2)[1:])
    assert launch("pretrain", config, 2) == out and seen == [config]


def begun(run, log):
    """The ranks of a run that trains."""
    deadline = time.monotonic() + 400
    while not (log.exists() and len(read_jsonl(log)) > 4) and time.monotonic() < deadline:
        time.sleep(0.2)
    listed = subprocess.run(
        ["pgrep", "-P", str(run.pid)], capture_output=True, text=True, check=True
    )
    children = [int(pid) for pid in listed.stdout.split()]
    assert len(children) == 2
    return children


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return state.stdout.strip() in ("", "Z")  # nobody may be there to ask how it ended


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_process_that_starts_the_ranks_has_them_save_and_leave(
    store, tmp_path, sent
):
    run = start(words(store, tmp_path / "run", devices=2, steps=100000))
    children = begun(run, tmp_path / "run/metrics.jsonl")
    run.send_signal(sent)
    _, told = run.communicate(timeout=300)
    assert run.returncode == (130 if sent == signal.SIGINT else 143), told
    assert f"stopped by {sent.name} at step" in told and "which is saved" in told
    assert all(map(gone, children))


@pytest.mark.slow
def test_ranks_do_not_outlive_the_process_that_started_them(store, tmp_path):
    run = start(words(store, tmp_path / "run", devices=2, steps=100000))
    children = begun(run, tmp_path / "run/metrics.jsonl")
    run.kill()
    deadline = time.monotonic() + 90
    while not all(map(gone, children)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert all(map(gone, children))
