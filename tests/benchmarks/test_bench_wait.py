"""How long a training step waits for its data: a 3D U-Net on crops of 96^3, eight a batch."""

import time

import pytest
import torch

from medssl.augment.compose import Augment
from medssl.backbones.base import build
from medssl.data.crops import Crops, batches
from medssl.tasks.segmentation import Segmentation
from medssl.training.loop import to_channels_last
from tests.data.test_store import make

BATCH, EDGE = 8, 96
RANGE = (-5.0, 5.0)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_wait(device, tmp_path):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    steps, workers = (4, 0) if device == "cpu" else (40, 8)
    torch.set_num_threads(2)
    store = make(tmp_path, [(160, 160, 128)] * 4)
    backbone = build("res_unet", in_channels=1)
    task = Segmentation(backbone, Augment(), {1: "bright"}, RANGE, size=[EDGE] * 3)
    task = to_channels_last(task, 3).to(device)
    optimizer = torch.optim.AdamW(task.parameters(), 1e-3)
    crops = Crops(store, list(store.items.index), task.crops, seed=0)
    stream = batches(crops, BATCH, 0, steps + 1, workers)
    waited = computed = 0.0
    for step in range(steps + 1):
        began = time.perf_counter()
        batch = {name: value.to(device) for name, value in next(stream).items()}
        middle = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = task.training_step(batch, step).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        float(loss.detach())  # waits for the device
        if step:  # the first starts the workers, and warms up
            waited += middle - began
            computed += time.perf_counter() - middle
    share = waited / (waited + computed)
    print(f"\n{device}: {computed / steps:.2f} s a step, {share:.1%} of the time waiting for data")
    assert share < 0.05
