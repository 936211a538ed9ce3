"""Convolutional masked autoencoder: fill the holes of an image with a U-Net.

The form of "Revisiting MAE Pre-Training for 3D Medical Image Segmentation" (Wald et al., CVPR 2025,
its dense baseline) with skips, and of AMAES (Munk et al., 2024) without, with the loss on all voxels
and the image before intensity augmentation as the target. The holes are filled and the whole image
passes through an ordinary network: convolutions and norms see the filling, and nothing tells it from
tissue of that value but its edges. SparK (`spark`) keeps its encoder blind to hidden places instead.
Both publications count wrongly when there are several channels; here errors are averaged over voxels
and channels alike.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from medssl.backbones.base import expand_visible, per_axis
from medssl.backbones.decoder import UNetDecoder
from medssl.config import Count, Proportion
from medssl.data.crops import CropSpec
from medssl.errors import UserError
from medssl.methods.base import checked_size
from medssl.methods.parts.masking import (
    block_size,
    checked_cells,
    patchify,
    random_mask,
    split_places,
    unpatchify,
)
from medssl.methods.parts.reconstruction import mae_loss, patch_statistics, reconstructions
from medssl.ranks import gathered
from medssl.seeding import torch_generator
from medssl.trainable import StepOutput


class ConvMAE(nn.Module):
    """Backbone and `decoder` are a plain U-Net; with skips, fine-tuning can take both over."""

    def __init__(
        self, backbone: nn.Module, augment: Callable[[Tensor, Tensor], Tensor], *,
        size: Annotated[list[Count], "voxels of the image the network sees"],
        patch: Annotated[
            list[Count] | Count | None, "voxels of a block along each axis; none: near 16 (2D: 32)"
        ] = None,
        mask_ratio: Annotated[
            list[Proportion] | Proportion, "share of blocks hidden, or two ends, drawn every batch"
        ] = (0.75,),
        fill: Annotated[
            Literal["zero", "lowest"], "hidden voxels: 0 (mean of z-scored MR), or lowest seen (air)"
        ] = "zero",
        skips: Annotated[bool, "the decoder sees every level and the image, not the last alone"] = True,
        loss_on: Annotated[Literal["masked", "all"], "voxels that count"] = "masked",
        target: Annotated[
            Literal["augmented", "clean"], "what is reconstructed: clean is before intensity changes"
        ] = "augmented",
        normalise_target: Annotated[bool, "each block of the target to mean 0, variance 1"] = False,
        width: Annotated[Count, "channels of the decoder at full resolution"] = 8,
        whole: Annotated[bool, "resize the whole scan to size, instead of cropping"] = False,
    ):  # fmt: skip
        super().__init__()
        self.backbone, self.augment = backbone, augment
        self.size = checked_size(size, backbone, "method.size")
        ndim = backbone.ndim
        if patch is None:
            self.patch = block_size(self.size, {2: 32, 3: 16}[ndim], (1,) * ndim)
        else:
            self.patch = per_axis(patch, ndim, "method.patch")
        self.mask_ratio = checked_range(mask_ratio)
        for ratio in self.mask_ratio:
            self.grid = checked_cells(self.size, self.patch, ratio, "method.patch")
        self.fill, self.skips, self.loss_on = fill, skips, loss_on
        self.target, self.normalise_target = target, normalise_target
        self.crops = CropSpec(self.size, whole=whole)
        self.decoder = UNetDecoder(
            backbone if skips else coarsest_only(backbone), backbone.in_channels, width
        )

    def training_step(self, batch: dict, step: int) -> StepOutput:
        image, target, mask = self._draw(batch)
        counted = split_places(mask)[1] if self.loss_on == "masked" else None
        output = patchify(self(image, mask), self.patch, counted)
        target = patchify(target, self.patch, counted)
        return StepOutput(mae_loss(output, target, None, self.normalise_target))

    def _draw(self, batch: dict) -> tuple[Tensor, Tensor, Tensor]:
        """What is shown in part and what is asked for, (B, C, *size) both, and the mask."""
        image, seeds = batch["image"], batch["seed"]
        if self.target == "clean":
            target = self.augment(image, seeds, intensity=False)
            image = self.augment(target, seeds, spatial=False)
        else:
            image = target = self.augment(image, seeds)
        low, high = self.mask_ratio
        share = float(
            torch.rand((), generator=torch_generator(int(gathered(seeds)[0]), "mask ratio"))
        )
        mask = random_mask(seeds, self.grid, low + (high - low) * share)
        return image, target, mask.to(image.device)

    def after_step(self, step: int) -> None:
        pass

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """The image (B, C, *size) as filled in where mask (B, 1, *grid) is True."""
        holes = make_holes(image, mask, self.fill)
        levels = self.backbone(holes)
        if self.skips:
            return self.decoder(levels, holes)
        return self.decoder(levels[-1:], torch.zeros_like(holes))

    @torch.no_grad()
    def pictures(self, batch: dict, step: int) -> list[dict]:
        """Input, what was left visible, and the reconstruction (visible blocks pasted back)."""
        image, target, mask = self._draw(batch)
        output = self(image, mask).float()
        if self.normalise_target:
            mean, std = patch_statistics(patchify(target, self.patch))
            output = unpatchify(patchify(output, self.patch) * std + mean, self.patch, self.grid)
        return reconstructions(image, output, mask)


def make_holes(image: Tensor, mask: Tensor, fill: str) -> Tensor:
    """The image (B, C, *size) with 0 where mask (B, 1, *grid) is True, or the lowest visible value.

    The lowest is each sample's and channel's own. What was hidden does not matter, be it NaN.
    """
    visible = expand_visible(~mask, image.shape[2:])
    if fill == "zero":
        return torch.where(visible, image, 0.0)
    seen = torch.where(visible, image, torch.inf)
    return torch.where(visible, image, seen.amin(tuple(range(2, image.ndim)), keepdim=True))


def coarsest_only(backbone: nn.Module) -> SimpleNamespace:
    """What a decoder reads of a backbone, as if it had its last level alone."""
    return SimpleNamespace(
        ndim=backbone.ndim, in_channels=backbone.in_channels,
        channels=backbone.channels[-1:], strides=backbone.strides[-1:],
    )  # fmt: skip


def checked_range(ratio: list[float] | float) -> tuple[float, float]:
    """Both ends of a range, or the same number twice. Raises UserError."""
    ends = [ratio] if isinstance(ratio, float) else list(ratio)
    if len(ends) not in (1, 2) or ends != sorted(ends):
        raise UserError(
            "CONFIG", "method.mask_ratio", f"found {ends}, expected one share, or two rising ones",
            "e.g. 0.75 or 0.6,0.9",
        )  # fmt: skip
    return ends[0], ends[-1]
