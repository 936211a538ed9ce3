"""A plain vision transformer for films and volumes that drops hidden patches.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021; fixed sine-cosine positions as in
He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, or learned ones, as published
weights have them. There is no class token: pooled features are averages over patches.
"""

import math
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from medssl.backbones.base import again, check_size, checked_ndim, expand_visible, per_axis
from medssl.config import Count, Fraction
from medssl.errors import UserError


class ViT(nn.Module):
    """One level, at the stride of the patch: the tokens after the last block and its norm."""

    recompute = False

    def __init__(
        self, in_channels: int, *,
        ndim: Annotated[int, "2 for films and slices, 3 for volumes"] = 3,
        patch: Annotated[list[Count] | Count, "voxels of a patch along each axis, or along all"] = 16,
        width: Annotated[Count, "channels; a multiple of 2 x axes and of heads"] = 192,
        depth: Annotated[Count, "blocks"] = 6,
        heads: Annotated[Count, "attention heads"] = 3,
        mlp_ratio: Annotated[float, "hidden channels of a block's MLP over width"] = 4.0,
        drop_path: Annotated[Fraction, "share of branches left out, in the last block, 0..1"] = 0.0,
        grid: Annotated[list[Count] | None, "patches of learned positions; none: fixed ones"] = None,
    ):  # fmt: skip
        super().__init__()
        self.ndim, self.in_channels = checked_ndim(ndim), in_channels
        _check_width(width, ndim, heads)
        self.patch = per_axis(patch, ndim, "backbone.patch")
        self.channels, self.strides, self.divisor = (width,), (self.patch,), self.patch
        self.n_layers = depth + 1
        # One linear layer over cut patches is the strided convolution, for the visible ones only.
        self.embed = linear(math.prod(self.patch) * in_channels, width)
        rates = torch.linspace(0, drop_path, depth).tolist()
        self.blocks = nn.ModuleList([Block(width, heads, mlp_ratio, rate) for rate in rates])
        self.norm = nn.LayerNorm(width)
        if grid is not None:
            of_grid = per_axis(grid, ndim, "backbone.grid")
            start = as_map(sincos_positions(of_grid, width)[None], None, of_grid)
            self.places = nn.Module()
            self.places.positions = nn.Parameter(start)  # (1, width, *grid)

    def forward(self, image: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        """One map (B, width, *grid), exactly 0 at hidden patches.

        Raises ValueError unless the same number of patches is visible in every sample.
        """
        tokens, kept = self.tokens(image, visible)
        for block in self.blocks:
            tokens = again(self.recompute, block, tokens)
        return [as_map(self.norm(tokens), kept, self.grid(image))]

    def tokens(self, image: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Visible patches, embedded and placed (B, n, width), and which they are (B, n)."""
        check_size(image, self.divisor)
        positions = self.positions(self.grid(image)).to(image)
        if visible is None:
            return self.embed(cut_patches(image, self.patch)) + positions, None
        kept = visible_indices(expand_visible(visible, self.grid(image)))
        return self.embed(cut_patches(image, self.patch, kept)) + positions[kept], kept

    def positions(self, grid: tuple[int, ...]) -> Tensor:
        """What tells the places of a grid apart (L, width); learned ones are stretched to it."""
        if not hasattr(self, "places"):
            return sincos_positions(grid, self.channels[0])
        return resized(self.places.positions, grid).flatten(2)[0].T

    def grid(self, image: Tensor) -> tuple[int, ...]:
        """Patches along each axis of an image (B, C, *size)."""
        return tuple(n // p for n, p in zip(image.shape[2:], self.patch, strict=True))

    def recompute_activations(self) -> None:
        self.recompute = True

    def units(self) -> list[nn.Module]:
        return list(self.blocks)

    def layer_of(self, parameter: str) -> int:
        """0 the embedding, then every block; the last norm goes with the last block."""
        if parameter.startswith("blocks."):
            return 1 + int(parameter.split(".")[1])
        return 0 if parameter.startswith(("embed.", "places.")) else self.n_layers - 1


class Block(nn.Module):
    """Pre-norm attention and MLP on tokens (B, L, width)."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0, drop_path: float = 0.0):
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide {width} channels")
        self.heads, self.drop_path = heads, drop_path
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = linear(width, 3 * width), linear(width, width)
        hidden = int(width * mlp_ratio)
        self.mlp = nn.Sequential(linear(width, hidden), nn.GELU(), linear(hidden, width))

    def forward(self, x: Tensor, skip: int = 0) -> Tensor:
        """The tokens but for the first `skip`: those are looked at, and not worked out themselves."""
        x = x[:, skip:] + self._sometimes(self._attended(self.norm1(x), skip))
        return x + self._sometimes(self.mlp(self.norm2(x)))

    def _attended(self, x: Tensor, skip: int = 0) -> Tensor:
        """What the tokens from number `skip` on take from all of them: (B, L - skip, width)."""
        c = x.shape[2]
        if skip:
            (to_q, to_kv), (q_bias, kv_bias) = (
                p.tensor_split([c]) for p in (self.qkv.weight, self.qkv.bias)
            )
            q = nn.functional.linear(x[:, skip:], to_q, q_bias)
            k, v = nn.functional.linear(x, to_kv, kv_bias).unflatten(2, (2, c)).unbind(2)
        else:
            q, k, v = self.qkv(x).unflatten(2, (3, c)).unbind(2)
        q, k, v = (t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        return self.project(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def _sometimes(self, branch: Tensor) -> Tensor:
        """Stochastic depth (Huang et al., ECCV 2016): left out for whole samples in training."""
        if not self.training or self.drop_path == 0:
            return branch
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop_path
        return branch * kept / (1 - self.drop_path)


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer that starts as MAE's do: uniform after Glorot and Bengio, bias 0."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def cut_patches(image: Tensor, patch: tuple[int, ...], kept: Tensor | None = None) -> Tensor:
    """(B, C, *size) to (B, L, C * prod(patch)): patches row-major, channels slowest within.

    With `kept` (B, n), only the patches of these numbers; no others are copied.
    """
    b, c, *size = image.shape
    k = len(patch)
    grid = [s // p for s, p in zip(size, patch, strict=True)]
    split = [n for pair in zip(grid, patch, strict=True) for n in pair]
    grid_axes, patch_axes = [2 + 2 * i for i in range(k)], [3 + 2 * i for i in range(k)]
    x = image.reshape(b, c, *split).permute(0, *grid_axes, 1, *patch_axes)
    if kept is not None:
        rows = torch.arange(b, device=kept.device)[:, None]
        x = x[(rows, *torch.unravel_index(kept, grid))]
    return x.reshape(b, -1, c * math.prod(patch))


def visible_indices(visible: Tensor) -> Tensor:
    """Numbers (B, n) of the visible patches of (B, 1, *grid), ascending.

    Raises ValueError if samples differ in how many, or show none.
    """
    flat = visible.flatten(1)
    counts = flat.sum(1).tolist()
    if min(counts) != max(counts) or counts[0] == 0:
        raise ValueError(f"samples must show the same number of patches, at least 1: {counts}")
    return flat.nonzero()[:, 1].view(len(flat), -1)


def as_map(tokens: Tensor, kept: Tensor | None, grid: tuple[int, ...]) -> Tensor:
    """Tokens (B, n, width) at their places in (B, width, *grid), 0 elsewhere."""
    b, _, width = tokens.shape
    if kept is not None:
        n = math.prod(grid)
        rows = kept + n * torch.arange(b, device=kept.device)[:, None]
        everywhere = tokens.new_zeros(b * n, width)
        tokens = everywhere.index_copy(0, rows.flatten(), tokens.flatten(0, 1)).view(b, n, width)
    return tokens.transpose(1, 2).reshape(b, width, *grid)


def resized(maps: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Maps (B, C, *size) stretched to another grid, linearly; the same where it is the same."""
    if tuple(maps.shape[2:]) == tuple(grid):
        return maps
    mode = {2: "bilinear", 3: "trilinear"}[len(grid)]
    return nn.functional.interpolate(maps, tuple(grid), mode=mode, align_corners=False)


def sincos_positions(grid: tuple[int, ...], width: int) -> Tensor:
    """Fixed positions (L, width): a share of the channels for each axis, half sines, half cosines.

    Raises ValueError unless width is a multiple of twice the number of axes.
    """
    if width % (2 * len(grid)):
        raise ValueError(
            f"width {width} must be a multiple of {2 * len(grid)} for {len(grid)} axes"
        )
    n = width // (2 * len(grid))
    frequencies = 1 / 10000 ** (torch.arange(n, dtype=torch.float64) / n)
    tables = []
    for axis, length in enumerate(grid):
        angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
        shape = [length if a == axis else 1 for a in range(len(grid))]
        table = torch.cat([angles.sin(), angles.cos()], 1).float().view(*shape, 2 * n)
        tables.append(table.expand(*grid, 2 * n))
    return torch.cat(tables, -1).reshape(-1, width)


def _check_width(width: int, ndim: int, heads: int) -> None:
    step = math.lcm(2 * ndim, heads)
    if width < step or width % step:
        raise UserError(
            "CONFIG", "backbone.width",
            f"found {width}, expected a multiple of {2 * ndim} (for {ndim}D) and of {heads} heads",
            f"use {max(1, round(width / step)) * step}",
        )  # fmt: skip
