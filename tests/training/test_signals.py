import os
import random
import signal
import threading

import pytest
import torch

from medssl import ranks
from medssl.trainable import StepOutput
from medssl.training.checkpoint import load_state
from medssl.training.log import MetricsLog
from medssl.training.loop import Fit, fit
from medssl.training.optim import Optim
from medssl.training.signals import HEARD, Stop
from tests.benchmarks.signals import Commands, good
from tests.training.test_loop import Line, batches

TERM, USR1, INT = signal.SIGTERM, signal.SIGUSR1, signal.SIGINT
CODES = {TERM: 143, USR1: 143, INT: 130}


class Told(Line):
    """Is told to end in the midst of a step, as often as there are signals."""

    def __init__(self, at=-1, signals=(TERM,)):
        super().__init__()
        self.at, self.signals = at, signals
        self.register_buffer("looked", torch.zeros(()))

    def training_step(self, batch, step):
        if step == self.at:
            for each in self.signals:
                os.kill(os.getpid(), each)
        noise = torch.nn.functional.dropout(batch["image"], 0.5)  # draws from torch's own generator
        return StepOutput((self.backbone(noise) - 3 * batch["image"]).square().mean())


def train(folder, module, amid=-1, sent=TERM, ema=0.9):
    """Steps whose Moment was handed out; `sent` is sent amid that of step `amid`, after it logged."""
    had = []
    settings = Fit(steps=12, batch_size=8, every=5, ema=ema)
    for at in fit(module, batches, settings, Optim(lr=0.2), folder):
        at.module.looked += 1  # as validation sets thresholds
        at.log.write(at.step, validation=float(at.module.backbone.weight.detach() + torch.rand(())))
        if at.step == amid:
            os.kill(os.getpid(), sent)
            raise AssertionError("the signal waited")
        had.append(at.step)
    return had


def code_of(error: BaseException) -> int:
    """What the command line leaves with."""
    return 130 if isinstance(error, KeyboardInterrupt) else error.code


def state(folder):
    weights, trainer = load_state(folder / "checkpoints")
    flat = {**weights, **{f"average {k}": v for k, v in trainer["average"].items()}}
    for number, each in trainer["optimizer"]["state"].items():
        flat |= {f"{number} {k}": torch.as_tensor(v) for k, v in each.items()}
    return flat, trainer["step"], MetricsLog(folder).metrics.read_bytes()


def same(a, b):
    assert a[1:] == b[1:] and a[0].keys() == b[0].keys()
    assert all(torch.equal(a[0][k], b[0][k]) for k in a[0])


@pytest.mark.parametrize("sent", CODES)
@pytest.mark.parametrize("at", [0, 6, 9, 11])
def test_the_step_ends_is_saved_and_the_run_goes_on_to_the_same_bits(tmp_path, capsys, sent, at):
    train(tmp_path / "whole", Told())
    former = {n: signal.getsignal(n) for n in CODES}
    with pytest.raises((SystemExit, KeyboardInterrupt)) as left:
        train(tmp_path / "cut", Told(at, [sent]))
    assert code_of(left.value) == CODES[sent]
    assert {n: signal.getsignal(n) for n in CODES} == former
    told = [line for line in capsys.readouterr().err.splitlines() if "stopped" in line]
    words = "which is saved; the same command goes on from there"
    assert told == [f"stopped by {sent.name} at step {at + 1} of 12, {words}"]
    assert load_state(tmp_path / "cut/checkpoints")[1]["step"] == at + 1
    train(tmp_path / "cut", Told())
    same(state(tmp_path / "cut"), state(tmp_path / "whole"))


@pytest.mark.parametrize("sent", CODES)
@pytest.mark.parametrize("amid", [5, 12])
def test_amid_a_moment_nothing_is_waited_for_and_it_is_had_again(tmp_path, capsys, sent, amid):
    whole = train(tmp_path / "whole", Told())
    with pytest.raises((SystemExit, KeyboardInterrupt)) as left:
        train(tmp_path / "cut", Told(), amid, sent)
    assert code_of(left.value) == CODES[sent] and f"at step {amid} of 12" in capsys.readouterr().err
    assert load_state(tmp_path / "cut/checkpoints")[1]["due"]
    assert train(tmp_path / "cut", Told()) == [step for step in whole if step >= amid]
    same(state(tmp_path / "cut"), state(tmp_path / "whole"))
    assert train(tmp_path / "cut", Told()) == []


@pytest.mark.parametrize("first", [INT, TERM])
def test_a_second_interrupt_leaves_at_once_and_saves_nothing(tmp_path, capsys, first):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, Told(7, [first, INT]))
    assert load_state(tmp_path / "checkpoints")[1]["step"] == 5
    assert "is saved" not in capsys.readouterr().err


def test_what_the_process_ignores_stays_ignored(tmp_path):
    former = signal.signal(TERM, signal.SIG_IGN)
    try:
        assert train(tmp_path, Told(3)) == [5, 10, 12]
        assert signal.getsignal(TERM) == signal.SIG_IGN
    finally:
        signal.signal(TERM, former)


def test_in_a_thread_nothing_is_changed(tmp_path):
    seen = []

    class Looks(Told):
        def after_step(self, step):
            seen.append(signal.getsignal(TERM))

    thread = threading.Thread(target=train, args=(tmp_path, Looks()))
    former = signal.getsignal(TERM)
    thread.start()
    thread.join()
    assert len(seen) == 12 and set(seen) == {former}


@pytest.mark.parametrize("answer", ["exit 0", "echo 'Access denied' >&2; exit 1"])
@pytest.mark.parametrize("sent", [USR1, TERM])
def test_slurm_runs_the_job_again(tmp_path, capsys, monkeypatch, sent, answer):
    fake = tmp_path / "bin/scontrol"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n{answer}\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "1234")
    with pytest.raises(SystemExit):
        train(tmp_path / "run", Told(2, [sent]))
    told, asked = capsys.readouterr().err, tmp_path / "asked"
    assert asked.exists() == (sent == USR1)
    if sent == USR1:
        assert asked.read_text() == "requeue 1234\n"
        assert ("Slurm will give it" in told) == (answer == "exit 0")
        assert ("remark" in told and "Access denied" in told) == (answer != "exit 0")


def test_without_slurm_nobody_is_asked(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(SystemExit):
        train(tmp_path, Told(2, [USR1]))
    assert "Slurm" not in capsys.readouterr().err


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    return Commands(tmp_path_factory.mktemp("signals"))


@pytest.mark.parametrize(("sent", "workers"), [(TERM, 2), (USR1, 0), (INT, 2)])
def test_the_command_leaves_with_the_right_code_and_goes_on_to_the_same_bits(
    commands, sent, workers
):
    found = commands.tell(sent, workers, random.Random(1))
    assert found.code and good(found, sent), found


@pytest.mark.parametrize(
    ("own", "most", "all_hear"),
    [(None, 0, None), (TERM, 1, TERM), (TERM, 2, USR1), (None, 2, USR1), (USR1, 2, USR1), (USR1, 3, INT)],
)  # fmt: skip
def test_ranks_that_hear_otherwise_do_the_same(monkeypatch, own, most, all_hear):
    """As the ranks of a job do that Slurm signals one after the other."""
    told = []
    monkeypatch.setattr(ranks, "largest", lambda number: told.append(number) or most)
    stop = Stop()
    if own:
        stop.hear(own)
    assert stop.anywhere() == bool(most) and stop.asked == all_hear
    assert told == [0 if own is None else 1 + HEARD.index(own)]
