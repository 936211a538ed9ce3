"""An exponential moving average of the weights, in whose place it is validated and kept."""

import torch
from torch import nn


class Average:
    """An exponential moving average of the trained weights, with a warm-up of its decay."""

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.tensors = {
            k: v.detach().clone() for k, v in module.named_parameters() if v.requires_grad
        }
        self.tensors["count"] = torch.zeros(())

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.tensors["count"] += 1
        n = float(self.tensors["count"])
        decay = min(self.decay, (1 + n) / (10 + n))
        for name, value in module.named_parameters():
            if name in self.tensors:
                self.tensors[name].lerp_(value.detach().to(self.tensors[name].device), 1 - decay)

    def swap(self, module: nn.Module) -> None:
        """Exchange the averaged and the trained weights."""
        for name, value in module.named_parameters():
            if name in self.tensors:
                kept = value.detach().clone()
                value.data.copy_(self.tensors[name])
                self.tensors[name] = kept


class evaluating:
    """Evaluation mode, with the averaged weights in place, for the length of a block."""

    def __init__(self, module: nn.Module, average: Average | None):
        self.module, self.average = module, average

    def __enter__(self) -> None:
        self.module.eval()
        if self.average:
            self.average.swap(self.module)

    def __exit__(self, *_) -> None:
        if self.average:
            self.average.swap(self.module)
        self.module.train()
