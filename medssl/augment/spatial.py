"""Crop, flip, rotation, scale, shift and a smooth displacement as one resampling of a batch."""

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from medssl.augment.boxes import boxes
from medssl.augment.elastic import displacement
from medssl.augment.samples import of_each, uniform
from medssl.augment.trilinear import trilinear


def draw_affine(
    seeds: Tensor, size: tuple[int, ...], *,
    flip: Sequence[float] = (0.0,), rotate: float = 0.0, scale: tuple[float, float] = (1.0, 1.0),
    shift: float = 0.0,
) -> Tensor:  # fmt: skip
    """Voxel-space maps (B, ndim, ndim + 1) float64, output index (from the centre) to input index.

    flip    probability for each axis, or one for all
    rotate  largest angle in each plane, degrees, uniform
    scale   factor by which things grow, log-uniform, the same for all axes
    shift   largest shift along each axis as a share of its size
    """
    ndim = len(size)
    planes = list(combinations(range(ndim), 2))
    u = uniform(seeds, "affine", 2 * ndim + 1 + len(planes))
    flips, moves, growth, turns = u.split([ndim, ndim, 1, len(planes)], 1)
    matrix = torch.diag_embed(1 - 2 * (flips < torch.tensor(flip)).double())
    for (i, j), turn in zip(planes, turns.unbind(1), strict=True):
        angle = math.radians(rotate) * (2 * turn - 1)
        plane = torch.eye(ndim, dtype=torch.float64).repeat(len(seeds), 1, 1)
        plane[:, i, i] = plane[:, j, j] = torch.cos(angle)
        plane[:, i, j], plane[:, j, i] = -torch.sin(angle), torch.sin(angle)
        matrix = matrix @ plane
    low, high = map(math.log, scale)
    matrix = matrix / torch.exp(low + (high - low) * growth)[..., None]
    move = (2 * moves - 1) * shift * torch.tensor(size, dtype=torch.float64)
    return torch.cat([matrix, move[..., None]], 2)


def draw_crop(
    seeds: Tensor, ndim: int, *, share: tuple[float, float] = (1.0, 1.0), aspect: float = 0.0
) -> Tensor:
    """First and far edges (B, 2, ndim) float64 of a box anywhere inside, each 0..1 of the size.

    share   smallest and largest share of the volume or area that is kept, log-uniform
    aspect  the box's sides are stretched against each other by up to 1 + this
    """
    u = uniform(seeds, "crop", 1 + 2 * ndim)
    low, high = map(math.log, share)
    kept = torch.exp(low + (high - low) * u[:, 0])
    return boxes(kept, aspect, u[:, 1 : 1 + ndim], u[:, 1 + ndim :])


def into_box(
    maps: Tensor, box: Tensor, size: tuple[int, ...], output: tuple[int, ...]
) -> Tensor:  # fmt: skip
    """The maps of the box (B, 2, ndim) of an image of `size` that fills the `output` size.

    Turning happens in the image's own voxels, so that it stays rigid whatever the box's shape; a
    shift counts in shares of the box.
    """
    n, m = (torch.tensor(s, dtype=torch.float64) for s in (size, output))
    side = box[:, 1] - box[:, 0]
    move = maps[..., -1] * side + (box.mean(1) - 0.5) * n
    return torch.cat([maps[..., :-1] * (side * n / m)[:, None], move[..., None]], 2)


def apply_spatial(
    image: Tensor, maps: Tensor, elastic: Tensor | None = None, *,
    size: tuple[int, ...] | None = None, nearest: bool = False, fill: float | Tensor = 0.0,
) -> Tensor:  # fmt: skip
    """Resample (B, C, *n) to (B, C, *size) by voxel-space maps and control points of `draw_elastic`.

    Multilinear or nearest; outside is `fill`, one value, a sample's (B, 1, 1, ...) or a channel's
    (B, C, 1, ...). Where voxels grow nothing is averaged: there is no anti-aliasing. What is mirrored
    only is copied, bit by bit, and what stays as it is is not touched.
    """
    size = tuple(size or image.shape[2:])
    groups: dict[tuple[int, ...] | None, list[int]] = {}
    for row, axes in enumerate(_mirrored(maps, elastic)):
        groups.setdefault(axes if size == tuple(image.shape[2:]) else None, []).append(row)
    if groups.keys() <= {()}:
        return image
    fill = of_each(fill, image)
    out = image.new_empty(*image.shape[:2], *size) if len(groups) > 1 else image
    for axes, rows in groups.items():
        some = slice(None) if len(groups) == 1 else torch.tensor(rows)
        if axes is not None:
            moved = image[some].flip(axes)
        else:
            bent = None if elastic is None else elastic[some]
            moved = _resampled(image[some], maps[some], bent, size, nearest, fill[some])
        if len(groups) == 1:
            return moved
        out[some] = moved
    return out


