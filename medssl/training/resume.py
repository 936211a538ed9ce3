"""Going on with a run: the state of its newest checkpoint put back where it was."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from medssl import ranks
from medssl.errors import UserError
from medssl.progress import say
from medssl.training import checkpoint, shards

if TYPE_CHECKING:
    from medssl.training.branch import Branch
    from medssl.training.log import MetricsLog
    from medssl.training.loop import Fit


def resume(
    folder: Path, trained: nn.Module, optimizer, precision, average, branch: "Branch | None",
    sharded: bool,
) -> tuple[int, bool, int]:  # fmt: skip
    """Load the newest checkpoint, or that of a branch, if any: the step to go on from, whether its Moment
    is due, and the ranks that the run had."""
    ranks.from_first(partial(checkpoint.sweep, folder / "checkpoints"))  # before all of them read
    found = checkpoint.load_state(folder / "checkpoints") or (branch and branch.state())
    ranks.check_same(f"the checkpoint in {folder}", str(found and found[1]["step"]))
    if found is None:
        return 0, False, ranks.world()
    weights, trainer = found
    threads, had = torch.get_num_threads(), trainer["threads"]
    if threads != had:
        say(
            f"remark: {threads} CPU threads, the run had {had}: sums are added up in another order, "
            f"and the last bits of the result may differ (fit.threads={had} keeps them)"
        )
    if sharded != trainer.get("sharded", False):
        say(
            f"remark: the run had fit.shard={str(not sharded).lower()}: sums are added up in another "
            "order, and the last bits of the result may differ"
        )
    trained.load_state_dict(shards.parts_of(weights, trained.state_dict()))
    optimizer.load_state_dict(shards.moments_of(trainer["optimizer"], optimizer))
    if scaler := trainer.get("scaler"):
        precision.load_state_dict(scaler)
    if average:
        average.tensors = {
            k: v.to(average.tensors[k].device)
            for k, v in shards.parts_of(trainer["average"], average.tensors).items()
        }
    return int(trainer["step"]), bool(trainer.get("due")), trainer.get("ranks", 1)


def tell_of_ranks(had: int, fit: "Fit", log: "MetricsLog", step: int) -> None:
    """Say, and log, that a run goes on with another number of ranks. Raises UserError RANKS if nobody
    asked for it."""
    now = ranks.world()
    if not fit.other_ranks:
        raise UserError(
            "RANKS", f"step {step}", f"the run had {had} ranks, now there are {now}: sums are added up in "
            "another order, and it will not end in the same bits",
            f"use as many as before, or give fit.other_ranks=true to go on with {now}",
        )  # fmt: skip
    say(f"remark: the run had {had} ranks, and goes on with {now} from step {step}")
    log.write(step, ranks=now)
