"""Starting the ranks of a run and joining them: those of `fit.devices`, of torchrun or of Slurm."""

import json
import logging
import os
import signal
import sys
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from medssl import progress, ranks
from medssl.errors import UserError, one_line
from medssl.training import run_folder, speed
from medssl.training.hardware import Hardware
from medssl.training.leaving import STOPPED, heard
from medssl.training.pulse import end_with_parent, watch_over

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Rank 0 alone validates and draws; the others wait for it that long before they take it for dead.
PATIENCE = timedelta(hours=2)
LEAVING = 600  # seconds that ranks which are told to leave may take
SHOWN = 200  # characters of what a backend says
LOST = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe", "socket")


def started() -> tuple[int, int]:
    """Ranks of all nodes and of this one, as torchrun or srun started them; 1 and 1 for neither."""
    has = os.environ
    if "TORCHELASTIC_RUN_ID" in has:
        return int(has["WORLD_SIZE"]), int(has["LOCAL_WORLD_SIZE"])
    tasks = int(has.get("SLURM_STEP_NUM_TASKS", 1)) if "SLURM_PROCID" in has else 1
    return tasks, max(1, tasks // int(has.get("SLURM_STEP_NUM_NODES", 1)))


def start_fabric(fit: Hardware, precision: str = "32-true", shard: bool = False) -> "Fabric":
    """Lightning Fabric for the device and precision asked for, and all ranks that have been joined. It
    averages their gradients, unless those are shared out (shards.py)."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment

    kind = fit.take().type
    options = {"accelerator": "cuda" if kind == "cuda" else "cpu", "precision": precision}
    if ranks.world() == 1:
        fabric = Fabric(devices=1, plugins=[LightningEnvironment()], **options)
    else:
        fabric = _of_ranks(*started(), shard, **options)
    fabric.launch()
    if kind == "cuda":
        speed.allow_tf32(fit.tf32)
    return fabric


def join(fit: Hardware) -> None:
    """Meet the other ranks, if torchrun or srun started several. Raises UserError RANKS where they cannot
    be reached."""
    world, local = started()
    if world == 1 or ranks.world() > 1:
        return
    if "TORCHELASTIC_RUN_ID" in os.environ:
        end_with_parent()
    accelerator = "cuda" if fit.take().type == "cuda" else "cpu"
    try:
        _of_ranks(world, local, accelerator=accelerator).launch()
    except (RuntimeError, ValueError) as error:
        address = f"{os.environ.get('MASTER_ADDR', '')}:{os.environ.get('MASTER_PORT', '')}"
        raise UserError(
            "RANKS", address, f"the {world} ranks could not meet there ({one_line(error, SHOWN)})",
            "give the address of the first node and a free port of it",
        ) from error  # fmt: skip
    if ranks.rank():
        progress.hush(ranks.rank())


def _of_ranks(world: int, local: int, shard: bool = False, **options) -> "Fabric":
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # who has registered with whom
    warnings.filterwarnings(
        "ignore", ".*broadcast_buffers. is deprecated"
    )  # its heir is not in torch 2.8

    class Bare(DDPStrategy):
        """The ranks, devices and precision of DDP, without its buckets of gradients. Fabric's own ways to
        shard take GPUs alone, or no double precision."""

        def setup_module(self, module):
            return module

    elastic = "TORCHELASTIC_RUN_ID" in os.environ
    return Fabric(
        devices=local, num_nodes=world // local,
        plugins=[TorchElasticEnvironment() if elastic else SLURMEnvironment(auto_requeue=False)],
        # Buffers are the same on all ranks by themselves; a mask token may have no part in a step.
        strategy=(Bare if shard else DDPStrategy)(
            timeout=PATIENCE, broadcast_buffers=False, find_unused_parameters=True
        ),
        **options,
    )  # fmt: skip


def launch(verb: str, config, devices: int) -> Path:
    """Run a stage in so many processes of this machine, as torchrun would; gives its `out`.

    Raises UserError RANKS that says which rank ended first, and how; the others are ended with it.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # What torch tells of its processes is told below in one line, and a mask token may rest for a step.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # Ranks that are told to leave end their step and save. Older versions of torch give them 30 s.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(LEAVING))
    with tempfile.TemporaryDirectory() as folder:  # only its owner may look into it
        asked = Path(folder) / "config.yaml"  # JSON is YAML
        # As it is: YAML knows no pairs of escapes, which JSON makes of a character beyond the first 65536.
        told = json.dumps(config.model_dump(mode="json"), ensure_ascii=False)
        asked.write_text(told, encoding="utf-8")
        settings = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=devices, max_restarts=0, monitor_interval=0.1,
            run_id=uuid.uuid4().hex, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
            # What they print is the run's folder, which this process tells.
            logs_specs=DefaultLogsSpecs(log_dir=folder, redirects=Std.OUT),
        )  # fmt: skip

        def passed_on(number: int, _frame) -> None:
            raise SignalException("asked to end", signal.Signals(number))

        try:
            with heard(signal.SIGUSR1, passed_on):  # which torch does not listen for
                elastic_launch(settings, sys.executable)("-m", "medssl", verb, str(asked))
        except SignalException as error:
            code = 130 if error.sigval == signal.SIGINT else STOPPED
            raise SystemExit(code) from error
        except ChildFailedError as error:
            number, failure = error.get_first_failure()
            if failure.exitcode > 0:  # it has said itself what is wrong
                raise SystemExit(failure.exitcode) from error
            raise UserError(
                "RANKS", f"rank {number}", f"was ended by {signal.Signals(-failure.exitcode).name}",
                "the same command goes on from the last checkpoint; if nobody ended it, it may have been "
                "short of memory (lower fit.batch_size)",
            ) from error  # fmt: skip
    return config.out


@contextmanager
def opened(folder: Path, config: dict, *more) -> Iterator[None]:
    """`run_folder.opened` for all ranks: rank 0 holds the folder, and the others know that it does.

    Raises UserError RANKS in the ranks that are left when one has gone.
    """
    with ExitStack() as held:

        def enter() -> None:
            held.enter_context(run_folder.opened(folder, config, *more))

        ranks.from_first(enter)
        if pulse := watch_over():
            held.callback(pulse.stop)
        try:
            yield
        except RuntimeError as error:
            if ranks.world() == 1 or not any(word in str(error) for word in LOST):
                raise
            raise UserError(
                "RANKS", f"rank {ranks.rank()}", f"has lost the others ({one_line(error, SHOWN)})",
                "see which rank ended first, and why; the same command goes on from the last checkpoint",
            ) from error  # fmt: skip


def threads_of(fit: Hardware) -> None:
    """Share the processors out among the ranks of a machine, where nothing else is asked for."""
    _, local = started()
    if ranks.world() > 1 and not fit.threads and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // local))
