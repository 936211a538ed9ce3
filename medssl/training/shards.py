"""Sharded training: each rank keeps a part of every weight, of its gradient and of its moments.

torch's `fully_shard` (FSDP2; Zhao et al., "PyTorch FSDP", VLDB 2023, is the first form of it) cuts every
weight along its first axis. What it cuts up is a copy: the trainable that the caller holds stays a plain
module, empty while it is trained, and whole where a `Moment` looks at it. Checkpoints hold whole tensors,
so that a run can be gone on with in one way or the other.
"""

import copy
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn

from medssl import ranks
from medssl.errors import UserError
from medssl.trainable import StepOutput, Trainable
from medssl.training.average import Average, evaluating


class Step(nn.Module):
    """A training step entered through `forward`, where torch puts weights together."""

    def __init__(self, trained: Trainable):
        super().__init__()
        self.trained = trained

    def forward(self, batch: dict, step: int) -> tuple[Tensor, dict[str, float]]:
        out = self.trained.training_step(batch, step)
        return out.loss.clone(), out.logs  # no view: torch warns of one

    def training_step(self, batch: dict, step: int) -> StepOutput:
        return StepOutput(*self(batch, step))


def cut(trainable: Trainable) -> Step:
    """The step of a copy of which every rank keeps its part; the weights of `trainable` are let go of.

    Together while they are needed are: the blocks that a backbone names in `units()`, one at a time, and
    all that is left, for the length of a step. Raises UserError SHARD for a weight without an axis.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # No backbone writes into what a unit gives, which alone would be wrong.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    trained = copy.deepcopy(trainable)
    for name, weight in trained.named_parameters():
        if not weight.ndim:
            raise UserError(
                "SHARD", name, "is a weight without an axis along which it could be shared out",
                "make it one of shape (1,), or leave fit.shard out",
            )  # fmt: skip
    # All begin as rank 0 does. Weights become contiguous, as no other layout can be cut.
    for x in (*trained.parameters(), *trained.buffers()):
        sent = x.data.byte() if x.dtype == torch.bool else x.data.contiguous()
        distributed.broadcast(sent, 0)
        x.data = sent.to(x.dtype)
    mesh = init_device_mesh(next(trained.parameters()).device.type, (ranks.world(),))
    for unit in units(trained):
        fully_shard(unit, mesh=mesh)
    empty(trainable)
    return fully_shard(Step(trained), mesh=mesh)


def units(trainable: nn.Module) -> list[nn.Module]:
    """The blocks of all backbones, teachers too, whose weights nobody else has."""
    owners = Counter(id(p) for _, p in trainable.named_parameters(remove_duplicate=False))
    blocks = [
        b for part in trainable.modules() if hasattr(part, "units") for b in part.units()
    ]  # fmt: skip
    return [b for b in blocks if all(owners[id(p)] == 1 for p in b.parameters())]


def is_part(x: object) -> bool:
    """Whether it is a tensor of which each rank has a part."""
    if ranks.world() == 1:
        return False  # without the import, which takes most of a second
    from torch.distributed.tensor import DTensor

    return isinstance(x, DTensor)


def whole(state, everywhere: bool = False):
    """Nested dicts with the parts of all ranks put together, on the CPU: for rank 0 alone, None on the
    others, or `everywhere`. All ranks must call it; where nothing is cut up, it gives what it was given."""
    if isinstance(state, dict):
        return {key: whole(value, everywhere) for key, value in state.items()}
    if not is_part(state):
        return state
    together = state.detach().full_tensor()
    return together.cpu() if everywhere or ranks.rank() == 0 else None


def part_of(x: Tensor, like: Tensor) -> Tensor:
    """Of a whole tensor what this rank has of one `like` it: the tensor itself, if that is not cut up."""
    if not is_part(like) or x.shape != like.shape:
        return x
    from torch.distributed.tensor import distribute_tensor

    x = x.to(like.device)
    return distribute_tensor(x, like.device_mesh, like.placements, src_data_rank=None)


def parts_of(tensors: dict[str, Tensor], like: dict[str, Tensor]) -> dict[str, Tensor]:
    """`part_of` for each of a dict, `like` those of the same name."""
    return {name: part_of(x, like.get(name, x)) for name, x in tensors.items()}


def moments_of(state: dict, optimizer: torch.optim.Optimizer) -> dict:
    """The state of an optimiser with whole tensors as this rank keeps it."""
    weights = [
        p for group in optimizer.param_groups for p in group["params"]
    ]  # as torch numbers them
    moments = {
        number: {name: part_of(x, weights[number]) for name, x in of_one.items()}
        for number, of_one in state["state"].items()
    }
    return {**state, "state": moments}


@torch.no_grad()
def fill(trainable: nn.Module, trained: nn.Module, average: Average | None = None) -> None:
    """Give the trainable its weights, whole, the averaged ones if there are, and its buffers."""
    averaged = average.tensors if average else {}
    now = dict(trained.named_parameters())
    for name, weight in trainable.named_parameters():
        weight.data = averaged.get(name, now[name]).full_tensor()
    _take_over_buffers(trainable, trained)


def empty(trainable: nn.Module) -> None:
    """Let go of the weights."""
    for weight in trainable.parameters():
        weight.data = weight.data.new_empty(0)


@contextmanager
def shown(trainable: nn.Module, trained: nn.Module, average: Average | None) -> Iterator[None]:
    """The trainable whole and in evaluation mode for the length of a block, with the averaged weights if
    there are; what the block does to its buffers is kept. All ranks must enter it; then rank 0 may go on
    alone."""
    if trained is trainable:
        with evaluating(trainable, average):
            yield
        return
    fill(trainable, trained, average)
    trainable.eval()
    try:
        yield
    finally:
        _take_over_buffers(trained, trainable)
        empty(trainable)


def _take_over_buffers(module: nn.Module, other: nn.Module) -> None:
    theirs = dict(other.named_buffers())
    for name, value in module.named_buffers():
        value.copy_(theirs[name])
