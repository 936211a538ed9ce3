"""With stand-ins for the packages, and with TensorBoard's own where it is installed."""

import os
import sys
import types

import pytest

from medssl.errors import UserError
from medssl.training.log import read_jsonl
from medssl.training.loop import Fit, fit
from medssl.training.optim import Optim
from medssl.training.trackers import TRACKERS, tracking
from tests.training.test_loop import Line, batches

CONFIG = {"fit": {"steps": 6}, "store": "store"}


class Told(list):
    """What a stand-in was asked for: (name, arguments, options)."""

    def noting(self, name, gives=None):
        def called(*args, **options):
            self.append((name, args, options))
            return gives

        return called

    def of(self, name):
        return [(args, options) for n, args, options in self if n == name]


@pytest.fixture
def told(monkeypatch):
    told = Told()
    writer = types.SimpleNamespace(
        add_scalar=told.noting("scalar"), add_text=told.noting("text"), close=told.noting("close")
    )
    board = types.ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = told.noting("open", writer)
    wandb = types.ModuleType("wandb")
    wandb.Settings = told.noting("settings", "quiet")
    run = types.SimpleNamespace(log=told.noting("log"), finish=told.noting("close"))
    wandb.init = told.noting("init", run)
    mlflow = types.ModuleType("mlflow")
    client = types.SimpleNamespace(
        get_experiment_by_name=told.noting("experiment"), log_metric=told.noting("metric"),
        create_experiment=told.noting("create", "1"), log_param=told.noting("param"),
        create_run=told.noting("run", types.SimpleNamespace(info=types.SimpleNamespace(run_id="r"))),
        set_terminated=told.noting("close"),
    )  # fmt: skip
    mlflow.MlflowClient = told.noting("client", client)
    modules = {"torch.utils.tensorboard": board, "wandb": wandb, "mlflow": mlflow}
    modules["tensorboard"] = types.ModuleType("tensorboard")
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    return told


def train(folder, name, steps=6):
    folder.mkdir(exist_ok=True)
    settings = Fit(steps=steps, batch_size=8, every=3, device="cpu", track=name)
    with tracking(name, folder, CONFIG) as tracker:
        for moment in fit(Line(), batches, settings, Optim(), folder, tracker=tracker):
            moment.log.write(moment.step, score=float("nan"), validation=0.5)


def given(told, name):
    """(step, name, value) of all figures."""
    if name == "tensorboard":
        return [(step, key, value) for (key, value, step), _ in told.of("scalar")]
    if name == "wandb":
        return [(o["step"], k, v) for (row,), o in told.of("log") for k, v in row.items()]
    return [(o["step"], key, value) for (_, key, value), o in told.of("metric")]


@pytest.mark.parametrize("name", TRACKERS)
def test_the_figures_are_those_of_the_log(tmp_path, told, name):
    train(tmp_path / "run", name)
    rows = read_jsonl(tmp_path / "run/metrics.jsonl")
    expected = [(row["step"], key, value) for row in rows for key, value in row.items()
                if key != "step" and value is not None]  # fmt: skip
    assert given(told, name) == expected and (6, "validation", 0.5) in expected
    assert len(told.of("close")) == 1


def test_nothing_is_sent_and_nothing_is_written_elsewhere(tmp_path, told):
    for name in TRACKERS:
        train(tmp_path / name, name)
    ((_, started),) = told.of("init")
    assert started["mode"] == "offline" and started["dir"] == str(tmp_path / "wandb")
    assert started["config"] == CONFIG and started["settings"] == "quiet"
    ((_, quiet),) = told.of("settings")
    assert quiet["disable_git"] and quiet["x_disable_meta"] and quiet["console"] == "off"
    ((_, client),) = told.of("client")
    assert client["tracking_uri"] == f"sqlite:///{tmp_path}/mlflow/mlflow/mlflow.db"
    assert told.of("create")[0][0][1].startswith(f"file://{tmp_path}/mlflow/mlflow/")
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert {args[1:] for args, _ in told.of("param")} == {("fit.steps", "6"), ("store", "store")}
    assert told.of("open")[0][0] == (str(tmp_path / "tensorboard/tensorboard"),)


def test_a_run_that_goes_on_hides_what_was_written_too_much(tmp_path, told):
    train(tmp_path / "run", "tensorboard", steps=3)
    (tmp_path / "run/config.json").write_text("{}")
    told.clear()
    train(tmp_path / "run", "tensorboard", steps=6)
    assert told.of("open")[0][1] == {"purge_step": 4}


@pytest.mark.parametrize("name", TRACKERS)
def test_a_package_that_is_not_installed_is_named(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=f"needs {name}.* Fix: pip install 'medssl.track.'"):
        train(tmp_path, name)


def test_none_is_none(tmp_path, told):
    train(tmp_path / "run", "none")
    assert told == []


@pytest.mark.parametrize("name", TRACKERS)
def test_without_figures_none_is_opened(tmp_path, told, name):
    """As in a run that has ended, or on a rank that does not write."""
    with tracking(name, tmp_path, CONFIG):
        pass
    assert told == [] and not list(tmp_path.iterdir())


def test_tensorboard_itself_reads_them_back(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path / "run", "tensorboard")
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    rows = [r for r in read_jsonl(tmp_path / "run/metrics.jsonl") if "loss" in r]
    found = {event.step: event.value for event in events.Scalars("loss")}
    assert found == pytest.approx({row["step"]: row["loss"] for row in rows})
