"""Values that weights were trained on, folded into a network's first layer.

A network that saw 0..1 answers to the same scan in -1..1 as before once its first layer is scaled and
shifted. That is exact where the layer cuts patches; one that pads its borders with 0 saw those as a value,
too, and is left alone.
"""

from collections.abc import Sequence

import torch
from torch import nn

from medssl.errors import UserError
from medssl.interop.ledger import FILLED, Ledger

FIRST = ("swinViT.patch_embed.proj", "embed", "net.patch_embed.proj")


def fold(
    backbone: nn.Module, ledger: Ledger, theirs: Sequence[float], ours: Sequence[float]
) -> None:  # fmt: skip
    """Change the first layer so that it takes values of `ours` for those of `theirs`, and say so.

    Raises UserError CONFIG where the first layer does not cut patches.
    """
    layers = [name for name in FIRST if _has(backbone, name)]
    if not layers:
        raise UserError(
            "CONFIG", f"range={','.join(map(str, theirs))}",
            "the first layer of this network pads with 0, so values cannot be folded into it",
            "leave range out, and fine-tune the whole network",
        )  # fmt: skip
    layer = backbone.get_submodule(layers[0])
    scale = (theirs[1] - theirs[0]) / (ours[1] - ours[0])
    shift = theirs[0] - scale * ours[0]
    with torch.no_grad():
        layer.bias += shift * layer.weight.flatten(1).sum(1)
        layer.weight *= scale
    words = f"values {theirs[0]:g}..{theirs[1]:g} folded to {ours[0]:g}..{ours[1]:g}"
    for row in ledger.rows:
        of_layer = row["weight"].rpartition(".")[0] == layers[0]
        if of_layer and row["status"] in FILLED:
            row["status"] = "adapted"
            row["how"] = "; ".join(filter(None, [row["how"], words]))


def _has(backbone: nn.Module, name: str) -> bool:
    layer = dict(backbone.named_modules()).get(name)
    return getattr(layer, "bias", None) is not None
