"""F1, F2, P4: killed at any call of the file system, at any moment, and resumed to the same bits."""

import shutil

import pytest
import torch
from torch import nn

from medssl.training import checkpoint
from medssl.training.log import MetricsLog
from tests.benchmarks.kills import ROWS, Trained, tried
from tests.training.killing import KILLED, Killer, forked

ENOUGH = 500  # calls; more are made by no save


def saved(folder, step, value):
    net = nn.Linear(3, 3)
    nn.init.constant_(net.weight, value)
    state = {"optimizer": {"a": torch.full((4,), float(value))}, "due": False}
    checkpoint.save_state(folder, step, net.state_dict(), state)


def value_of(folder):
    weights, trainer = checkpoint.load_state(folder)
    assert (weights["weight"] == trainer["optimizer"]["a"][0]).all(), "two states are mixed"
    return trainer["step"], float(weights["weight"][0, 0])


def killed_at_every_call(folder, act, check):
    """`act(copy)` is killed before its first call, its second and so on, until it ends unharmed;
    `check(copy)` looks at what each left. Returns how many calls there were."""
    for at in range(ENOUGH):
        copy = folder.with_name(f"copy-{at}")
        shutil.copytree(folder, copy)

        def killed(at=at, copy=copy):
            Killer(at)
            act(copy)

        code = forked(killed)
        assert code in (KILLED, 0)
        check(copy)
        shutil.rmtree(copy)
        if code == 0:
            return at
    raise AssertionError("it goes on for ever")


@pytest.mark.parametrize(
    ("before", "step", "either"),
    [
        ([], 1, [None, (1, 9.0)]),  # the first of all
        pytest.param([1], 2, [(1, 1.0), (2, 9.0)], marks=pytest.mark.slow),
        ([1, 2], 3, [(2, 2.0), (3, 9.0)]),  # the oldest goes
        ([2], 2, [(2, 2.0), (2, 9.0)]),  # one of the same step is replaced
        pytest.param([1, 2], 2, [(2, 2.0), (2, 9.0)], marks=pytest.mark.slow),
    ],
)
def test_after_every_call_of_a_save_the_newest_complete_checkpoint_loads(
    tmp_path, before, step, either
):
    folder, seen = tmp_path / "checkpoints", []
    folder.mkdir()
    for each in before:
        saved(folder, each, each)

    def check(copy):
        found = checkpoint.load_state(copy)
        seen.append(value_of(copy) if found else None)
        saved(copy, step + 1, 7)  # and the next save finds nothing in its way
        assert value_of(copy) == (step + 1, 7.0) and not list(copy.glob(".*"))

    calls = killed_at_every_call(folder, lambda copy: saved(copy, step, 9), check)
    assert calls > 20
    # First the old one, from some call on the new one, and never anything else.
    turned = seen.index(either[1])
    assert seen == [either[0]] * turned + [either[1]] * (calls + 1 - turned)


def test_after_every_call_that_writes_a_model_there_is_the_old_one_or_the_new_one(tmp_path):
    card = {k: {} for k in checkpoint.KEYS[0]} | {"kind": "pretrained", "steps": 1}

    def write(folder, value):
        net = nn.Linear(2, 2)
        nn.init.constant_(net.weight, value)
        checkpoint.save_model(folder / "model", {"backbone": net}, card)

    def check(copy):
        if not (
            copy / "model"
        ).exists():  # killed between two renamings: the run's next save mends it
            assert (copy / ".model.old").exists()
        else:
            net = nn.Linear(2, 2)
            checkpoint.load_weights(copy, net, "backbone")
            assert float(net.weight[0, 0]) in (1.0, 9.0)
        write(copy, 5)
        assert [p.name for p in copy.iterdir() if "model" in p.name] == ["model"] or list(
            copy.glob(".model.*")
        )

    (tmp_path / "run").mkdir()
    write(tmp_path / "run", 1)
    assert killed_at_every_call(tmp_path / "run", lambda copy: write(copy, 9), check) > 20


def test_after_every_call_of_a_rewinding_the_log_is_whole(tmp_path):
    (tmp_path / "run").mkdir()
    log = MetricsLog(tmp_path / "run")
    for step in range(1, 9):
        log.write(step, loss=1 / step)
        log.time(step, seconds=step, samples=step)

    def check(copy):
        rows = MetricsLog(copy).rows()
        assert [row["step"] for row in rows] in ([*range(1, 9)], [*range(1, 6)])

    def act(copy):
        MetricsLog(copy).rewind(5)

    assert killed_at_every_call(tmp_path / "run", act, check) > 6


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return Trained(tmp_path_factory.mktemp("kills"))


@pytest.mark.parametrize("row", ROWS[:4], ids=lambda row: " ".join(map(str, row)))
def test_killed_and_resumed_to_the_same_bits(trained, row):
    found = tried(trained, *row, seed=1)
    assert found.killed and found.same, found


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS[:100], ids=lambda row: " ".join(map(str, row)))
def test_killed_and_resumed_to_the_same_bits_with_all_methods(trained, row):
    found = tried(trained, *row, seed=2)
    assert found.killed and found.same, found


@pytest.mark.parametrize("method", ["voco", pytest.param("moco", marks=pytest.mark.slow)])
def test_any_number_of_workers_gives_the_same_bits(trained, method):
    known = trained.known(method)
    for workers in (1, 2, 4):
        assert trained.whole(method, workers) == known, workers
