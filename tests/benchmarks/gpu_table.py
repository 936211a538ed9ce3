"""What pretraining makes of a GPU, at the sizes it is meant for, and beside others' networks.

python -m tests.benchmarks.gpu_table [OUT] [--small]

For each preset, on a store of random volumes: samples a second in our own loop, the share of a step that
waits for data, the largest memory, the share of time in which the GPU computes, and the share of the
roofline: what all operations would take at the measured peak of bfloat16 products, or of memory traffic,
whichever is slower, over what a step takes. Then steps of ours beside steps of MONAI's masked autoencoder,
and of SparK as it is published, dense maps times the mask; same batch, in memory, same precision. MONAI's
network does not run in bfloat16: there both compute in TF32.

--small tries the same on a CPU, with tiny networks, in a minute. OUT gets table.json.
"""

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from medssl import command_line, stopwatch
from medssl.augment.compose import augmenter
from medssl.backbones.base import BACKBONES
from medssl.config import checked_parts
from medssl.data.crops import Crops, batches
from medssl.methods.base import METHODS
from medssl.stages import pretrain
from medssl.training import optim, speed
from medssl.training.loop import fit, to_channels_last
from medssl.training.start import backbone_of
from tests.backbones.dense_emulation import DenseEmulation
from tests.benchmarks import test_bench_mae
from tests.data.test_store import make

SMALL = "--small" in sys.argv
DEVICE = torch.device("cpu" if SMALL else "cuda")
STEPS, WARM, ROUNDS = (6, 2, 3) if SMALL else (60, 10, 30)
WORKERS = 0 if SMALL else 12
# preset, samples a batch
CASES = (
    {"voco_small": 2, "spark_small": 2, "conv_mae_small": 2, "global_contrast_small": 2,
     "local_contrast_small": 2, "simclr_2d_small": 4}
    if SMALL else
    {"voco": 8, "spark": 8, "mae": 32, "global_contrast": 8, "local_contrast": 8,
     "spark_2d": 256, "mae_2d": 256, "simclr_2d": 256}
)  # fmt: skip
VOLUMES = [(64, 72, 64)] * 2 if SMALL else [(256, 256, 128)] * 16


@dataclass(frozen=True)
class Peaks:
    """Of this device: floating-point operations a second in bfloat16, bytes a second."""

    products: float
    traffic: float


class Work(TorchDispatchMode):
    """The least seconds that the operations in the block take, and their floating-point operations."""

    def __init__(self, peaks: Peaks):
        super().__init__()
        self.peaks, self.seconds, self.flops = peaks, 0.0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given = {t.untyped_storage().data_ptr(): t for t in _tensors((args, kwargs))}
        made = {t.untyped_storage().data_ptr(): t for t in _tensors(out)}
        if func._schema.is_mutable or not made.keys() <= given.keys():  # no view of what there was
            count = flop_registry.get(func._overloadpacket)
            flops = count(*args, **(kwargs or {}), out_val=out) if count else 0
            moved = sum(t.nbytes for t in [*given.values(), *made.values()])
            self.flops += flops
            self.seconds += max(flops / self.peaks.products, moved / self.peaks.traffic)
        return out


def main(out: Path | None) -> None:
    torch.manual_seed(0)
    speed.allow_tf32(True)
    peaks = measured_peaks()
    name = "CPU" if SMALL else torch.cuda.get_device_name()
    print(
        f"{name}: {peaks.products / 1e12:.2f} TFLOP/s in bfloat16, {peaks.traffic / 1e9:.0f} GB/s"
    )
    told = {"device": name, "peaks": vars(peaks), "presets": {}, "peers": {}}
    with tempfile.TemporaryDirectory() as folder:
        store = make(Path(folder) / "store", VOLUMES)
        for preset, n in CASES.items():
            row = told["presets"][preset] = trained(preset, n, store, Path(folder) / preset, peaks)
            print(
                f"{preset:22}", *(f"{key} {value:.4g};" for key, value in row.items()), flush=True
            )
    for name, pair in peers().items():
        row = told["peers"][name] = beside(*pair)
        print(f"{name:22}", *(f"{key} {value:.4g};" for key, value in row.items()), flush=True)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "table.json").write_text(json.dumps(told, indent=1))


