"""A plain vision transformer in 2D and 3D that drops hidden tokens.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021; fixed sine-cosine positions as in
He et al., CVPR 2022. No class token: pooled features are averages.
"""

import math
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class ViT(nn.Module):
    """One level, at the stride of the patch."""

    def __init__(
        self, in_channels: int, *,
        ndim: Annotated[int, "2 for films and slices, 3 for volumes"] = 3,
        patch: Annotated[list[int], "voxels of a token along each axis"] = (16, 16, 16),
        width: Annotated[int, "channels; a multiple of 2 x axes and of heads"] = 192,
        depth: Annotated[int, "blocks"] = 6,
        heads: Annotated[int, "attention heads"] = 3,
        mlp_ratio: Annotated[float, "hidden channels of a block's MLP over width"] = 4.0,
    ):  # fmt: skip
        super().__init__()
        patch = tuple(int(p) for p in patch)
        if len(patch) != ndim:
            raise ValueError(f"patch has {len(patch)} values for {ndim} axes")
        self.ndim, self.in_channels, self.patch = ndim, in_channels, patch
        self.channels, self.strides, self.divisor = (width,), (patch,), patch
        self.n_layers = depth + 2
        self.embed = nn.Linear(math.prod(patch) * in_channels, width)
        self.blocks = nn.ModuleList([Block(width, heads, mlp_ratio) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        sincos_positions((1,) * ndim, width)  # a width that does not fit is refused here

    def forward(self, image: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        b = len(image)
        grid = tuple(n // p for n, p in zip(image.shape[2:], self.patch, strict=True))
        patches = self._patches(image, grid)
        positions = sincos_positions(grid, self.channels[0]).to(image.device, image.dtype)
        if visible is None:
            return [self._map(self._encode(self.embed(patches) + positions), grid)]
        keep = visible_indices(visible)
        patches = patches.gather(1, keep[..., None].expand(-1, -1, patches.shape[2]))
        tokens = self._encode(self.embed(patches) + positions[keep])
        out = tokens.new_zeros(b, math.prod(grid), tokens.shape[2])
        out = out.scatter(1, keep[..., None].expand_as(tokens), tokens)
        return [self._map(out, grid)]

    def layer_of(self, name: str) -> int:
        if name.startswith("blocks."):
            return 1 + int(name.split(".")[1])
        return 0 if name.startswith("embed") else self.n_layers - 1

    def _encode(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def _patches(self, image: Tensor, grid: tuple[int, ...]) -> Tensor:
        """(B, L, C * voxels), tokens row-major over the grid."""
        b, c = image.shape[:2]
        k = self.ndim
        split = [n for g, p in zip(grid, self.patch, strict=True) for n in (g, p)]
        x = image.reshape(b, c, *split)
        x = x.permute(0, *[2 + 2 * i for i in range(k)], 1, *[3 + 2 * i for i in range(k)])
        return x.reshape(b, math.prod(grid), -1)

    def _map(self, tokens: Tensor, grid: tuple[int, ...]) -> Tensor:
        return tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)


class Block(nn.Module):
    """Pre-norm attention and MLP on tokens (B, L, width)."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        hidden = int(width * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)
        x = x + self.project(attended)
        return x + self.mlp(self.norm2(x))


def visible_indices(visible: Tensor) -> Tensor:
    """Token numbers (B, n) that are visible. Raises ValueError if samples differ in how many."""
    flat = visible.flatten(1)
    counts = flat.sum(1)
    if (counts != counts[0]).any() or counts[0] == 0:
        raise ValueError(
            f"samples must show the same number of tokens, at least 1: {counts.tolist()}"
        )
    return flat.nonzero()[:, 1].view(len(flat), -1)


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
    places = torch.cartesian_prod(*[torch.arange(g, dtype=torch.float64) for g in grid])
    angles = places.view(-1, len(grid), 1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1).float()
