"""VoCo: predict how much a random crop overlaps each cell of a grid laid over the scan.

Wu, Zhuang, Chen, "VoCo: A Simple-yet-Effective Volume Contrastive Learning Framework for 3D Medical
Image Analysis", CVPR 2024. The published head without a momentum teacher was reported not to train;
the default here is the released form with its faults mended: the teacher starts as a copy of the
student and follows after the optimiser's step, cosines are leaky below zero so that a positive cell
always has a gradient, and the regulariser reaches every cell. `loss="paper"` and
`teacher=False` give the form of the paper.
"""

import itertools
import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, normalize, relu

from medssl.backbones.base import pool
from medssl.config import Count, Share
from medssl.data.crops import CropSpec
from medssl.errors import UserError
from medssl.methods.base import checked_size
from medssl.methods.parts.teacher import follow, teacher_of
from medssl.trainable import StepOutput

EPS, TAIL = 1e-6, 0.01
ACTIVATIONS = {"relu": relu, "leaky": lambda x: leaky_relu(x, 0.1), "none": lambda x: x}


class VoCo(nn.Module):
    """Base crops are prototypes of places; random crops are placed by cosine similarity to them."""

    def __init__(
        self, backbone: nn.Module, augment: Callable[[Tensor, Tensor], Tensor], *,
        crop: Annotated[list[Count], "voxels of a base cell and of a random crop"],
        grid: Annotated[list[Count], "cells along each axis"],
        crops_per_scan: Annotated[Count, "random crops of each scan"] = 2,
        whole: Annotated[bool, "resize the whole scan to the grid, instead of cropping it"] = True,
        loss: Annotated[Literal["released", "paper"], "form of the prediction term"] = "released",
        activation: Annotated[Literal["relu", "leaky", "none"], "applied to cosines"] = "leaky",
        teacher: Annotated[bool, "compare with a momentum copy of the network"] = True,
        momentum: Annotated[Share, "of the teacher, 0..1"] = 0.9,
        width: Annotated[Count, "channels of the projector"] = 512,
        regulariser: Annotated[float, "weight of the term that pushes cells apart"] = 1.0,
    ):  # fmt: skip
        super().__init__()
        self.backbone, self.augment = backbone, augment
        self.crop = checked_size(crop, backbone, "method.crop")
        self.grid = checked_grid(grid, backbone.ndim)
        self.cells = base_cells(self.grid, self.crop)
        self.size = tuple(g * c for g, c in zip(self.grid, self.crop, strict=True))
        self.crops = CropSpec(self.size, whole=whole)
        self.crops_per_scan, self.loss, self.momentum = crops_per_scan, loss, momentum
        self.activation, self.regulariser = ACTIVATIONS[activation], regulariser
        self.projector = Projector(sum(backbone.channels), width)
        self.teacher = teacher_of(nn.ModuleList([backbone, self.projector])) if teacher else None

    def training_step(self, batch: dict, step: int) -> StepOutput:
        similarity, labels, bases = self(batch["image"], batch["seed"])
        terms = dict(
            zip(("positive", "negative"), LOSSES[self.loss](similarity, labels), strict=True)
        )
        terms["regulariser"] = self.regulariser * spread_loss(bases)
        logs = {name: float(term.detach()) for name, term in terms.items()}
        logs["placed"] = float((similarity.argmax(-1) == labels.argmax(-1)).float().mean())
        return StepOutput(sum(terms.values()), logs)

    def after_step(self, step: int) -> None:
        if self.teacher is not None:
            follow(self.teacher, nn.ModuleList([self.backbone, self.projector]), self.momentum)

    def forward(self, image: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Similarities and overlaps (B, N, cells) of N random crops, and embedded cells (B, cells, D)."""
        b, n, k = len(image), self.crops_per_scan, len(self.cells)
        starts = random_starts(seeds, n, self.size, self.crop)
        labels = overlap(starts, self.cells, self.crop).to(image.device)
        crops = cut(image, torch.cat([self.cells.expand(b, -1, -1), starts.long()], 1), self.crop)
        # Each crop varies on its own: the overlap does not change, the way to cheat by grey level does.
        each = seeds[:, None] ^ torch.arange(1, k + n + 1, device=seeds.device)
        crops = self.augment(crops, each.flatten())
        bases, z = self._split(self.embed(crops, self.backbone, self.projector), b, k)
        if self.teacher is None:
            similarity = self.activation(z @ bases.detach().transpose(1, 2))
        else:
            with torch.no_grad():
                q, z_teacher = self._split(self.embed(crops, *self.teacher), b, k)
            similarity = self.activation(z @ q.transpose(1, 2))
            similarity = (similarity + self.activation(z_teacher @ bases.transpose(1, 2))) / 2
        return similarity, labels, bases

    @staticmethod
    def embed(crops: Tensor, backbone: nn.Module, projector: nn.Module) -> Tensor:
        """Unit vectors (M, D) of crops (M, C, *crop), from every level of the backbone."""
        return normalize(projector(pool(backbone(crops))).float(), dim=-1)

    @staticmethod
    def _split(embedded: Tensor, b: int, k: int) -> tuple[Tensor, Tensor]:
        embedded = embedded.view(b, -1, embedded.shape[-1])
        return embedded[:, :k], embedded[:, k:]

    @torch.no_grad()
    def pictures(self, batch: dict, step: int) -> list[dict]:
        """The scan with its grid, one random crop, predicted and true overlap with every cell."""
        similarity, labels, _ = self(batch["image"], batch["seed"])
        starts = random_starts(batch["seed"], self.crops_per_scan, self.size, self.crop)
        return [
            {
                "kind": "overlap",
                "image": batch["image"][i, 0].cpu().numpy(),
                "grid": self.grid,
                "crop": self.crop,
                "start": starts[i, 0].tolist(),
                "predicted": similarity[i, 0].float().cpu().numpy(),
                "true": labels[i, 0].cpu().numpy(),
            }
            for i in range(min(2, len(starts)))
        ]


class Projector(nn.Sequential):
    """Linear, BatchNorm and ReLU twice, linear. The norm has no affine and no running statistics."""

    def __init__(self, inputs: int, width: int):
        def norm() -> nn.Module:
            return nn.BatchNorm1d(width, affine=False, track_running_stats=False)

        super().__init__(
            nn.Linear(inputs, width), norm(), nn.ReLU(),
            nn.Linear(width, width), norm(), nn.ReLU(), nn.Linear(width, width),
        )  # fmt: skip


def checked_grid(grid, ndim: int) -> tuple[int, ...]:
    grid = tuple(int(g) for g in grid)
    if len(grid) != ndim or min(grid) < 1 or math.prod(grid) < 2:
        raise UserError(
            "CONFIG", "method.grid", f"found {list(grid)}, expected {ndim} counts, two cells at least",
            "e.g. grid=" + ",".join(["2"] * ndim),
        )  # fmt: skip
    return grid


def base_cells(grid: tuple[int, ...], crop: tuple[int, ...]) -> Tensor:
    """First voxel (cells, ndim) of each base cell, the first axis slowest."""
    cells = torch.tensor(list(itertools.product(*[range(g) for g in grid])))
    return cells * torch.tensor(crop)


def random_starts(seeds: Tensor, n: int, size: tuple[int, ...], crop: tuple[int, ...]) -> Tensor:
    """First voxel (B, n, ndim) of random crops anywhere inside, the last place included."""
    room = torch.tensor([s - c + 1 for s, c in zip(size, crop, strict=True)])
    draws = [
        torch.rand(n, len(size), generator=torch.Generator().manual_seed(s)) for s in seeds.tolist()
    ]
    return (torch.stack(draws) * room).floor()


def overlap(starts: Tensor, cells: Tensor, crop: tuple[int, ...]) -> Tensor:
    """Share of each crop's volume inside each cell: (..., ndim) x (cells, ndim) to (..., cells).

    The product over axes of the clipped interval overlap; sums to 1 for a crop inside the grid.
    """
    size = torch.tensor(crop, dtype=torch.float32)
    distance = (starts[..., None, :].float() - cells.float()).abs()
    return ((size - distance).clamp(min=0) / size).prod(-1)


def cut(image: Tensor, starts: Tensor, crop: tuple[int, ...]) -> Tensor:
    """Crops (B * M, C, *crop) of (B, C, *size) at starts (B, M, ndim), scan by scan."""
    pieces = [
        image[(b, slice(None), *(slice(s, s + c) for s, c in zip(start, crop, strict=True)))]
        for b, of_scan in enumerate(starts.tolist())
        for start in of_scan
    ]
    return torch.stack(pieces)


def log_distance(labels: Tensor, similarity: Tensor) -> Tensor:
    """-log(1 - |y - s| + 1e-6), continued as a straight line where |y - s| > 0.99.

    The line keeps a gradient where the logarithm would have none: a cosine on the far side of zero.
    """
    distance = (labels - similarity).abs()
    near = -torch.log((1 - distance).clamp(min=TAIL) + EPS)
    return near + (distance - (1 - TAIL)).clamp(min=0) / (TAIL + EPS)


def released_loss(similarity: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Positives -y log(1 - |y - s|) weighted by y; negatives (y = 0) s squared."""
    positive = (labels * log_distance(labels, similarity)).sum()
    empty = labels == 0
    negative = (similarity.square() * empty).sum() / empty.sum().clamp(min=1)
    return positive / labels.sum(), negative


def paper_loss(similarity: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of -log(1 - |y - s|) over all cells, as the part of cells that overlap and the rest."""
    each = log_distance(labels, similarity) / labels.numel()
    return (each * (labels > 0)).sum(), (each * (labels == 0)).sum()


LOSSES = {"released": released_loss, "paper": paper_loss}


def spread_loss(bases: Tensor) -> Tensor:
    """Mean squared positive cosine between different cells (B, cells, D); 0 if orthogonal."""
    cosine = relu(bases @ bases.transpose(1, 2)).square()
    k = bases.shape[1]
    return (cosine.sum((1, 2)) - cosine.diagonal(dim1=1, dim2=2).sum(1)).mean() / (k * (k - 1))