def trained(preset: str, n: int, store, folder: Path, peaks: Peaks) -> dict[str, float]:
    """Figures of a preset's run of `STEPS` steps of n samples."""
    keys = {"store": store.folder, "out": folder, "fit": {
        "steps": STEPS, "every": STEPS, "batch_size": n, "workers": WORKERS, "device": DEVICE.type,
        "precision": "bf16-mixed",
    }}  # fmt: skip
    config = command_line.of(pretrain.Config, "pretrain", preset, keys)
    config = checked_parts(config, pretrain.TABLES)
    backbone, _, _ = backbone_of(store, None, config.backbone)
    augment = augmenter(config.augment, store.recipe.value_range)
    method = config.method.build(METHODS, "method", backbone, augment)
    to_channels_last(method, backbone.ndim).to(DEVICE)
    crops = Crops(store, list(store.items.index), method.crops, config.fit.seed)

    def read(first, last):
        yield from batches(crops, n, first, last, config.fit.workers, 300, pinned=config.fit.on_gpu)

    if not SMALL:
        torch.cuda.reset_peak_memory_stats()
    with stopwatch.running() as watch:
        for moment in fit(method, read, config.fit, config.optim, folder):
            batch = {key: value.to(DEVICE) for key, value in moment.batch.items()}
    turns = watch.turns[WARM:]
    seconds = median(sum(turn.values()) - turn["checkpoint"] for turn in turns)
    waited = sum(turn["wait"] + turn["copy"] for turn in turns) / len(turns)
    optimizer = optim.build(method, config.optim, speed.fused(DEVICE, "bf16-mixed"))
    step = stepping(lambda: method.training_step(batch, STEPS).loss, optimizer)
    with Work(peaks) as work:
        step()
    found = {
        "samples a second": n / seconds, "seconds a step": seconds, "waiting for data": waited / seconds,
        "TFLOP a step": work.flops / 1e12, "of the roofline": work.seconds / seconds,
    }  # fmt: skip
    if not SMALL:
        found["GiB"] = torch.cuda.max_memory_allocated() / 2**30
        found["GPU computes"] = busy(step)
        torch.cuda.empty_cache()
    return found


def stepping(loss, optimizer, mixed: bool = True):
    """A function that makes one step, in bfloat16 where it is `mixed`."""

    def step():
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=mixed):
            value = loss()
        value.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return value

    return step


def busy(step) -> float:
    """The share of time in which a kernel runs, over ten steps with their data in memory."""
    kinds = [torch.profiler.ProfilerActivity.CUDA]
    step()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=kinds) as profile:
        began = time.perf_counter()
        for _ in range(10):
            step()
        torch.cuda.synchronize()
        spent = time.perf_counter() - began
    return sum(event.self_device_time_total for event in profile.key_averages()) / 1e6 / spent


def peers() -> dict[str, tuple]:
    """By name: our step, and the other's, on the same batch."""
    found = {}
    for size, n in (([48] * 3, 2),) if SMALL else (([96] * 3, 32), ([224] * 2, 256)):
        ours, theirs = test_bench_mae.ours(size), test_bench_mae.monai(size)
        batch = _batch(n, size)
        found[f"MAE {size} x {n}, MONAI"] = (
            _stepping(ours[0], lambda b=batch, m=ours[1]: m(b), True, mixed=False),
            _stepping(theirs[0], lambda b=batch, m=theirs[1]: m(b), False, mixed=False),
        )
    for preset, n in (("spark_small", 2),) if SMALL else (("spark", 8), ("spark_2d", 256)):
        steps = []
        for ours in (True, False):
            config = command_line.of(pretrain.Config, "pretrain", preset, {})
            config = checked_parts(config, pretrain.TABLES)
            backbone = config.backbone.build(BACKBONES, "backbone", in_channels=1)
            method = config.method.build(
                METHODS, "method", backbone, lambda image, seeds, **_: image
            )
            if not ours:
                method.backbone = DenseEmulation(backbone)
            to_channels_last(method, backbone.ndim)
            batch = _batch(n, method.size)
            steps.append(
                _stepping(method, lambda b=batch, m=method: m.training_step(b, 0).loss, ours)
            )
        found[f"{preset} x {n}, dense"] = tuple(steps)
    return found


def beside(ours, theirs) -> dict[str, float]:
    """Medians of steps that take turns."""
    seconds = {"ours": [], "theirs": []}
    for turn in range(ROUNDS + WARM):
        for name, step in (("ours", ours), ("theirs", theirs)):
            began = time.perf_counter()
            float(step().detach())  # waits for the device
            if turn >= WARM:
                seconds[name].append(time.perf_counter() - began)
    found = {name: median(times) for name, times in seconds.items()}
    return {**found, "times as fast": found["theirs"] / found["ours"]}


def measured_peaks() -> Peaks:
    n, cells = (512, 2**22) if SMALL else (8192, 2**29)
    a, b = (torch.randn(n, n, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    x = torch.ones(cells, device=DEVICE, dtype=torch.bfloat16)
    return Peaks(2 * n**3 / _seconds(lambda: a @ b), 2 * x.nbytes / _seconds(lambda: x.clone()))


def _seconds(work) -> float:
    """The least time of twenty."""
    times = []
    for _ in range(20):
        began = time.perf_counter()
        work()
        if not SMALL:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times)


def _stepping(module, loss, ours: bool, mixed: bool = True):
    module.to(DEVICE).train()
    fused = {"fused": True} if ours and not SMALL else {}  # others leave it to torch
    return stepping(loss, torch.optim.AdamW(module.parameters(), 1e-4, **fused), mixed)


def _batch(n: int, size) -> dict:
    return {
        "image": torch.randn(n, 1, *size, device=DEVICE),
        "seed": torch.arange(n, device=DEVICE),
    }


def _tensors(values) -> list[torch.Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--small"]
    main(Path(words[0]) if words else None)
