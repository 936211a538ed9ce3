"""Whether a network takes what it is to be given."""

from collections.abc import Sequence

import numpy as np
import torch

from medssl.data.store import Store
from medssl.describe import plain
from medssl.errors import UserError

LARGEST = {2: 256, 3: 96}  # side of a size that is proposed, voxels


def check_axes(size: Sequence[int], backbone: torch.nn.Module, store: Store) -> None:
    """Raise UserError CONFIG for a size of other axes than the network's, with one that would do."""
    d = backbone.ndim
    if not size or len(size) == d:
        return
    if store.ndim < d:
        cause = f"has {d} axes, the scans are films"
        raise UserError("CONFIG", "arch", cause, "take a network of two axes, such as arch=timm")
    usual = np.median([store.shape(i)[:d] for i in store.items.index], axis=0)
    fitting = _multiples(usual * min(1, LARGEST[d] / usual.max()), backbone)
    raise UserError(
        "CONFIG", "task.size", f"has {len(size)} values, the backbone has {d} axes",
        f"give {d}, multiples of {plain(list(backbone.divisor))}: for these scans such as "
        f"task.size={plain(fitting)}",
    )  # fmt: skip


def check_multiples(task, backbone: torch.nn.Module) -> None:
    """Whole scans are fitted into `task.size`; what is cut out of them is padded where it must be."""
    if task.learns == "answers" and any(
        n % d for n, d in zip(task.size, backbone.divisor, strict=True)
    ):
        raise UserError(
            "CONFIG", "task.size",
            f"found {plain(list(task.size))}, the network takes multiples of {plain(list(backbone.divisor))}",
            f"use {plain(_multiples(task.size, backbone))}",
        )  # fmt: skip


def _multiples(size: Sequence[float], backbone: torch.nn.Module) -> list[int]:
    """The nearest size that the network takes."""
    return [max(1, round(n / d)) * d for n, d in zip(size, backbone.divisor, strict=True)]


def check_fits(image: np.ndarray, backbone: torch.nn.Module, name: str) -> None:
    """Raise UserError if a prepared item (C, *space) is not what the network takes."""
    channels, axes = len(image), image.ndim - 1
    if axes < backbone.ndim or channels != backbone.in_channels:
        raise UserError(
            "SHAPE", name,
            f"a scan of {axes} axes and {channels} channels, the model takes {backbone.ndim} "
            f"axes and {backbone.in_channels} channels",
            "use a model that was trained on such scans",
        )  # fmt: skip
