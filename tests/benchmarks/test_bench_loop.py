"""Steps per second of the training loop against a plain PyTorch loop, same model, data in memory.

A step of the one is timed, then a step of the other, so that what else the machine does is the same for both.
"""

import time
from statistics import median

import torch
from torch import nn

from medssl.trainable import StepOutput
from medssl.training.loop import Fit, fit
from medssl.training.optim import Optim

STEPS, WARM = 80, 10


class Net(nn.Module):
    """A few volume convolutions, about 30 ms a step."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv3d(1, 12, 3), nn.ReLU(), nn.Conv3d(12, 12, 3), nn.ReLU()
        )
        self.backbone.n_layers, self.backbone.layer_of = 1, lambda name: 0

    def training_step(self, batch, step):
        return StepOutput(self.backbone(batch["image"]).square().mean())

    def after_step(self, step):
        pass


class Plain:
    """What one would write without a loop of ours."""

    def __init__(self):
        self.net = Net()
        self.optimizer = torch.optim.AdamW(self.net.parameters(), 1e-3)

    def step(self, batch, step):
        loss = self.net.training_step(batch, step).loss
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        float(loss.detach())


def test_steps_per_second_are_those_of_a_plain_loop_within_5_per_cent(tmp_path):
    torch.set_num_threads(1)
    batch = {"image": torch.randn(2, 1, 32, 32, 32)}
    plain, spent = Plain(), {"wall": ([], []), "processor": ([], [])}
    clocks = {"wall": time.perf_counter, "processor": time.process_time}

    def batches(first, last):
        """Called for a batch, the loop has ended a step: one of the plain loop comes before the next."""
        began = None
        for step in range(first, last):
            now = {name: clock() for name, clock in clocks.items()}
            if began:
                for name in clocks:
                    spent[name][0].append(now[name] - began[name])
            plain.step(batch, step)
            began = {name: clock() for name, clock in clocks.items()}
            if step:
                for name in clocks:
                    spent[name][1].append(began[name] - now[name])
            yield batch

    settings = Fit(steps=STEPS, batch_size=2, every=STEPS, threads=1, device="cpu")
    for _ in fit(Net(), batches, settings, Optim(), tmp_path):
        pass
    ratios = {}
    for name, (ours, theirs) in spent.items():
        ratios[name] = median(a / b for a, b in zip(ours[WARM:], theirs[WARM:], strict=True))
    rate = 1 / median(spent["wall"][0][WARM:])
    print(
        f"\nthe loop makes {rate:.1f} steps a second, and takes {ratios['wall']:.3f} times a plain one's "
        f"time, {ratios['processor']:.3f} times its processor time"
    )
    assert ratios["processor"] < 1.05
