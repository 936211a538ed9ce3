"""What it takes to bring scores of eight classes back onto a CT of 512 x 512 x 1,000 voxels.

At once they would be 8 GB in float32, and as much again while they are interpolated; by slabs, memory grew
by less than 1.5 GB beyond the scores and the scan themselves.
"""

import subprocess
import sys

CHILD = """
import resource, time
import numpy as np, torch
from medssl.data.preprocess import Grid, restore
from medssl.data.volume import Volume
torch.set_num_threads(2)
shape, prepared = (512, 512, 1000), (273, 273, 667)
rng = np.random.default_rng(0)
coarse = rng.random((8, 30, 30, 30), np.float32)
index = np.ix_(range(8), *[np.linspace(0, 29, n).astype(int) for n in prepared])
scores = coarse[index]
scan = Volume(np.zeros((1, *shape), np.int16), np.diag([0.8, 0.8, 1.0, 1.0]))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
before, began = peak(), time.perf_counter()
found = restore(scores, Grid(shape, (0, 0, 0), shape, prepared), "RAS", scan, lambda s: s.argmax(0))
print(found.array.dtype, time.perf_counter() - began, peak() - before, 4 * 8 * 512 * 512 * 1000 / 2**30)
"""


def test_memory_of_a_long_scan():
    told = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    kind, seconds, grown, whole = told.stdout.split()
    print(
        f"{float(seconds):.0f} s, {float(grown):.2f} GB more; all scores at once: {float(whole):.1f} GB"
    )
    assert kind == "uint8" and float(grown) < 0.25 * float(whole)
