"""Rules by which a tensor of one shape becomes one of another, each with a name for the ledger.

A rule takes (what the file has, what is wanted) and gives the tensor and how, or None where it does not
apply. They are tried in order.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def adapt(name: str, given: Tensor, wanted: Tensor, context: dict) -> tuple[Tensor, str] | None:
    """The file's tensor in the shape that is wanted, and how it came to it; None: no rule does it.

    context  in_channels, ndim and, of a ViT, patch (sizes of its patch) and grid (of its positions)
    """
    for rule in RULES:
        found = rule(name, given, wanted, context)
        if found is not None and found[0].shape == wanted.shape:
            return found[0].contiguous(), found[1]
    return None


def _places(name, given, wanted, context):
    """Positions of patches, (1, L, C) with or without a class token, or (1, C, *grid)."""
    if not name.endswith(("positions", "pos_embed")):
        return None
    ours, ndim = wanted.ndim > 3, context["ndim"]
    size, own = (tuple(wanted.shape[2:]), 0) if ours else _grid(wanted.shape[1], ndim)
    old, extra = (tuple(given.shape[2:]), 0)
    head, maps = None, given
    if given.ndim == 3:
        old, extra = _grid(given.shape[1], ndim, size)
        if old is not None:
            head, maps = given[:, :extra], given[:, extra:].transpose(1, 2).unflatten(2, old)
    if old is None or size is None or (own and not extra):
        return None
    how = []
    if old != size:
        maps = interpolate(maps.float(), size, mode=MODES[ndim], align_corners=False)
        how.append(f"positions stretched from {_by(old)} to {_by(size)} patches")
    if extra and not own:
        how.append("that of the class token left out")
    if ours:
        return maps, "; ".join(how) or "positions laid on the grid"
    tokens = maps.flatten(2).transpose(1, 2)
    return torch.cat([head, tokens], 1) if own else tokens, "; ".join(how)


def _grid(n, ndim, like=None):
    """Sizes of a grid of n places, and whether one more is a class token's; None for no grid."""
    if like is not None and n - math.prod(like) in (0, 1):
        return tuple(like), n - math.prod(like)
    for extra in (0, 1):
        side = round((n - extra) ** (1 / ndim))
        if side**ndim == n - extra:
            return (side,) * ndim, extra
    return None, 0


def _patch(name, given, wanted, context):
    """A patch embedding, (C, inputs, *patch) or flat, as the linear layer over cut patches."""
    if name != "embed.weight" or "patch" not in context:
        return None
    patch, inputs = tuple(context["patch"]), context["in_channels"]
    if given.ndim == 2:
        return _perceptron(given, wanted, patch, inputs)
    how = []
    if given.ndim == len(patch) + 1 and len(patch) == 3:
        given = given[..., None].expand(*given.shape, patch[-1]) / patch[-1]
        how.append(f"2D kernels spread over a depth of {patch[-1]}")
    if given.ndim != len(patch) + 2:
        return None
    if given.shape[1] != inputs:
        given, words = _fewer_or_more(given, inputs)
        how.append(words)
    old = tuple(given.shape[2:])
    if old != patch:
        # As many voxels more as a patch has, so much less is each worth.
        scale = math.prod(old) / math.prod(patch)
        given = interpolate(given.float(), patch, mode=MODES[len(patch)], align_corners=False)
        given = given * scale
        how.append(f"patches of {_by(old)} stretched to {_by(patch)}")
    return given.flatten(1), "; ".join(how) or "a strided convolution, as a linear layer"


def _perceptron(given, wanted, patch, inputs):
    """MONAI's `perceptron`: channels run fastest within a patch there, slowest here."""
    if given.shape != wanted.shape:
        return None
    if inputs == 1:
        return given, "as it was"
    return given.unflatten(1, (*patch, inputs)).movedim(-1, 1).flatten(1), "channels put first"


