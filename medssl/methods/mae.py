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
from medssl.data.crops import CropSpec
from medssl.errors import UserError
from medssl.methods.base import checked_size
from medssl.methods.parts.masking import n_visible, patchify, random_mask, unpatchify
from medssl.trainable import StepOutput


class MAE(nn.Module):
    """Only visible tokens enter the encoder; a light decoder sees them with mask tokens between."""

    def __init__(
        self, backbone: nn.Module, augment: Callable[[Tensor, Tensor], Tensor], *,
        size: Annotated[list[Count], "voxels of the image the network sees"],
        mask_ratio: Annotated[Proportion, "share of patches hidden, 0..1"] = 0.75,
        normalise_target: Annotated[bool, "each patch of the target to mean 0, variance 1"] = True,
        decoder_width: Annotated[Count, "channels of the decoder"] = 96,
        decoder_depth: Annotated[Count, "blocks of the decoder"] = 2,
        decoder_heads: Annotated[Count, "attention heads of the decoder"] = 3,
        whole: Annotated[bool, "resize the whole scan to size, instead of cropping"] = False,
    ):  # fmt: skip
        super().__init__()
        self.backbone, self.augment = backbone, augment
        self.size = checked_size(size, backbone, "method.size")
        self.patch = tuple(backbone.strides[-1])
        self.grid = tuple(s // p for s, p in zip(self.size, self.patch, strict=True))
        self.mask_ratio, self.normalise_target = mask_ratio, normalise_target
        self.crops = CropSpec(self.size, whole=whole)
        positions = sincos_positions(self.grid, decoder_width)
        try:  # an impossible ratio is refused here, not at the first step
            n_visible(len(positions), mask_ratio)
        except ValueError as error:
            fix = f"choose a share between 0 and 1 that leaves some of {len(positions)} patches"
            raise UserError("CONFIG", "method.mask_ratio", str(error), fix) from error
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
        predicted = self(image, mask)
        target = patchify(image, self.patch)
        return StepOutput(mae_loss(predicted, target, mask.flatten(1), self.normalise_target))

    def _draw(self, batch: dict) -> tuple[Tensor, Tensor]:
        image = self.augment(batch["image"], batch["seed"])
        return image, random_mask(batch["seed"], self.grid, self.mask_ratio).to(image.device)

    def after_step(self, step: int) -> None:
        pass

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Predicted patches (B, L, voxels) of an image whose patches are hidden where mask is True."""
        features = self.backbone(image, visible=~mask)[-1]
        tokens = self.to_decoder(features.flatten(2).transpose(1, 2))
        hidden = mask.flatten(1)[..., None]
        tokens = torch.where(hidden, self.mask_token.to(tokens.dtype), tokens) + self.positions
        return self.to_pixels(self.decoder(tokens))

    @torch.no_grad()
    def pictures(self, batch: dict, step: int) -> list[dict]:
        """Input, what was left visible, and the reconstruction (visible patches pasted back)."""
        image, mask = self._draw(batch)
        tokens, target = self(image, mask).float(), patchify(image, self.patch)
        if self.normalise_target:
            mean, std = patch_statistics(target)
            tokens = tokens * std + mean
        hidden = mask.flatten(1)[..., None]
        visible = torch.where(hidden, image.amin(), target)
        pasted = torch.where(hidden, tokens.to(target.dtype), target)
        return [
            {
                "kind": "reconstruction",
                "input": image[i, 0].cpu().numpy(),
                "masked": unpatchify(visible, self.patch, self.grid)[i, 0].cpu().numpy(),
                "output": unpatchify(pasted, self.patch, self.grid)[i, 0].cpu().numpy(),
            }
            for i in range(min(2, len(image)))
        ]


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (unbiased variance + 1e-6, as published) of each patch."""
    mean = patches.mean(-1, keepdim=True)
    return mean, (patches.var(-1, keepdim=True) + 1e-6).sqrt()


def mae_loss(predicted: Tensor, target: Tensor, mask: Tensor, normalise: bool) -> Tensor:
    """Mean squared error over the masked patches only.

    predicted, target (B, L, voxels); mask (B, L), True = masked.
    """
    if normalise:
        mean, std = patch_statistics(target)
        target = (target - mean) / std
    error = (predicted.float() - target.float()).square().mean(-1)
    return (error * mask).sum() / mask.sum()
