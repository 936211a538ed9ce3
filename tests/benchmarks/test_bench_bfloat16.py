"""A step of the small volume network in bf16-mixed against one in 32-true, on a CPU that has bfloat16.

One of the one is timed, then one of the other. Without such arithmetic there is nothing to gain: skipped.
"""

import time
from statistics import median

import pytest
import torch

from medssl.backbones.base import build
from medssl.training.speed import has_bfloat16

STEPS, WARM = 15, 3


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16 arithmetic")
def test_bfloat16_is_faster_where_the_cpu_has_it():
    torch.set_num_threads(1)
    net = build("res_unet", in_channels=1, ndim=3)
    image, spent = torch.randn(2, 1, 40, 56, 48), {True: [], False: []}
    for _ in range(STEPS):
        for mixed, times in spent.items():
            began = time.process_time()
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                levels = net(image)
            sum(level.float().square().mean() for level in levels).backward()
            net.zero_grad()
            times.append(time.process_time() - began)
    ratio = median(a / b for a, b in zip(spent[True][WARM:], spent[False][WARM:], strict=True))
    print(f"\na step in bf16-mixed takes {ratio:.2f} times the processor time of one in 32-true")
    assert ratio < 1