def _depth(name, given, wanted, context):
    """A 2D kernel as a 3D one, that answers to a volume of equal slices as before to one of them."""
    if given.ndim != 4 or wanted.ndim != 5 or given.shape[0] != wanted.shape[0]:
        return None
    depth, how = wanted.shape[-1], []
    if given.shape[1] != wanted.shape[1]:
        if wanted.shape[1] != context["in_channels"]:
            return None
        given, words = _fewer_or_more(given, wanted.shape[1])
        how = [words]
    # The last axis is the new one: RAS volumes have their slices along it.
    spread = given[..., None].expand(*given.shape, depth) / depth
    return spread, "; ".join([f"2D kernels spread over a depth of {depth}", *how])


def _channels(name, given, wanted, context):
    """Of the first convolution: another number of input channels."""
    if given.ndim != wanted.ndim or given.ndim < 4 or given.shape[0] != wanted.shape[0]:
        return None
    same = given.shape[2:] == wanted.shape[2:]
    if not same or given.shape[1] == wanted.shape[1] or wanted.shape[1] != context["in_channels"]:
        return None
    return _fewer_or_more(given, wanted.shape[1])


def _fewer_or_more(given: Tensor, inputs: int) -> tuple[Tensor, str]:
    before = given.shape[1]
    if inputs == 1:
        return given.sum(1, keepdim=True), f"{before} input channels summed to 1"
    repeated = given.mean(1, keepdim=True).expand(-1, inputs, *given.shape[2:]) * before / inputs
    return repeated, f"{before} input channels averaged, spread over {inputs}"


def _kernel(name, given, wanted, context):
    """A kernel of another extent: what is beyond is cut off, what is lacking is 0."""
    if given.ndim != wanted.ndim or given.ndim < 4 or given.shape[:2] != wanted.shape[:2]:
        return None
    old, new = tuple(given.shape[2:]), tuple(wanted.shape[2:])
    if any((a - b) % 2 for a, b in zip(old, new, strict=True)):
        return None
    made = torch.zeros(wanted.shape, dtype=given.dtype)
    inner, outer = [slice(None)] * 2, [slice(None)] * 2
    for a, b in zip(old, new, strict=True):
        cut, pad = max(a - b, 0) // 2, max(b - a, 0) // 2
        inner.append(slice(cut, a - cut))
        outer.append(slice(pad, b - pad))
    made[tuple(outer)] = given[tuple(inner)]
    done = "cut" if math.prod(new) < math.prod(old) else "padded"
    return made, f"kernels of {_by(old)} {done} to {_by(new)}"


def _window(name, given, wanted, context):
    """A Swin's table of relative positions, of another window."""
    if not name.endswith("relative_position_bias_table") or given.shape[1:] != wanted.shape[1:]:
        return None
    ndim = context["ndim"]
    sides = [round(t.shape[0] ** (1 / ndim)) for t in (given, wanted)]
    if any(s**ndim != t.shape[0] for s, t in zip(sides, (given, wanted), strict=True)):
        return None
    maps = given.float().T.unflatten(1, (sides[0],) * ndim)[None]
    made = interpolate(maps, (sides[1],) * ndim, mode=MODES[ndim], align_corners=True)
    old, new = ((s + 1) // 2 for s in sides)
    return made[0].flatten(1).T, f"windows of {old} stretched to {new} tokens"


def _same_numbers(name, given, wanted, context):
    """A 1 x 1 convolution and a linear layer are the same numbers."""
    if sorted(n for n in given.shape if n > 1) != sorted(n for n in wanted.shape if n > 1):
        return None
    if [n for n in given.shape if n > 1] != [n for n in wanted.shape if n > 1]:
        return None
    return given.reshape(wanted.shape), "axes of length 1 added or left out"


def _by(sizes) -> str:
    return "x".join(map(str, sizes))


RULES = (_places, _patch, _depth, _channels, _kernel, _window, _same_numbers)
