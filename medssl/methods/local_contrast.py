"""Local contrast: decoder blocks learn to tell the regions of a feature map apart.

Chaitanya, Erdil, Karani, Konukoglu, "Contrastive learning of global and local features for medical
image segmentation with limited annotations", NeurIPS 2020, the local loss: the second of two stages,
after `global_contrast`. The encoder rests, its norms included (the published code lets their averages
move), and the first blocks of the decoder are trained. Two views of an image differ in intensity
only, so that a region lies at the same place in both.
"""

from collections.abc import Callable
from itertools import product
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

from medssl.backbones.decoder import CONV, UNetDecoder
from medssl.config import Count
from medssl.data.crops import CropSpec
from medssl.errors import UserError
from medssl.methods.base import checked_size
from medssl.methods.global_contrast import others as other_scans
from medssl.methods.parts.order import rows
from medssl.methods.parts.views import view_seeds
from medssl.ranks import gathered
from medssl.trainable import StepOutput

BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
SHOWN = 13  # regions in a picture


class LocalContrast(nn.Module):
    """Regions of the map after the first decoder blocks, each compared with those around it.

    `form` is the paper's L^R ("random": a region is like itself in the other view) or L^D ("positive":
    besides, like the region at the same place of other scans, in the same partition of the slice
    axis). L^D takes scans to be aligned: give boxes that cover a slice, or regions do not correspond.
    """

    def __init__(
        self, backbone: nn.Module, augment: Callable[..., Tensor], *,
        size: Annotated[list[Count], "voxels of a box; two values over volumes: axial slices"],
        form: Annotated[
            Literal["random", "positive"], "L^R, or L^D with positives from other scans"
        ] = "random",
        parts: Annotated[Count, "partitions of a scan along its slice axis, for form=positive"] = 4,
        others: Annotated[Count, "other scans with a positive region, for form=positive"] = 2,
        blocks: Annotated[Count, "decoder blocks that are trained, counted from the coarsest"] = 2,
        region: Annotated[Count, "places of the map that a region has along each axis"] = 3,
        negatives: Annotated[Count, "nearest regions that do not overlap, in each of both maps"] = 5,
        temperature: Annotated[float, Field(gt=0), "cosines are divided by it"] = 0.1,
        width: Annotated[Count, "channels of the projection"] = 128,
        decoder_width: Annotated[Count, "as task.width of the fine-tuning that goes on"] = 8,
    ):  # fmt: skip
        super().__init__()
        self.backbone, self.augment = backbone.requires_grad_(False), augment
        self.size = checked_size(size, backbone, "method.size")
        self.form, self.others, self.temperature = form, others, temperature
        self.crops = CropSpec(self.size, parts=parts if form == "positive" else 0)
        self.decoder = UNetDecoder(backbone, 1, decoder_width).requires_grad_(False)
        if blocks > len(self.decoder.blocks):
            raise UserError(
                "CONFIG", "method.blocks", f"found {blocks}, the decoder of this backbone has "
                f"{len(self.decoder.blocks)}", f"use {len(self.decoder.blocks)} or fewer",
            )  # fmt: skip
        self.blocks = blocks
        self.decoder.blocks[:blocks].requires_grad_(True)
        self.stride, self.region = self.decoder.steps[blocks - 1][1], region
        places = tuple(-(-n // s) for n, s in zip(self.size, self.stride, strict=True))
        self.starts = lattice(places, region)
        around = neighbours(self.starts, region, negatives)
        self.register_buffer("neighbours", around, persistent=False)
        self.register_buffer("voxels", voxels(self.starts, region, places), persistent=False)
        channels = self.decoder.blocks[blocks - 1][0].out_channels
        self.head = RegionHead(backbone.ndim, channels, region, width)
        self.train()

    def train(self, mode: bool = True) -> "LocalContrast":
        """As of any module, but the encoder stays as it is for evaluation: its norms do not move."""
        super().train(mode)
        self.backbone.eval()
        return self

    def training_step(self, batch: dict, step: int) -> StepOutput:
        z, pairs, _ = self._compared(batch)
        loss = local_contrast(*z[pairs].unbind(1), self.neighbours, self.temperature)
        with torch.no_grad():
            each = normalize(z[pairs].float(), dim=-1)  # (P, 2, R, width)
            cosine = torch.einsum("prd,pqd->prq", *each.unbind(1))
            own = cosine.diagonal(dim1=1, dim2=2)
            around = cosine[:, torch.arange(len(self.starts))[:, None], self.neighbours]
            logs = {
                "positive": float(own.mean()),
                "negative": float(around.mean()),
                "found": float((own > around.amax(-1)).float().mean()),
            }
        return StepOutput(loss, logs)

    def after_step(self, step: int) -> None:
        pass

    def forward(self, image: Tensor) -> Tensor:
        """Projections (M, R, width) of the regions of images (M, C, *size)."""
        with torch.no_grad():
            levels = self.backbone(image)
        return self.head(self.decoder.partial(levels, image, self.blocks), self.voxels)

    def _compared(self, batch: dict) -> tuple[Tensor, Tensor, Tensor]:
        """Projections (2 M, R, width) of two views of the M boxes of all ranks, all boxes of the first
        view in front; pairs (P, 2) of rows whose regions correspond; the views of this rank's boxes."""
        boxes = rows(batch)
        images = torch.cat(
            [self.augment(boxes.image, s, spatial=False) for s in view_seeds(boxes.seed, 2)]
        )
        z, item = gathered(self(images), views=2), gathered(boxes.item)
        m = len(item)
        box = torch.arange(m, device=images.device)
        pairs = [torch.stack([box, box + m], 1)]
        if self.form == "positive":
            s = batch["part"].shape[1]
            chosen = other_scans(item.view(-1, s)[:, 0], gathered(batch["seed"]), self.others)
            for sample in chosen.T:  # (B, n)
                pairs.append(torch.stack([box, box.view(-1, s)[sample].flatten() + m], 1))
        return z, torch.cat(pairs), images

    @torch.no_grad()
    def pictures(self, batch: dict, step: int) -> list[dict]:
        """How alike the regions of one image are to those of its other view; the middle ones in 3D."""
        z, pairs, images = self._compared(batch)
        each = normalize(z[pairs[0]].float(), dim=-1)
        r = len(self.starts)
        asked = torch.full((r, r), torch.nan)
        asked.scatter_(1, self.neighbours.cpu(), 0.0).fill_diagonal_(1.0)
        shown = slice(middle := max(r - SHOWN, 0) // 2, middle + SHOWN)
        return [
            {
                "kind": "similarity",
                "rows": self._patches(images[0, 0], shown),
                "columns": self._patches(images[len(images) // 2, 0], shown),
                "values": (each[0] @ each[1].T)[shown, shown].cpu().numpy(),
                "asked": asked[shown, shown].numpy(),
                "title": "cosine of the regions of one image in two views",
            }
        ]

    def _patches(self, image: Tensor, shown: slice) -> list:
        """What lies under the regions of an image (*size)."""
        k = self.region
        boxes = [
            tuple(slice(a * s, (a + k) * s) for a, s in zip(start, self.stride, strict=True))
            for start in self.starts[shown].tolist()
        ]
        return [image[box].cpu().numpy() for box in boxes]


class RegionHead(nn.Module):
    """g2: two convolutions of one voxel, then one linear layer for all the voxels of a region."""

    def __init__(self, ndim: int, channels: int, region: int, width: int):
        super().__init__()
        self.convs = nn.Sequential(
            CONV[ndim](channels, channels, 1, bias=False),
            BATCH_NORM[ndim](channels),
            nn.ReLU(),
            CONV[ndim](channels, channels, 1, bias=False),
        )
        self.dense = nn.Linear(channels * region**ndim, width, bias=False)

    def forward(self, x: Tensor, voxels: Tensor) -> Tensor:
        """(M, R, width) of maps (M, C, *places) and the numbers (R, K) of their regions' voxels."""
        regions = self.convs(x).flatten(2)[:, :, voxels]  # (M, C, R, K)
        return self.dense(regions.transpose(1, 2).flatten(2))


def lattice(places: tuple[int, ...], region: int) -> Tensor:
    """First voxels (R, ndim) of regions, in rising order: corners, middles of edges (and faces) and
    the centre of a map, and the points half way between the centre and the corners.

    13 in 2D as published, 35 in 3D; those that coincide in a thin map count once. Raises UserError
    where the map is smaller than a region.
    """
    room = [n - region for n in places]
    if min(room) < 0:
        raise UserError(
            "CONFIG", "method.region", f"{region} does not fit into a map of {list(places)} places",
            "use a larger method.size, more method.blocks, or a smaller region",
        )  # fmt: skip
    ndim = len(places)
    points = [*product((0, 0.5, 1), repeat=ndim), *product((0.25, 0.75), repeat=ndim)]
    starts = {tuple(int(t * n + 0.5) for t, n in zip(p, room, strict=True)) for p in points}
    return torch.tensor(sorted(starts))


def neighbours(starts: Tensor, region: int, count: int) -> Tensor:
    """For each region (R, ndim) the numbers (R, count) of the nearest ones that do not overlap it.

    Raises UserError where there are fewer.
    """
    apart = (starts[:, None] - starts).abs()
    disjoint = (apart >= region).any(-1)
    if int(disjoint.sum(1).min()) < count:
        raise UserError(
            "CONFIG", "method.negatives",
            f"{count} are asked for, and a region of {region} has {int(disjoint.sum(1).min())} others "
            "that do not overlap it",
            "use a larger method.size, more method.blocks, a smaller region, or fewer negatives",
        )  # fmt: skip
    distance = apart.square().sum(-1).float().masked_fill(~disjoint, torch.inf)
    return distance.argsort(dim=1, stable=True)[:, :count]


def voxels(starts: Tensor, region: int, places: tuple[int, ...]) -> Tensor:
    """Numbers (R, region ** ndim) of each region's voxels in a flattened map of `places`."""
    within = torch.tensor(list(product(range(region), repeat=len(places))))
    at = starts[:, None] + within  # (R, K, ndim)
    number = torch.zeros(at.shape[:-1], dtype=torch.int64)
    for axis, n in enumerate(places):
        number = number * n + at[..., axis]
    return number


def local_contrast(first: Tensor, second: Tensor, neighbours: Tensor, temperature: float) -> Tensor:
    """Mean over pairs of maps, regions r and both directions of, with s = cosine / temperature,

        l(f, g, r) = -log( e^s(f_r, g_r) / (e^s(f_r, g_r) + sum_n e^s(f_r, f_n) + e^s(f_r, g_n)) )

    first, second (P, R, D), regions at the same places; neighbours int64 (R, N), the n of each r.
    log(1 + 2 N) if all regions are alike.
    """
    with torch.autocast(first.device.type, enabled=False):
        f, g = normalize(first.float(), dim=-1), normalize(second.float(), dim=-1)
        ff, gg, fg = f @ f.mT, g @ g.mT, f @ g.mT  # (P, R, R)
    r = torch.arange(len(neighbours), device=neighbours.device)[:, None]
    positive = fg.diagonal(dim1=1, dim2=2) / temperature
    terms = []
    for own, other in ((ff, fg), (gg, fg.mT)):
        rest = torch.cat([own[:, r, neighbours], other[:, r, neighbours]], -1) / temperature
        terms.append(softplus(rest.logsumexp(-1) - positive))
    return torch.stack(terms).mean()
