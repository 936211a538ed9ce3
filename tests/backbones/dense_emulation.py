"""Sparse convolution as it is published: dense layers, and the mask multiplied in again and again.

Written apart from the package, from the description alone: after every convolution and pooling the
map is multiplied with the mask at its size; norms gather the visible places, and their output is put
back among zeros. The network's own forward pass is used as it is, on a deep copy.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F


class DenseEmulation(nn.Module):
    """`DenseEmulation(backbone)(image, visible)`: the levels that the published code would give."""

    def __init__(self, backbone: nn.Module, leak: bool = False):
        super().__init__()
        self.backbone, self.leak, self.visible = copy.deepcopy(backbone), leak, None
        for name in ("in_channels", "ndim", "channels", "strides", "divisor", "n_layers"):
            setattr(self, name, getattr(backbone, name))
        self.sparse = True
        for module in self.backbone.modules():
            self._change(module)

    def forward(self, image, visible):
        self.visible = visible.to(image.dtype)
        if not self.leak:  # a published fault: only outputs are masked, and the stem sees all
            image = torch.where(self._mask(image) > 0, image, torch.zeros_like(image))
        return self.backbone(image)

    def _mask(self, x, last=False):
        """(B, 1, *size), or (B, *size, 1) for channels last, at the size of x."""
        size = x.shape[1:-1] if last else x.shape[2:]
        mask = F.interpolate(self.visible, size, mode="nearest")
        return mask.movedim(1, -1) if last else mask

    def _change(self, module):
        name = type(module).__name__
        if name in ("Conv2d", "Conv3d", "MaxPool2d", "AvgPool2d"):
            module.register_forward_hook(lambda m, given, out: out * self._mask(out))
        elif name in ("Mlp", "GlobalResponseNormMlp"):
            last = isinstance(module.fc1, nn.Linear)
            module.register_forward_hook(lambda m, given, out: out * self._mask(out, last))
        elif name == "GlobalResponseNorm":
            last = module.channel_dim == -1
            module.register_forward_pre_hook(lambda m, given: given[0] * self._mask(given[0], last))
        elif name == "BatchNorm2d":
            plain = _borrow(nn.BatchNorm1d(module.num_features), module)
            self._around(module, plain, last=False)
        elif name in ("LayerNorm2d", "LayerNorm"):
            plain = _borrow(nn.LayerNorm(module.normalized_shape), module)
            self._around(module, plain, last=name == "LayerNorm")
        elif name.startswith("InstanceNorm"):
            module.forward = lambda x: self._instance_norm(module, x)

    def _around(self, module, plain, last):
        """The norm of gathered places, (M, C), scattered into zeros."""

        def forward(x):
            x = x if last else x.movedim(1, -1)
            seen = self._mask(x, True)[..., 0] > 0
            plain.train(module.training)
            out = torch.zeros_like(x)
            out[seen] = plain(x[seen])
            return out if last else out.movedim(-1, 1)

        module.forward = forward

    def _instance_norm(self, module, x):
        seen, out = self._mask(x)[:, 0] > 0, torch.zeros_like(x)
        for b in range(len(x)):
            places = x[b][:, seen[b]][None]
            normed = F.instance_norm(places, weight=module.weight, bias=module.bias, eps=module.eps)
            out[b, :, seen[b]] = normed[0]
        return out


def _borrow(plain, module):
    """A norm of another dimension that shares parameters and running statistics."""
    for name in ("weight", "bias"):
        setattr(plain, name, getattr(module, name))
    for name, buffer in module.named_buffers():
        plain.register_buffer(name, buffer)
    plain.eps, plain.momentum = module.eps, getattr(module, "momentum", None)
    return plain
