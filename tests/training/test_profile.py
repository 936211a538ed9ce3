import csv

import pytest
import torch

from medssl import stopwatch
from medssl.training.hardware import Hardware
from medssl.training.loop import Fit, fit
from medssl.training.optim import Optim
from medssl.training.profile import PARTS, WARM, profiled
from tests.training.test_loop import Line, batches


def timed_batches(first, last, times=1):
    for batch in batches(first, last):
        yield {**batch, "spent": times * torch.tensor([[2e-6, 4e-6], [2e-6, 0.0]])}


def rows_of(folder, wanted=True, workers=0, steps=12, times=1, **options):
    settings = Fit(steps=steps, batch_size=8, every=4, device="cpu", **options)
    with profiled(wanted, folder, settings, workers) as reading:
        for moment in fit(
            Line(), lambda a, b: reading(timed_batches(a, b, times)), settings, Optim(), folder
        ):
            assert ("spent" in moment.batch) is not wanted
    path = folder / "profile.csv"
    return {(r["where"], r["part"]): r for r in csv.DictReader(open(path))} if path.exists() else {}


def test_parts_of_the_steps_are_written_and_shown(tmp_path, capsys):
    rows = rows_of(tmp_path)
    assert {part for where, part in rows} == set(PARTS) - {"augment"}
    apart = rows.pop(("checkpoints", "checkpoint"))  # which are no part of a step
    assert apart["share"] == "" and float(apart["milliseconds"]) > 0
    assert {where for where, part in rows} == {"step"}
    assert sum(float(r["share"]) for r in rows.values()) == pytest.approx(1, abs=1e-3)
    # What the samples say of themselves: 4 us a batch each.
    assert float(rows["step", "read"]["milliseconds"]) == pytest.approx(0.004)
    assert float(rows["step", "decode"]["milliseconds"]) == pytest.approx(0.004)
    assert float(rows["step", "backward"]["milliseconds"]) > 0
    said = capsys.readouterr().err
    assert f"over {12 - WARM} steps" in said and "backward" in said


def test_time_that_samples_took_is_not_waited_for_as_well(tmp_path):
    """Of samples that claim half a second each, though none has passed, waiting has less than nothing."""
    rows = rows_of(tmp_path, times=125_000)
    assert float(rows["step", "read"]["milliseconds"]) == pytest.approx(500)
    assert float(rows["step", "wait"]["milliseconds"]) < -900


def test_what_other_processes_read_has_no_share(tmp_path):
    rows = rows_of(tmp_path, workers=2)
    assert rows["workers", "decode"]["share"] == "" and ("step", "decode") not in rows
    assert float(rows["workers", "read"]["milliseconds"]) == pytest.approx(0.004)
    shares = [float(r["share"]) for (where, _), r in rows.items() if where == "step"]
    assert sum(shares) == pytest.approx(1, abs=1e-3)


def test_off_there_is_nothing_and_the_figures_of_the_run_are_the_same(tmp_path):
    assert rows_of(tmp_path / "off", wanted=False) == {}
    rows_of(tmp_path / "on")
    logs = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("off", "on")]
    assert logs[0] == logs[1] and stopwatch._now is None


def test_a_run_that_had_ended_is_told_how_to_be_timed(tmp_path, capsys):
    rows = rows_of(tmp_path / "run")
    assert "timed nothing" not in capsys.readouterr().err
    assert rows_of(tmp_path / "run") == rows  # those of before stay
    said = capsys.readouterr().err
    assert "timed nothing" in said and f"out={tmp_path}/run-profile fit.steps=50" in said
    rows_of(tmp_path / "run", wanted=False)
    assert "timed nothing" not in capsys.readouterr().err


def test_a_gpu_is_waited_for(tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(Hardware, "take", lambda self: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append(1))
    with profiled(True, tmp_path, Hardware(), 0):
        stopwatch.lap("forward")
    assert waited
