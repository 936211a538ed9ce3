"""SimMIM: show a learned patch where the image is hidden, and read the raw values off with one layer.

Xie et al., "SimMIM: A Simple Framework for Masked Image Modeling", CVPR 2022. The whole encoder sees
hidden places, unlike in MAE, so any network will do. The mask token is learned in the image, as a
patch of the finest level's stride that is repeated over the hidden cells: where the network cuts
patches without overlap, embedding it is a linear map, and the token of the paper is its image.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from medssl.backbones.base import expand_visible, per_axis
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
    take,
    unpatchify,
)
from medssl.methods.parts.reconstruction import reconstructions
from medssl.trainable import StepOutput


class SimMIM(nn.Module):
    """One 1x1 convolution from the coarsest level to the voxels of its stride; L1 on hidden cells."""

    def __init__(
        self, backbone: nn.Module, augment: Callable[[Tensor, Tensor], Tensor], *,
        size: Annotated[list[Count], "voxels of the image the network sees"],
        mask_ratio: Annotated[Proportion, "share of cells hidden, 0..1"] = 0.6,
        cell: Annotated[
            list[Count] | Count | None,
            "voxels of a mask cell along each axis, multiples of the coarsest stride; none: near 32",
        ] = None,
        whole: Annotated[bool, "resize the whole scan to size, instead of cropping"] = False,
    ):  # fmt: skip
        super().__init__()
        self.backbone, self.augment = backbone, augment
        self.size = checked_size(size, backbone, "method.size")
        self.patch, self.mask_ratio = tuple(backbone.strides[-1]), mask_ratio
        if cell is None:
            self.cell = block_size(self.size, 32, self.patch)
        else:
            self.cell = per_axis(cell, backbone.ndim, "method.cell")
        if any(c % p for c, p in zip(self.cell, self.patch, strict=True)):
            raise UserError(
                "CONFIG", "method.cell", f"{list(self.cell)} is no multiple of {list(self.patch)}, "
                "the stride of the backbone's coarsest level",
                f"use {list(block_size(self.size, 32, self.patch))}",
            )  # fmt: skip
        self.cells = checked_cells(self.size, self.cell, mask_ratio, "method.cell", self.patch)
        self.grid = tuple(s // p for s, p in zip(self.size, self.patch, strict=True))
        self.crops = CropSpec(self.size, whole=whole)
        self.token = nn.Parameter(torch.empty(backbone.in_channels, *backbone.strides[0]))
        nn.init.trunc_normal_(self.token, std=0.02)
        voxels = torch.Size(self.patch).numel() * backbone.in_channels
        self.to_pixels = nn.Linear(backbone.channels[-1], voxels)  # on a map, a 1x1 convolution

    def no_weight_decay(self) -> set[str]:
        """What the optimiser should not shrink."""
        return {"token"}

    def training_step(self, batch: dict, step: int) -> StepOutput:
        image, mask = self._draw(batch)
        predicted, hidden = self(image, mask)
        return StepOutput(simmim_loss(predicted, patchify(image, self.patch, hidden)))

    def _draw(self, batch: dict) -> tuple[Tensor, Tensor]:
        image = self.augment(batch["image"], batch["seed"])
        return image, random_mask(batch["seed"], self.cells, self.mask_ratio).to(image.device)

    def after_step(self, step: int) -> None:
        pass

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden patches of the coarsest stride as predicted (B, n, voxels), their numbers (B, n).

        mask (B, 1, *cells), True = hidden.
        """
        features = self.backbone(self.covered(image, mask))[-1].flatten(2).transpose(1, 2)
        hidden = split_places(~expand_visible(~mask, self.grid))[1]
        return self.to_pixels(take(features, hidden)), hidden

    def covered(self, image: Tensor, mask: Tensor) -> Tensor:
        """The image (B, C, *size) with the learned patch over and over where it is hidden."""
        size = image.shape[2:]
        times = [s // t for s, t in zip(size, self.token.shape[1:], strict=True)]
        tiled = self.token.repeat(1, *times).to(image.dtype)
        return torch.where(expand_visible(~mask, size), image, tiled)

    @torch.no_grad()
    def pictures(self, batch: dict, step: int) -> list[dict]:
        """Input, what was left visible, and the reconstruction (visible cells pasted back)."""
        image, mask = self._draw(batch)
        predicted, hidden = self(image, mask)
        filled = patchify(image, self.patch)
        places = hidden[..., None].expand_as(predicted)
        filled = filled.scatter(1, places, predicted.to(filled.dtype))
        return reconstructions(image, unpatchify(filled, self.patch, self.grid), mask)


def simmim_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of hidden patches (B, n, voxels), over voxels and channels."""
    return l1_loss(predicted.float(), target.float())
