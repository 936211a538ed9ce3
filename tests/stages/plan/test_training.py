"""Steps, batches and memory of a training that is planned."""

import tempfile
from pathlib import Path

import pytest

from medssl.errors import UserError
from medssl.stages import asked, plan
from medssl.stages.plan import training
from medssl.stages.plan.rehearsal import Loop, NoMemory, Rehearsal, rehearse
from medssl.stages.plan.training import _Timed
from medssl.training.loop import Fit


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


def test_one_of_several_devices_is_tried_and_that_is_said(fitting):
    found, tried = fitting(4, free=20e9, devices=2)
    assert tried == [2, 4] and "on one device with whole batches, which 2 share" in str(found)
    alone, _ = fitting(4, free=20e9)
    assert alone.seconds.amount == found.seconds.amount and "on one device" not in str(alone)


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
