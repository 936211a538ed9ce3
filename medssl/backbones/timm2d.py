"""Any timm feature model in 2D, with one or more channels."""

from pathlib import Path
from typing import Annotated

import timm
from torch import Tensor, nn

from medssl.backbones.base import hide
from medssl.errors import UserError


class TimmBackbone(nn.Module):
    """timm's `features_only` form; channels and strides as timm declares them."""

    def __init__(
        self, in_channels: int, *,
        model: Annotated[str, "a name of timm"] = "resnet18",
        weights: Annotated[str, "local safetensors file of timm weights; never downloaded"] = "",
        image_size: Annotated[list[int] | None, "for models that fix it (ViT, Swin)"] = None,
    ):  # fmt: skip
        super().__init__()
        options = {"img_size": tuple(image_size)} if image_size else {}
        if weights:
            if not Path(weights).is_file():
                raise UserError(
                    "CONFIG", "backbone.weights", f"there is no file {weights}", "give a local file"
                )
            options["pretrained_cfg_overlay"] = {"file": weights}
        try:
            self.net = timm.create_model(
                model, pretrained=bool(weights), features_only=True, in_chans=in_channels, **options
            )
        except RuntimeError as error:
            near = timm.list_models(f"*{model[:6]}*")[:5]
            raise UserError(
                "CONFIG", f"backbone.model={model}", f"timm cannot build it ({error})",
                f"choose another, e.g. {', '.join(near)}" if near else "see timm.list_models()",
            ) from error  # fmt: skip
        info = self.net.feature_info
        self.ndim, self.in_channels = 2, in_channels
        self.channels = tuple(info.channels())
        self.strides = tuple((r, r) for r in info.reduction())
        self.divisor = self.strides[-1]
        names = [name.split(".")[:2] for name, _ in self.net.named_parameters()]
        self._layers = {tuple(n): i for i, n in enumerate(dict.fromkeys(map(tuple, names)))}
        self.n_layers = len(self._layers)

    def forward(self, image: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        levels = self.net(hide(image, visible))
        channels = self.channels
        return [
            x if x.shape[1] == c else x.permute(0, 3, 1, 2).contiguous()  # Swin: channels last
            for x, c in zip(levels, channels, strict=True)
        ]

    def layer_of(self, name: str) -> int:
        return self._layers[tuple(name.split(".")[1:3])]
