"""What methods that fill in hidden places share: targets, errors, and pictures."""

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from medssl.backbones.base import expand_visible


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch (..., voxels), as (..., 1).

    The variance is unbiased and has 1e-6 added, as published; `var` would take ten times as long.
    """
    mean = patches.mean(-1, keepdim=True)
    spread = torch.linalg.vector_norm(patches - mean, dim=-1, keepdim=True)
    return mean, (spread.square() / max(patches.shape[-1] - 1, 1) + 1e-6).sqrt()


def mae_loss(predicted: Tensor, target: Tensor, mask: Tensor | None, normalise: bool) -> Tensor:
    """Mean squared error over the masked patches only.

    predicted, target (B, L, voxels); mask (B, L), True = masked, or None: all that is given is.
    normalise: each patch of the target to mean 0, variance 1.
    """
    predicted, target = predicted.float(), target.float()
    if normalise:
        mean, std = patch_statistics(target)
        target = (target - mean) / std
    if mask is None:
        return mse_loss(predicted, target)
    error = (predicted - target).square().mean(-1)
    return torch.where(mask.bool(), error, 0.0).sum() / mask.sum()


def reconstructions(image: Tensor, output: Tensor, mask: Tensor, n: int = 2) -> list[dict]:
    """Pictures of the first n samples (B, C, *size): input, visible part, reconstruction.

    mask (B, 1, *grid), True = hidden; visible voxels of the output are the input's.
    """
    hidden = ~expand_visible(~mask, image.shape[2:])
    shown = torch.where(hidden, image.amin(), image)
    output = torch.where(hidden, output.to(image.dtype), image)
    return [
        {
            "kind": "reconstruction",
            "input": image[i, 0].cpu().numpy(),
            "masked": shown[i, 0].cpu().numpy(),
            "output": output[i, 0].cpu().numpy(),
        }
        for i in range(min(n, len(image)))
    ]
