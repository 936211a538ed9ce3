"""A plain ViT by the names of another library: patches by a convolution, positions of one grid."""

from collections.abc import Iterable

from torch import Tensor

from medssl.interop.model import Model


def grid_of(model: Model) -> tuple[int, ...]:
    """Patches along each axis of the image that positions are laid out for."""
    return tuple(n // p for n, p in zip(model.size, model.backbone.patch, strict=True))


def renamed(
    model: Model, pairs: Iterable[tuple[str, str]], patches: str, positions: str
) -> dict[str, Tensor]:  # fmt: skip
    """The weights of a ViT of ours.

    pairs      parts of names, ours and theirs
    patches    their name of the convolution that embeds patches
    positions  their name of the positions, (1, L, width)
    """
    net, state = model.backbone, {}
    for key, value in net.state_dict().items():
        for ours, theirs in pairs:
            key = key.replace(ours, theirs)
        state[key] = value
    state.pop("places.positions", None)
    state[f"{patches}.weight"] = state.pop("embed.weight").unflatten(
        1, (net.in_channels, *net.patch)
    )
    state[f"{patches}.bias"] = state.pop("embed.bias")
    state[positions] = net.positions(grid_of(model))[None]
    return state
