"""Several processes, ranks, that train one network: each passes its share of every batch through it.

A batch is cut into as many pieces as there are ranks, in their order. Gradients are averaged, so a loss
that is a mean over samples is that of one process with the whole batch. Where a method compares the
samples of a batch with one another, it gathers what it compares (`gathered`); batch norm takes its
statistics over all ranks (`synchronise`). With one process, nothing here does anything. Each rank has the
whole network, or with `fit.shard` a part of it (`medssl.training.shards`).
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from medssl.errors import UserError

T = TypeVar("T")
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def world() -> int:
    """How many ranks there are."""
    joined = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if joined else 1


def rank() -> int:
    """Which of them this process is, from 0."""
    return distributed.get_rank() if world() > 1 else 0


def gathered(x: Tensor, views: int = 1) -> Tensor:
    """The rows of all ranks: (V * M, ...) of V views, all rows of the first view in front, to
    (V * M * ranks, ...) in the same order, every view as the whole batch has it.

    What is made of them must be the same on every rank, down to the loss: only then are gradients
    those of the whole batch.
    """
    if world() == 1:
        return x
    every = _Gather.apply(x)  # (ranks, V * M, ...)
    return every.unflatten(1, (views, -1)).transpose(0, 1).flatten(0, 2)


class _Gather(torch.autograd.Function):
    """All ranks' tensors of one shape, (ranks, *shape)."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        sent = x.contiguous()
        sent = sent.byte() if x.dtype == torch.bool else sent
        every = [torch.empty_like(sent) for _ in range(world())]
        distributed.all_gather(every, sent)
        return torch.stack(every).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        # Every rank has the whole loss, and gradients are averaged over ranks afterwards.
        return gradient[rank()] * world()


class _Sum(torch.autograd.Function):
    """The sum over ranks. Unlike behind `gathered`, each rank goes its own way from here."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total


def total(x: Tensor) -> Tensor:
    """The sum over ranks, of which the same is made on every rank, as behind `gathered`."""
    return gathered(x[None]).sum(0)


def averaged(figures: dict[str, float]) -> dict[str, float]:
    """Figures of one rank each to their means."""
    if world() == 1 or not figures:
        return figures
    values = torch.tensor(list(figures.values()), dtype=torch.float64)
    return dict(zip(figures, gathered(_placed(values)[None]).mean(0).tolist(), strict=True))


def anywhere(true: bool) -> bool:
    """Whether it is so on any rank."""
    return bool(largest(int(true)))


def largest(number: int) -> int:
    """The largest of a number of each rank."""
    if world() == 1:
        return number
    return int(gathered(_placed(torch.tensor([number]))).max())


def from_first(make: Callable[[], T]) -> T:
    """What rank 0 makes, on every rank: of plain values. A UserError of its own is raised everywhere."""
    if world() == 1:
        return make()
    told: list[Any] = [None, None]
    if rank() == 0:
        try:
            told[0] = make()
        except UserError as error:
            told[1] = (error.code, str(error.where), error.cause, error.fix)
    distributed.broadcast_object_list(told, src=0)
    if told[1] is not None:
        raise UserError(*told[1])
    return told[0]


def check_same(what: str, digest: str) -> None:
    """Raise UserError RANKS where ranks do not have the same of something."""
    if world() == 1:
        return
    every: list[Any] = [None] * world()
    distributed.all_gather_object(every, digest)
    if odd := [str(r) for r, each in enumerate(every) if each != every[0]]:
        raise UserError(
            "RANKS", what, f"is another on rank {', '.join(odd)} than on rank 0",
            "let all nodes see the same folder, and wait until what was written has reached them",
        )  # fmt: skip


def share(batch_size: int) -> range:
    """Which samples of a batch this rank reads. Raises UserError where ranks would get unequal shares."""
    check_shares(batch_size, world())
    n = batch_size // world()
    return range(rank() * n, (rank() + 1) * n)


def check_shares(batch_size: int, among: int) -> None:
    """Raise UserError CONFIG where so many ranks would get unequal shares of a batch."""
    if batch_size % among:
        raise UserError(
            "CONFIG", "fit.batch_size", f"{batch_size} samples cannot be shared out evenly among "
            f"{among} ranks", f"use a multiple of {among}; it counts the samples of all ranks",
        )  # fmt: skip


def synchronise(module: nn.Module) -> nn.Module:
    """Let every batch norm in a module take its statistics over all ranks. Raises UserError RANKS for
    one of a kind that is not known here."""
    for part in module.modules() if world() > 1 else ():
        if type(part) in BATCH_NORMS:
            part.__class__ = SynchronisedBatchNorm  # weights, buffers and hooks stay where they are
        elif isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training:
            raise UserError(
                "RANKS", type(part).__name__, "is a batch norm that has no form for several ranks",
                "train this network in one process, or choose one with another norm",
            )  # fmt: skip
    return module


class SynchronisedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over (B, C, ...) of all ranks; torch's own takes tensors of GPUs only."""

    def _check_input_dim(self, x: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training or self.running_mean is None):
            return super().forward(x)
        axes, form = [0, *range(2, x.ndim)], [1, -1, *[1] * (x.ndim - 2)]
        fine = x.to(torch.promote_types(x.dtype, torch.float32))
        n = total(torch.tensor([x.numel() // x.shape[1]], device=x.device))
        mean = _Sum.apply(fine.sum(axes)) / n
        fine = fine - mean.view(form)
        variance = _Sum.apply(fine.square().sum(axes)) / n
        if self.training and self.running_mean is not None:
            self._remember(mean.detach(), variance.detach() * n / (n - 1))
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        y = fine * scale.view(form)
        return (y if self.bias is None else y + self.bias.view(form)).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked += 1
        share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), float(share))
        self.running_var.lerp_(variance.to(self.running_var.dtype), float(share))


def _placed(values: Tensor) -> Tensor:
    """Where this rank's backend takes tensors from."""
    return values.cuda() if distributed.get_backend() == "nccl" else values
