"""The figures of metrics.jsonl for TensorBoard, Weights & Biases or MLflow as well.

All of it is written below the run's folder, and nothing is sent: Weights & Biases is offline, MLflow has a
file for a server, and its reports of use are off. Of the config they get what may be shared, without paths.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from medssl.config import flat
from medssl.errors import UserError

PROJECT = "medssl"
LONGEST_VALUE = 500  # characters of a setting that MLflow takes


class Tracker(Protocol):
    def write(self, step: int, figures: dict[str, float]) -> None:
        """Figures of a step, those that are numbers; steps rise, and may come several times."""

    def close(self) -> None:
        """Nothing more comes."""


class TensorBoard:
    """`tensorboard --logdir RUN/tensorboard`; what a killed sitting wrote too much is hidden."""

    def __init__(self, folder: Path, config: dict, first: int):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first)
        self.writer.add_text("config", f"```\n{json.dumps(config, indent=1)}\n```", first)

    def write(self, step: int, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class WeightsAndBiases:
    """`wandb sync RUN/wandb/offline-run-*` sends it, if somebody wants to; nothing else does.

    Left out is what it gathers by itself: the command line, the machine, the repository, the terminal.
    """

    def __init__(self, folder: Path, config: dict, first: int):
        import wandb

        quiet = wandb.Settings(
            console="off", disable_code=True, disable_git=True, save_code=False, silent=True,
            x_disable_meta=True, x_disable_machine_info=True, x_disable_stats=True,
            x_save_requirements=False, host="",
        )  # fmt: skip
        self.run = wandb.init(
            project=PROJECT, name=folder.name, dir=str(folder), mode="offline", config=config,
            settings=quiet,
        )  # fmt: skip

    def write(self, step: int, figures: dict[str, float]) -> None:
        self.run.log(figures, step=step)

    def close(self) -> None:
        self.run.finish()


class MLflow:
    """`mlflow ui --backend-store-uri sqlite:///RUN/mlflow/mlflow.db`; a new run there each sitting."""

    def __init__(self, folder: Path, config: dict, first: int):
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # it reports its use from the import on
        from mlflow import MlflowClient

        where = (folder / "mlflow").resolve()
        where.mkdir(exist_ok=True)
        self.client = MlflowClient(tracking_uri=f"sqlite:///{where}/mlflow.db")
        found = self.client.get_experiment_by_name(PROJECT)
        artifacts = (where / "artifacts").as_uri()
        experiment = (
            found.experiment_id if found else self.client.create_experiment(PROJECT, artifacts)
        )
        self.run = self.client.create_run(experiment, run_name=folder.name).info.run_id
        for key, value in flat(config).items():
            self.client.log_param(self.run, key, str(value)[:LONGEST_VALUE])

    def write(self, step: int, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self.client.log_metric(self.run, name, value, step=step)

    def close(self) -> None:
        self.client.set_terminated(self.run)


# Each with the package that it needs.
TRACKERS = {
    "tensorboard": (TensorBoard, "tensorboard"),
    "wandb": (WeightsAndBiases, "wandb"),
    "mlflow": (MLflow, "mlflow"),
}


class _Late:
    """A tracker that is opened once there is something to write, with the first step that it gets."""

    def __init__(self, kind: type[Tracker], folder: Path, config: dict):
        self.kind, self.given, self.tracker = kind, (folder, config), None

    def write(self, step: int, figures: dict[str, float]) -> None:
        if self.tracker is None:
            self.tracker = self.kind(*self.given, step)
        self.tracker.write(step, figures)

    def close(self) -> None:
        if self.tracker:
            self.tracker.close()


@contextmanager
def tracking(name: str, folder: Path, config: dict) -> Iterator[Tracker | None]:
    """The tracker called `name`, writing below `folder` until the block ends; "none" is none.

    `config` is what may be shared. Raises UserError where the package is not installed.
    """
    if name == "none":
        yield None
        return
    kind, package = TRACKERS[name]
    if not _installed(package):
        raise UserError(
            "CONFIG", f"fit.track={name}", f"needs {package}, which is not installed",
            "pip install 'medssl[track]' (in a checkout '.[track]'), or leave fit.track out",
        )  # fmt: skip
    tracker = _Late(kind, Path(folder), config)
    try:
        yield tracker
    finally:
        tracker.close()


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # it is loaded, and does not say where from
        return True
