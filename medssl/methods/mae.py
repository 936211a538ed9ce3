"""Masked autoencoder: hide most patches, encode the rest, reconstruct what was hidden.

He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022; for volumes and films as in
Xiao et al., "Delving into Masked Autoencoders for Multi-Label Thorax Disease Classification", WACV
2023 (there 90 % are masked). Departures: no class token; round(L (1 - ratio)) patches stay visible.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor, nn

from medssl.backbones.vit import Block, sincos_positions
from medssl.config import Count, Proportion
from medssl.methods.base import checked_size
from medssl.methods.parts.boxes import boxes
from medssl.methods.parts.masking import (
    checked_cells,
    patchify,
    random_mask,
    split_places,
    take,
    unpatchify,
)
from medssl.methods.parts.reconstruction import mae_loss, patch_statistics, reconstructions
from medssl.trainable import StepOutput


class MAE(nn.Module):
    """Only visible tokens enter the encoder; a light decoder sees them with mask tokens between.

    So with `vit`. Other networks see hidden patches as 0: nothing of them, but at full cost.
    """

    def __init__(
        self, backbone: nn.Module, augment: Callable[[Tensor, Tensor], Tensor], *,
        size: Annotated[list[Count], "voxels of the image the network sees"],
        mask_ratio: Annotated[Proportion, "share of patches hidden, 0..1"] = 0.75,
        normalise_target: Annotated[bool, "each patch of the target to mean 0, variance 1"] = True,
        decoder_width: Annotated[Count, "channels of the decoder"] = 96,
        decoder_depth: Annotated[Count, "blocks of the decoder"] = 2,
        decoder_heads: Annotated[Count, "attention heads of the decoder"] = 3,
        read: Annotated[list[Count] | None, "voxels of the box that is resampled to size; none: size"] = None,
        whole: Annotated[bool, "resize the whole scan to the box, instead of cropping it"] = False,
    ):  # fmt: skip
        super().__init__()
        self.backbone, self.augment = backbone, augment
        self.size = checked_size(size, backbone, "method.size")
        self.patch = tuple(backbone.strides[-1])
        self.grid = checked_cells(self.size, self.patch, mask_ratio, "method.size")
        self.mask_ratio, self.normalise_target = mask_ratio, normalise_target
        self.crops = boxes(self.size, read, whole)
        positions = sincos_positions(self.grid, decoder_width)
        self.register_buffer("positions", positions, persistent=False)
        self.to_decoder = nn.Linear(backbone.channels[-1], decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(decoder_width))
        nn.init.normal_(self.mask_token, std=0.02)
        self.decoder = nn.Sequential(
            *[Block(decoder_width, decoder_heads) for _ in range(decoder_depth)],
            nn.LayerNorm(decoder_width),
        )
        voxels = torch.Size(self.patch).numel() * backbone.in_channels
        self.to_pixels = nn.Linear(decoder_width, voxels)

    def training_step(self, batch: dict, step: int) -> StepOutput:
        image, mask = self._draw(batch)
        predicted, hidden = self(image, mask)
        target = patchify(image, self.patch, hidden)
        return StepOutput(mae_loss(predicted, target, None, self.normalise_target))

    def _draw(self, batch: dict) -> tuple[Tensor, Tensor]:
        image = self.augment(batch["image"], batch["seed"], size=self.size)
        return image, random_mask(batch["seed"], self.grid, self.mask_ratio).to(image.device)

    def after_step(self, step: int) -> None:
        pass

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The hidden patches (B, n, voxels) as predicted, and their numbers (B, n).

        mask (B, 1, *grid), True = hidden, as many in every sample.
        """
        seen, hidden = split_places(mask)
        features = take(self.backbone(image, visible=~mask)[-1].flatten(2).transpose(1, 2), seen)
        tokens = torch.cat(
            [
                self.to_decoder(features) + self.positions[seen],
                self.mask_token + self.positions[hidden],
            ],
            1,
        )
        # Positions are in the tokens, so their order is free; nobody asks for visible ones at the end.
        *blocks, last, norm = self.decoder
        for block in blocks:
            tokens = block(tokens)
        return self.to_pixels(norm(last(tokens, skip=seen.shape[1]))), hidden

    @torch.no_grad()
    def pictures(self, batch: dict, step: int) -> list[dict]:
        """Input, what was left visible, and the reconstruction (visible patches pasted back)."""
        image, mask = self._draw(batch)
        predicted, hidden = self(image, mask)
        target = patchify(image, self.patch)
        if self.normalise_target:
            mean, std = patch_statistics(take(target, hidden))
            predicted = predicted.float() * std + mean
        places = hidden[..., None].expand_as(predicted)
        filled = target.scatter(1, places, predicted.to(target.dtype))
        return reconstructions(image, unpatchify(filled, self.patch, self.grid), mask)