def apply_to_boxes(
    boxes: Tensor, maps: Tensor, shape: tuple[int, ...], size: tuple[int, ...]
) -> Tensor:
    """Boxes (B, n, 2 ndim), low and high corner at voxel edges, of images of `shape`, as they lie in what
    `apply_spatial` makes of these, (B, C, *size); NaN stays NaN.

    A turned box is the one around the turned ellipsoid that fills it, which is how lesions turn: one
    around its turned corners would grow with every degree.
    """
    ndim = maps.shape[1]
    n, m = (torch.tensor(s, dtype=torch.float64) for s in (shape, size))
    back = torch.linalg.inv(maps[..., :-1])
    low, high = boxes.detach().cpu().double().split(ndim, -1)
    centre = (low + high) / 2 - n / 2 - maps[:, None, :, -1]
    centre = torch.einsum("bij,bkj->bki", back, centre) + m / 2
    half = torch.einsum("bij,bkj->bki", back**2, ((high - low) / 2) ** 2).sqrt()
    return torch.cat([centre - half, centre + half], -1).to(boxes)


def _mirrored(maps: Tensor, elastic: Tensor | None) -> list[tuple[int, ...] | None]:
    """The axes of (B, C, *n) along which each sample is mirrored; None if it is more than that."""
    ndim = maps.shape[1]
    signs = maps.diagonal(dim1=1, dim2=2).sign()
    plain = torch.cat([torch.diag_embed(signs), torch.zeros_like(maps[..., -1:])], 2)
    only = (maps == plain).flatten(1).all(1)
    if elastic is not None:
        only = only & (elastic == 0).flatten(1).all(1)
    return [
        tuple(2 + a for a in range(ndim) if sign[a] < 0) if o else None
        for o, sign in zip(only.tolist(), signs.tolist(), strict=True)
    ]


def _resampled(image, maps, elastic, size, nearest, fill) -> Tensor:
    n = tuple(image.shape[2:])
    if image.is_cpu and len(n) == 3 and not nearest:
        centre = (torch.tensor(n, dtype=torch.float64) + 1) / 2
        counted = torch.cat([maps[..., :-1], maps[..., -1:] + centre[:, None]], 2)
        return trilinear(image, _sources(counted, elastic, size, image), fill)
    grid = sampling_grid(maps, elastic, n, size, image).movedim(1, -1)
    mode = "nearest" if nearest else "bilinear"
    image = image - fill  # zero outside is `fill` in the end
    return grid_sample(image, grid, mode=mode, padding_mode="zeros", align_corners=False).add_(fill)


def sampling_grid(
    maps: Tensor, elastic: Tensor | None, n: tuple[int, ...], size: tuple[int, ...], like: Tensor
) -> Tensor:
    """Where each output voxel comes from, (B, ndim, *size) in the type and on the device of `like`.

    Along an input axis of n voxels -1 is its first edge and 1 its far edge, index i therefore
    (2 i + 1) / n - 1; the last axis comes first, as torch has it.
    """
    maps = maps.double() * 2 / torch.tensor(n, dtype=torch.float64)[:, None]
    return _sources(maps.flip(1), elastic, size, like)


def _sources(maps: Tensor, elastic: Tensor | None, size: tuple[int, ...], like: Tensor) -> Tensor:
    """What the maps give for every output index, from the centre.

    An affine map is a sum of one line an axis: three additions in place of a matrix product a voxel.
    """
    maps, ndim = maps.double(), len(size)
    grid = maps[..., -1].view(*maps.shape[:2], *[1] * ndim)
    for axis, m in enumerate(size):
        line = torch.arange(m, dtype=torch.float64) - (m - 1) / 2
        line = maps[..., axis, None] * line
        shape = [m if a == axis else 1 for a in range(ndim)]
        line = line.view(*maps.shape[:2], *shape)
        if axis == ndim - 1:  # what is large is computed on the device, in its type
            grid, line = (t.to(like.device, like.dtype) for t in (grid, line))
        grid = grid + line
    if elastic is None:
        return grid
    control = torch.einsum("bij,bj...->bi...", maps[..., :-1], elastic.double())
    return grid.add_(displacement(control.to(like.device, like.dtype), size))
