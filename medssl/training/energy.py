"""Energy that the device tells: the counters of processors (RAPL) and of NVIDIA's GPUs (NVML)."""

import importlib.util
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

COUNTERS = Path("/sys/class/powercap")
JOULES = 3.6e6  # of a kWh
PAUSE = 60.0  # seconds between readings: a processor's counter begins anew within the hour
Reading = dict[str, tuple[float, float]]  # of a counter: joules, and at how many it begins anew


@dataclass
class Cost:
    """Of a block of work: minutes, and kWh of the whole device, or None where nothing tells it; and from
    when to when it lasted, s since 1970."""

    minutes: float = 0.0
    kwh: float | None = None
    span: tuple[float, float] = (0.0, 0.0)

    def energy(self, whole: bool) -> dict:
        """What is kept of it; of work of which a part was done before (not `whole`) no kWh are told."""
        return {"kwh": self.kwh if whole else None, "span": self.span}


@contextmanager
def metered(counters: Path = COUNTERS, pause: float = PAUSE) -> Iterator[Cost]:
    """A `Cost` that is filled in when the block ends."""
    cost, began, since = Cost(), time.monotonic(), time.time()
    before, joules, ended = _read(counters), [], threading.Event()

    def watch() -> None:
        earlier = before
        while True:
            over = ended.wait(pause)
            later = _read(counters)
            joules.append(_spent(earlier, later))
            earlier = later
            if over:
                return

    watcher = threading.Thread(target=watch, daemon=True)
    if before:
        watcher.start()
    try:
        yield cost
    finally:
        ended.set()
        if before:
            watcher.join()
        cost.span = since, time.time()
        cost.minutes = (time.monotonic() - began) / 60
        cost.kwh = sum(joules) / JOULES if before else None


def apart(spans: Iterable[Sequence[float]]) -> bool:
    """Whether no two of these spans of time overlap: else the device's energy is that of several at once."""
    ordered = sorted(spans)
    return all(one[1] <= two[0] for one, two in pairwise(ordered))


def _read(counters: Path) -> Reading:
    found = {}
    for zone in sorted(
        counters.glob("intel-rapl:?")
    ):  # packages; parts of them have one colon more
        try:
            now, most = (
                int((zone / name).read_text()) for name in ("energy_uj", "max_energy_range_uj")
            )
        except PermissionError:  # readable by root alone on many machines: then it is not told
            continue
        found[zone.name] = now / 1e6, most / 1e6
    return found | _read_gpu()


def _read_gpu() -> Reading:
    import torch

    if not torch.cuda.is_available() or importlib.util.find_spec("pynvml") is None:
        return {}
    import pynvml

    pynvml.nvmlInit()
    try:
        name = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(name)
        return {name: (pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3, float("inf"))}
    except pynvml.NVMLError:  # older cards count no energy: then it is not told
        return {}
    finally:
        pynvml.nvmlShutdown()


def _spent(before: Reading, after: Reading) -> float:
    """Joules between two readings."""
    steps = [
        (after[name][0] - before[name][0], before[name][1]) for name in before if name in after
    ]
    return sum(joules if joules >= 0 else joules + most for joules, most in steps)
