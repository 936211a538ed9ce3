"""A SparK step on visible cells alone against the published way, dense maps times the mask.

Both have the same weights, mask and decoder. The dense way is timed in both memory layouts, and the
better one counts. Ratios are of medians of interleaved steps, as the machine may be shared.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from medssl.backbones.base import build
from medssl.methods.spark import SparK
from tests.backbones.dense_emulation import DenseEmulation

ROUNDS = 5
# backbone, options, size, options of the method, batch, at least so many times as fast
CASES = {
    "ConvNeXt-T 224": ("timm", {"model": "convnext_tiny"}, [224, 224], {}, 8, 1.6),
    "ResNet-50 224": ("timm", {"model": "resnet50"}, [224, 224], {}, 8, 1.0),
    "res_unet 96^3": ("res_unet", {}, [96] * 3, {"cell": 8, "decoder_width": 64}, 2, 1.0),
    "res_unet 32-256 96^3": (
        "res_unet", {"channels": [32, 64, 128, 256]}, [96] * 3, {"decoder_width": 64}, 2, 1.0,
    ),
}  # fmt: skip
LAYOUTS = {2: torch.channels_last, 3: torch.channels_last_3d}


def make(case, way):
    """The method and a batch; way: visible, dense, or dense in channels-last memory."""
    name, options, size, rest, n, _ = CASES[case]
    torch.manual_seed(0)
    backbone = build(name, in_channels=1, **options)
    method = SparK(backbone, lambda image, seeds: image, size=size, **rest)
    image = torch.randn(n, 1, *size)
    if way != "visible":
        method.backbone = DenseEmulation(backbone)
    if way == "dense, channels last":
        image = image.to(memory_format=LAYOUTS[len(size)])
        method.backbone = method.backbone.to(memory_format=LAYOUTS[len(size)])
    return method.train(), {"image": image, "seed": torch.arange(n)}


def step(method, batch, decoder=True):
    """Seconds of a step, forward and backward, and its loss; without decoder, the encoder's alone."""
    method.zero_grad()
    began = time.perf_counter()
    if decoder:
        loss = method.training_step(batch, 0).loss
    else:
        image, mask = method._draw(batch)
        loss = sum(level.square().mean() for level in method.backbone(image, visible=~mask))
    loss.backward()
    return time.perf_counter() - began, float(loss.detach())


def held(method, batch):
    """MB that a forward pass keeps for the backward one, weights left out."""
    own = {p.untyped_storage().data_ptr() for p in method.parameters()}
    found = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = (
                storage.nbytes(),
                tensor,
            )  # kept, so that no address is reused
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        method.training_step(batch, 0)
    return sum(n for n, _ in found.values()) / 2**20


def memory(case, way):
    """Prints by how many MB the largest memory grows in a step, to be run in a process of its own."""
    torch.set_num_threads(2)
    method, batch = make(case, way)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _peak()
    step(method, batch)
    print((_peak() - before) / 1024)


def _peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def grown(case, way):
    """MB by which the largest memory grows in a step; of three processes, which differ by a percent."""
    code = f"from tests.benchmarks.test_bench_spark import memory; memory({case!r}, {way!r})"
    root = Path(__file__).parents[2]
    run = [sys.executable, "-c", code]
    found = [
        subprocess.run(run, cwd=root, capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    ]
    return statistics.median(float(text.split()[-1]) for text in found)


@pytest.mark.parametrize("case", CASES)
def test_spark(case):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    ways = {way: make(case, way) for way in ("visible", "dense", "dense, channels last")}
    losses = {way: step(*made)[1] for way, made in ways.items()}
    warm = {way: step(*made)[0] for way, made in ways.items()}
    better = min(("dense", "dense, channels last"), key=warm.get)
    times = {way: ([], []) for way in ("visible", better)}
    for _ in range(ROUNDS):
        for way, both in times.items():
            both[0].append(step(*ways[way])[0])
            both[1].append(step(*ways[way], decoder=False)[0])
    torch.set_num_threads(threads)
    middle = {way: [sorted(t)[ROUNDS // 2] for t in both] for way, both in times.items()}
    ours = middle["visible"]
    whole, encoder = (middle[better][i] / ours[i] for i in (0, 1))
    used = {way: grown(case, way) for way in ways}
    dense = min(mb for way, mb in used.items() if way != "visible")
    kept = {way: held(*made) for way, made in ways.items()}
    fewest = min(mb for way, mb in kept.items() if way != "visible")
    print(
        f"\n{case}: a step takes {ours[0]:.2f} s, {whole:.2f} times as fast as dense maps (encoder "
        f"alone {encoder:.2f}); {kept['visible']:.0f} MB kept for the backward pass against "
        f"{fewest:.0f}, largest memory grows by {used['visible']:.0f} MB against {dense:.0f}"
    )
    for way in losses:
        assert losses[way] == pytest.approx(losses["visible"], rel=1e-4)
    assert whole >= CASES[case][-1] and kept["visible"] < fewest
    assert used["visible"] < 1.05 * dense  # of a volume, the decoder's share is the larger
