"""Any timm network that gives its inner levels, in 2D, with one or more channels."""

import difflib
from pathlib import Path
from typing import Annotated

import timm
from timm.models import adapt_input_conv, group_parameters, load_state_dict
from torch import Tensor, nn

from medssl.backbones import sparse_timm
from medssl.backbones.base import check_size, hide
from medssl.backbones.cells import cells_of
from medssl.errors import UserError, one_line

FINEST = 4


class TimmBackbone(nn.Module):
    """Levels as timm declares them; `net` keeps timm's own names of the parameters.

    Without `out_indices`, the deepest level of each stride from 4 on: four of a ResNet, ConvNeXt or
    Swin; one of a plain transformer, which then passes its last norm. Images of any multiple of
    `divisor` are taken.
    """

    def __init__(
        self, in_channels: int, *,
        model: Annotated[str, "timm's name of the network"] = "resnet18",
        pretrained_weights: Annotated[str, "local file of timm's weights; never downloaded"] = "",
        out_indices: Annotated[list[int] | None, "levels to give, as timm counts them"] = None,
    ):  # fmt: skip
        super().__init__()
        self.ndim, self.in_channels = 2, in_channels
        self.net = _create(model, in_channels)
        if pretrained_weights:
            load_timm_weights(self.net, Path(pretrained_weights))
        declared = list(getattr(self.net.feature_info, "info", self.net.feature_info))
        strides = [level["reduction"] for level in declared]
        levels = _deepest(strides) if out_indices is None else sorted(set(out_indices))
        if not levels or levels[0] < 0 or levels[-1] >= len(strides):
            raise UserError(
                "CONFIG", "backbone.out_indices", f"found {out_indices}, the strides are {strides}",
                f"choose from 0 to {len(strides) - 1}",
            )  # fmt: skip
        # In a pyramid the last norm fits the last level at most, and may be a wide convolution.
        self.plain = len(set(strides)) == 1
        self.net.prune_intermediate_layers(levels, prune_norm=not self.plain)
        self.levels, self.sparse = levels, sparse_timm.is_sparse(self.net)
        self.channels = tuple(declared[i]["num_chs"] for i in levels)
        self.strides = tuple((strides[i],) * 2 for i in levels)
        self.divisor = self.strides[-1]
        matcher = self.net.group_matcher(coarse=False)
        self._layers = group_parameters(self.net, matcher, reverse=True)
        self.n_layers = max(self._layers.values()) + 1

    def forward(self, image: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        """Maps (B, channels[i], H / stride, W / stride) of an image (B, C, H, W).

        ResNets and ConvNeXts compute visible cells only, and give exactly 0 elsewhere, if cells are
        multiples of `divisor`. Otherwise, and in all other networks, hidden pixels are seen as 0; to
        drop a transformer's hidden patches, use `vit`.
        """
        check_size(image, self.divisor)
        cells = cells_of(image, visible, self.divisor) if self.sparse else None
        if cells:
            stacks = sparse_timm.levels(self.net, self.levels, cells.take(image), cells)
            return [cells.put(x) for x in stacks]
        return self.net.forward_intermediates(
            hide(image, visible), indices=self.levels, norm=self.plain, stop_early=True,
            intermediates_only=True,
        )  # fmt: skip

    def recompute_activations(self) -> None:
        """By timm's own way. Raises UserError where there is none."""
        if not hasattr(self.net, "set_grad_checkpointing"):
            raise UserError(
                "CONFIG", "fit.checkpointing", "this network of timm has no way to do so",
                "leave it out, or use a ConvNeXt, ViT or Swin",
            )  # fmt: skip
        self.net.set_grad_checkpointing()

    def layer_of(self, parameter: str) -> int:
        """By timm's own grouping for layer-wise rates: the stem, then every block."""
        return self._layers[parameter.removeprefix("net.")]


def _create(model: str, in_channels: int) -> nn.Module:
    """Raises UserError for an unknown network, one of fixed image size, or one without levels."""
    if "/" in model or not timm.is_model(model):  # a name with a slash would be looked up online
        near = difflib.get_close_matches(model, timm.list_models(), 3, 0.5)
        hint = f", did you mean {' or '.join(near)}" if near else ""
        raise UserError(
            "CONFIG", f"backbone.model={model}", f"timm {timm.__version__} does not know it{hint}",
            "timm.list_models() names all",
        )  # fmt: skip
    described = timm.get_pretrained_cfg(model)
    any_size = {"dynamic_img_size": True} if described and described.fixed_input_size else {}
    try:
        net = timm.create_model(model, in_chans=in_channels, num_classes=0, **any_size)
    except TypeError as error:
        if "dynamic_img_size" not in str(error):
            raise
        raise _unsuitable(model, "takes images of one size only") from error
    if not hasattr(net, "forward_intermediates") or not hasattr(net, "prune_intermediate_layers"):
        raise _unsuitable(model, "does not give its inner levels")
    return net


def _unsuitable(model: str, cause: str) -> UserError:
    return UserError(
        "CONFIG", f"backbone.model={model}", f"in timm {timm.__version__} it {cause}",
        "use a ResNet, ConvNeXt, EfficientNet, ViT or Swin",
    )  # fmt: skip


def _deepest(strides: list[int]) -> list[int]:
    """The deepest level of each stride; those finer than 4 cost most and see least."""
    return list({stride: i for i, stride in enumerate(strides) if stride >= FINEST}.values())


def load_timm_weights(net: nn.Module, path: Path) -> None:
    """Load a whole network's weights, but for its classifier; the stem is fitted to the channels.

    Raises UserError unless every weight of the network is in the file, and no other.
    """
    try:
        state = load_state_dict(str(path), weights_only=True)
    except Exception as error:  # every format fails in its own way; all mean it cannot be read
        raise UserError(
            "WEIGHTS", path,
            f"not readable as weights ({type(error).__name__}: {one_line(error, 120)})",
            "give a .safetensors file, or a .pth of tensors only",
        ) from error  # fmt: skip
    for name in _names(net.pretrained_cfg.get("classifier")):
        state.pop(f"{name}.weight", None)
        state.pop(f"{name}.bias", None)
    wanted = net.state_dict()
    for name in _names(net.pretrained_cfg.get("first_conv")):
        key = f"{name}.weight"
        if key in state and key in wanted and state[key].shape[1] == 3 != wanted[key].shape[1]:
            state[key] = adapt_input_conv(wanted[key].shape[1], state[key])
    missing, extra = sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted))
    other = [k for k in wanted if k in state and wanted[k].shape != state[k].shape]
    if missing or extra or other:
        fit = len(wanted) - len(missing) - len(other)
        raise UserError(
            "WEIGHTS", path,
            f"{fit} of {len(wanted)} weights fit; {len(missing)} are missing, {len(extra)} not "
            f"expected, {len(other)} of another shape: {', '.join((missing + extra + other)[:4])}",
            "give the file of this very network, with timm's own names",
        )  # fmt: skip
    net.load_state_dict(state)


def _names(declared: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (declared,) if isinstance(declared, str) else tuple(declared or ())
