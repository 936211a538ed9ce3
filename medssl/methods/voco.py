"""VoCo: predict how much a random crop overlaps each cell of a grid laid over the scan.

v1: Wu, Zhuang, Chen, "VoCo: A Simple-yet-Effective Volume Contrastive Learning Framework for 3D
Medical Image Analysis", CVPR 2024. v2: Wu, Zhuang, Chen, "Large-Scale 3D Medical Image Pre-training
with Geometric Context Priors", TPAMI: `loss=v2 teacher=projector inter=1`, published with
`dropout=0.2`. With labelled scans as well, see `voco_omni.py`.

The published head without a momentum teacher was reported not to train; the default is the released
form of v1 with its faults mended, and so is v2. Departures from the released code:
- the teacher starts as a copy of the student and follows after the optimiser's step, not before it;
- cosines are leaky below zero, so that a positive cell always has a gradient (`activation`);
- the regulariser reaches every cell; there the last one had no gradient;
- dropout takes features (there `Dropout1d` on rows of features took whole crops), and presets
  leave none out: with dropout and the inter-volume term the loss did not fall in 150 steps on
  phantom scans, two a batch; with either alone it did;
- with one scan in the batch there is no other scan's grid, and no inter-volume term (there it fell
  back on the scan's own grid);
- the last place of the grid is drawn as well, any axis may have cells, crops are not resized.
`loss=paper teacher=none activation=none` is the paper's form of v1.
"""

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, normalize, relu

from medssl.backbones.base import pool
from medssl.config import Count, Fraction, Share
from medssl.data.crops import CropSpec
from medssl.errors import UserError
from medssl.methods.base import checked_size
from medssl.methods.parts.overlap import base_cells, checked_grid, cut, overlap, random_starts
from medssl.methods.parts.teacher import follow, teacher_of
from medssl.methods.parts.views import view_seeds
from medssl.ranks import gathered
from medssl.trainable import StepOutput

EPS, TAIL = 1e-6, 0.01
COPIED = {"network": ("backbone", "projector"), "projector": ("projector",), "none": ()}
ACTIVATIONS = {"relu": relu, "leaky": lambda x: leaky_relu(x, 0.1), "none": lambda x: x}


class Placed(NamedTuple):
    """Answers about N random crops of each scan."""

    similarity: Tensor  # (B, N, cells), to the cells of their own scan
    labels: Tensor  # (B, N, cells), true overlap
    bases: Tensor  # (B, cells, D), the student's unit vectors of the cells
    across: Tensor | None = None  # (B, N, cells), to the cells of the batch's next scan
    target: Tensor | None = None  # (B, N, cells), what the teacher says of that, 0..1


