"""What travels: a backbone with all that another library needs to know of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from medssl.errors import UserError


@dataclass
class Model:
    """A backbone ready to be passed on.

    name, options  as the table of backbones has them
    size           of an image that it is tried with, and that fixed positions are laid out for
    card, about    how it was made, as a mapping and in Markdown
    """

    backbone: nn.Module
    name: str
    options: dict[str, Any]
    size: tuple[int, ...]
    card: dict[str, Any] = field(default_factory=dict)
    about: str = ""


def fitting_size(backbone: nn.Module, size: Sequence[int] = ()) -> tuple[int, ...]:
    """`size` if the network takes it, or the smallest that it surely does. Raises UserError CONFIG."""
    least = tuple(max(2 * d, 16 // d * d, d) for d in backbone.divisor)
    if not size:
        return least
    if len(size) != backbone.ndim or any(
        s % d or s < d for s, d in zip(size, backbone.divisor, strict=True)
    ):
        raise UserError(
            "CONFIG", f"size={','.join(map(str, size))}",
            f"the network takes multiples of {', '.join(map(str, backbone.divisor))}",
            f"e.g. size={','.join(map(str, least))}",
        )  # fmt: skip
    return tuple(size)
