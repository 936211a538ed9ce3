"""Does every place of a scan know what it belongs to? One linear layer from frozen features to classes.

Features of all levels, linearly interpolated to the prepared resolution, are classified voxel by
voxel. It is trained on sampled voxels, which stand for the whole scans by their weights, with the
cross-entropy and soft Dice that a segmentation network is trained with, and nothing but this layer
can learn. As the layer is linear, whole windows are answered level by level: interpolating its
answers is the same as interpolating the features, at a fraction of the memory.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv1d, cross_entropy, grid_sample, interpolate

from medssl.errors import UserError

STEPS, DECAY, FLOOR = 150, 1e-4, 1e-5
NEAR = 3  # voxels around a structure from which a quarter of the sample is drawn


def sample_voxels(
    mask: np.ndarray, asked: np.ndarray, n: int, draw: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """About `n` voxels of one scan: places (m, axes), classes (m,), and how many each stands for.

    mask   class numbers (*shape), 0 the background
    asked  bool (*shape), the voxels that may be drawn

    Half are of structures, each alike; a quarter each background within 3 voxels of one, where it
    is told apart, and background elsewhere. Strata smaller than their share are taken whole.
    """
    from scipy.ndimage import binary_dilation

    close = binary_dilation(mask > 0, iterations=NEAR) & (mask == 0)
    present = np.unique(mask[asked & (mask > 0)])
    strata = [(int(k), mask == k, n / 2 / len(present)) for k in present]
    strata += [(0, close, n / 4), (0, (mask == 0) & ~close, n / 4 if close.any() else n / 2)]
    places, classes, weights = [], [], []
    for k, stratum, share in strata:
        where = np.flatnonzero(stratum & asked)
        chosen = np.sort(draw.permutation(len(where))[: max(1, int(share))])
        if len(chosen):
            places.append(np.column_stack(np.unravel_index(where[chosen], mask.shape)))
            classes.append(np.full(len(chosen), k))
            weights.append(np.full(len(chosen), len(where) / len(chosen)))
    if not places:
        return np.zeros((0, mask.ndim), int), np.zeros(0, int), np.zeros(0)
    return np.concatenate(places), np.concatenate(classes), np.concatenate(weights)


def features_at(levels: list[Tensor], places: Tensor, size) -> Tensor:
    """Features (n, sum of channels) at voxels of one window, linearly interpolated.

    levels  (1, C_i, *grid_i) of a window of `size` voxels; places (n, axes), counted in the window
    """
    size = torch.as_tensor(size, dtype=torch.float32, device=places.device)
    centres = (2 * places.float() + 1) / size - 1  # -1 and 1 are the window's outer edges
    centres = centres.flip(-1).view(1, *[1] * (len(size) - 1), *places.shape)  # last axis first
    found = [
        grid_sample(x.float(), centres, padding_mode="border", align_corners=False) for x in levels
    ]
    return torch.cat([f.flatten(2)[0].T for f in found], 1)


@dataclass(frozen=True)
class DenseProbe:
    """weight (classes, channels of all levels), bias (classes,); class 0 is the background."""

    weight: Tensor
    bias: Tensor

    def __call__(self, levels: list[Tensor], size) -> Tensor:
        """Logits (B, classes, *size) of windows whose levels are (B, C_i, *grid_i)."""
        total, at = self.bias.view(1, -1, *[1] * len(size)), 0
        for x in levels:
            w = self.weight[:, at : at + x.shape[1], None]
            at += x.shape[1]
            answers = conv1d(x.float().flatten(2), w).unflatten(2, x.shape[2:])
            mode = "trilinear" if len(size) == 3 else "bilinear"
            total = total + interpolate(answers, tuple(size), mode=mode, align_corners=False)
        return total


def fit_dense(features: Tensor, classes: Tensor, weights: Tensor, n_classes: int) -> DenseProbe:
    """A classifier of voxels (n, C) by cross-entropy, soft Dice and a little L2, with L-BFGS.

    classes  (n,) 0 to n_classes - 1; weights (n,) how many voxels each stands for

    It is fitted to whitened features, as those of a network are alike to a degree that keeps a
    gradient method from arriving within hundreds of steps, so that figures would tell how easily
    a network's features are descended on rather than what they hold. The result takes features as
    they are. Nothing is drawn: the same features give the same probe. Raises UserError for features
    that are not finite, or none.
    """
    if not len(features) or not torch.isfinite(features).all():
        raise UserError(
            "FEATURES", "dense probe", "no features, or some are not finite numbers",
            "choose splits with labelled scans; a backbone that has diverged needs an earlier "
            "checkpoint or a smaller learning rate",
        )  # fmt: skip
    mean = features.mean(0)
    basis = whitening(features - mean)
    x = (features - mean) @ basis
    weights = (weights / weights.mean()).float()
    weight = torch.zeros(n_classes, x.shape[1], device=x.device, requires_grad=True)
    bias = torch.zeros(n_classes, device=x.device, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=STEPS, history_size=20, line_search_fn="strong_wolfe",
        tolerance_change=1e-7,
    )  # fmt: skip

    def loss() -> Tensor:
        optimiser.zero_grad()
        found = dense_loss(x @ weight.T + bias, classes, weights) + DECAY * weight.square().sum()
        found.backward()
        return found

    optimiser.step(loss)
    with torch.no_grad():
        folded = weight @ basis.T
        return DenseProbe(folded, bias - folded @ mean)


def whitening(centred: Tensor) -> Tensor:
    """(C, C) that makes centred features (n, C) uncorrelated, of variance 1 at most.

    Directions of less than a hundred-thousandth of the largest variance, all dimensions scaled
    alike before, are left small: they are rounding. Dimensions that do not vary become 0.
    """
    x = centred.double()
    deviation = x.square().mean(0).sqrt()
    scale = torch.where(deviation > 1e-6 * deviation.max(), 1 / deviation, 0.0)
    x = x * scale
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    floor = FLOOR * values[-1].clamp(min=1e-300)
    return (scale[:, None] * vectors / (values.clamp(min=0) + floor).sqrt()).float()


def dense_loss(logits: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy + 1 - mean soft Dice of the structures, over voxels that stand for many.

    logits (n, classes), classes (n,), weights (n,) > 0. Structures without a voxel are left out.
    """
    entropy = (weights * cross_entropy(logits, classes, reduction="none")).sum() / weights.sum()
    truth = torch.nn.functional.one_hot(classes, logits.shape[1]).to(logits)[:, 1:]
    p = logits.softmax(1)[:, 1:]
    there = truth.sum(0) > 0
    both = (weights[:, None] * p * truth).sum(0)
    either = (weights[:, None] * (p + truth)).sum(0)
    if not there.any():
        return entropy
    return entropy + 1 - (2 * both[there] / either[there]).mean()