class VoCo(nn.Module):
    """Base crops are prototypes of places; random crops are placed by cosine similarity to them."""

    def __init__(
        self, backbone: nn.Module, augment: Callable[..., Tensor], *,
        size: Annotated[list[Count], "voxels of a base cell and of a random crop"],
        grid: Annotated[list[Count] | None, "cells along each axis; none: 2 x 2 (x 1)"] = None,
        crops_per_scan: Annotated[Count, "random crops of each scan"] = 2,
        whole: Annotated[bool, "resize the whole scan to the grid, instead of cropping it"] = True,
        loss: Annotated[Literal["released", "paper", "v2"], "form of the losses"] = "released",
        activation: Annotated[Literal["relu", "leaky", "none"], "applied to cosines"] = "leaky",
        teacher: Annotated[Literal["network", "projector", "none"], "what has a momentum copy"] = "network",
        momentum: Annotated[Share, "of the teacher, 0..1"] = 0.9,
        width: Annotated[Count, "channels of the projector"] = 512,
        dropout: Annotated[Fraction, "share of the student's features left out, 0..1"] = 0.0,
        inter: Annotated[float, Field(ge=0), "weight of the term between two scans of a batch"] = 0.0,
        regulariser: Annotated[float, Field(ge=0), "weight of the term that pushes cells apart"] = 1.0,
    ):  # fmt: skip
        super().__init__()
        if inter and teacher == "none":
            raise UserError(
                "CONFIG", "method.inter", "needs a teacher: its target would be the answer itself",
                "use method.teacher=projector, or method.inter=0",
            )  # fmt: skip
        self.backbone, self.augment = backbone, augment
        self.size = checked_size(size, backbone, "method.size")
        self.grid = checked_grid(grid or (2, 2, 1)[: backbone.ndim], backbone.ndim)
        self.cells = base_cells(self.grid, self.size)
        self.extent = tuple(g * s for g, s in zip(self.grid, self.size, strict=True))
        self.crops = CropSpec(self.extent, whole=whole)
        self.crops_per_scan, self.loss, self.momentum = crops_per_scan, loss, momentum
        self.activation, self.dropout = ACTIVATIONS[activation], dropout
        self.inter, self.regulariser = inter, regulariser
        self.projector = Projector(sum(backbone.channels), width)
        self.copied = COPIED[teacher]
        self.teacher = teacher_of(self._student()) if self.copied else None

    def training_step(self, batch: dict, step: int) -> StepOutput:
        placed = self(batch["image"], batch["seed"])
        predict, spread = LOSSES[self.loss]
        positive, negative = predict(placed.similarity, placed.labels)
        terms = {"positive": positive, "negative": negative}
        if placed.target is not None:
            terms["inter"] = self.inter * sum(v2_loss(placed.across, placed.target))
        terms["regulariser"] = self.regulariser * spread(placed.bases)
        logs = {name: float(term.detach()) for name, term in terms.items()}
        right = placed.similarity.argmax(-1) == placed.labels.argmax(-1)
        return StepOutput(sum(terms.values()), logs | {"placed": float(right.float().mean())})

    def after_step(self, step: int) -> None:
        if self.teacher is not None:
            follow(self.teacher, self._student(), self.momentum)

    def forward(self, image: Tensor, seeds: Tensor) -> Placed:
        """Where N random crops of each scan (B, C, *extent) are said to lie, and where they lie; of the
        scans of all ranks, this one's images in hand."""
        b, n, k = len(image), self.crops_per_scan, len(self.cells)
        starts = random_starts(seeds, n, self.extent, self.size)
        labels = gathered(overlap(starts, self.cells, self.size).to(image.device))
        crops = cut(image, torch.cat([self.cells.expand(b, -1, -1), starts], 1), self.size)
        # Each crop varies on its own: the overlap does not change, the way to cheat by grey level does.
        each, for_dropout = view_seeds(seeds, 2 * (k + n)).T.flatten(1).split(k + n, 1)
        crops = self.augment(crops, each.flatten())
        pooled = pool(self.backbone(crops))
        features = pooled
        if self.training and self.dropout:
            features = left_out(pooled, for_dropout.flatten(), self.dropout)
        bases, z = self._embed(self.projector, features, b)
        if self.teacher is None:
            return Placed(self.activation(cosines(z, bases.detach())), labels, bases)
        with torch.no_grad():
            *copy, projector = self.teacher  # a backbone of its own, or the student's
            known, z_known = self._embed(projector, pool(copy[0](crops)) if copy else pooled, b)
        similarity = self.activation(cosines(z, known))
        if self.loss != "v2":
            similarity = (similarity + self.activation(cosines(z_known, bases))) / 2
        if not self.inter or len(bases) == 1:
            return Placed(similarity, labels, bases)
        across = self.activation(cosines(z, bases.roll(-1, 0)))  # scan i in the grid of scan i + 1
        return Placed(similarity, labels, bases, across, relu(cosines(z_known, known.roll(-1, 0))))

    def _embed(self, projector: nn.Module, features: Tensor, b: int) -> tuple[Tensor, Tensor]:
        """Unit vectors of cells (B, cells, D) and of random crops (B, N, D) from pooled features, of the
        scans of all ranks; b of this one."""
        embedded = normalize(projector(features).float(), dim=-1).view(b, -1, projector.width)
        embedded = gathered(embedded)
        return embedded[:, : len(self.cells)], embedded[:, len(self.cells) :]

    def _student(self) -> nn.ModuleList:
        """What the teacher is a copy of."""
        return nn.ModuleList([getattr(self, name) for name in self.copied])

    @torch.no_grad()
    def pictures(self, batch: dict, step: int) -> list[dict]:
        """The scan with its grid, one random crop, predicted and true overlap with every cell."""
        placed = self(batch["image"], batch["seed"])
        starts = random_starts(batch["seed"], self.crops_per_scan, self.extent, self.size)
        return [
            {
                "kind": "overlap",
                "image": batch["image"][i, 0].cpu().numpy(),
                "grid": self.grid,
                "crop": self.size,
                "start": starts[i, 0].tolist(),
                "predicted": placed.similarity[i, 0].float().cpu().numpy(),
                "true": placed.labels[i, 0].cpu().numpy(),
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
        self.width = width


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """(B, n, m) of unit vectors (B, n, D) and (B, m, D), in their own precision: half is too coarse."""
    with torch.autocast(a.device.type, enabled=False):
        return a @ b.mT


def left_out(features: Tensor, seeds: Tensor, share: float) -> Tensor:
    """Dropout of features (M, F) drawn from one seed a row; those that stay are scaled up."""
    draws = [
        torch.rand(features.shape[1], generator=torch.Generator().manual_seed(s))
        for s in seeds.tolist()
    ]
    kept = (torch.stack(draws) >= share).to(features.device)
    return features * kept / (1 - share)


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


def v2_loss(similarity: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """-log(1 - |y - s|): positives weighted by y, over the sum of y; the mean over the rest (y = 0).

    The labels may be a teacher's, and then all of them 0, or none.
    """
    each, empty = log_distance(labels, similarity), labels == 0
    positive = (labels * each).sum() / labels.sum().clamp(min=EPS)
    return positive, (each * empty).sum() / empty.sum().clamp(min=1)


def squared_spread(bases: Tensor) -> Tensor:
    """Mean squared positive cosine between different cells (B, cells, D); 0 if orthogonal."""
    return relu(_pairs(bases)).square().mean()


def absolute_spread(bases: Tensor) -> Tensor:
    """Mean absolute cosine between different cells: 2 / (n (n - 1)) times the sum over i < j."""
    return _pairs(bases).abs().mean()


def _pairs(bases: Tensor) -> Tensor:
    """Cosines (B, n (n - 1) / 2) of every two of n cells; both of them are pushed."""
    i, j = torch.triu_indices(bases.shape[1], bases.shape[1], 1, device=bases.device)
    return cosines(bases, bases)[:, i, j]


LOSSES = {
    "released": (released_loss, squared_spread),
    "paper": (paper_loss, absolute_spread),
    "v2": (v2_loss, squared_spread),
}
