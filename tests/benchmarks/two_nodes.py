"""Two network namespaces as two nodes: torchrun over gloo trains, is resumed, and loses one.

python -m tests.benchmarks.two_nodes        (as root, on Linux: it makes namespaces and a cable between)
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from medssl.data.phantom import make as make_phantom
from medssl.stages import call
from medssl.training.log import read_jsonl

NAMES, ADDRESSES, CABLE = ("medssl0", "medssl1"), ("10.77.0.1", "10.77.0.2"), ("mv0", "mv1")
STEPS = 12


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_phantom(root / "scans", ct=4, scans_per_patient=2)
        scans = root / "scans/ct"
        call(
            "index", scans=scans / "images", labels=scans / "labels", modality="CT", out=root / "m"
        )
        recipe = {"spacing": [6, 6, 6]}
        call("prepare", "ct_body", manifest=root / "m", out=root / "store", recipe=recipe)
        lay_cable()
        try:
            whole = root / "whole"
            print("trains:", ended(nodes(root, whole)))
            broken = root / "broken"
            both = nodes(root, broken)
            wait_for(broken, 5)
            print("one node killed:", killed(both))
            print("resumed:", ended(nodes(root, broken)))
            print("same weights as the run that was not stopped:", same(whole, broken))
            cut = root / "cut"
            both = nodes(root, cut, steps=100000)
            wait_for(cut, 3)
            print("cable cut:", unplugged(both))
        finally:
            for name in NAMES:
                subprocess.run(["ip", "netns", "del", name])


def lay_cable() -> None:
    for name in NAMES:
        subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(
        ["ip", "link", "add", CABLE[0], "type", "veth", "peer", "name", CABLE[1]], check=True
    )
    for name, end, address in zip(NAMES, CABLE, ADDRESSES, strict=True):
        inside = ["ip", "netns", "exec", name, "ip"]
        subprocess.run(["ip", "link", "set", end, "netns", name], check=True)
        subprocess.run([*inside, "addr", "add", f"{address}/24", "dev", end], check=True)
        subprocess.run([*inside, "link", "set", end, "up"], check=True)
        subprocess.run([*inside, "link", "set", "lo", "up"], check=True)


def nodes(root: Path, out: Path, steps: int = STEPS) -> list[subprocess.Popen]:
    """The same run on both nodes, each in a session of its own."""
    started = []
    for number, (name, end) in enumerate(zip(NAMES, CABLE, strict=True)):
        command = [
            "ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run",
            "--nnodes=2", "--nproc-per-node=1", f"--node-rank={number}",
            f"--master-addr={ADDRESSES[0]}", "--master-port=29571",
            "-m", "medssl", "pretrain", "conv_mae_small", f"store={root / 'store'}", f"out={out}",
            "method.size=16,16,16", "method.patch=4,4,4", "backbone.channels=4,8",
            f"fit.steps={steps}", "fit.every=2", "fit.batch_size=4", "fit.threads=1",
        ]  # fmt: skip
        env = {
            **os.environ,
            "GLOO_SOCKET_IFNAME": end,
            "TP_SOCKET_IFNAME": end,
            "OMP_NUM_THREADS": "1",
        }
        told = root / f"{out.name}-{number}.log"
        with open(told, "a") as log:
            started.append(
                subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True)
            )
        started[-1].told = told
    return started


def wait_for(out: Path, lines: int, seconds: float = 600) -> None:
    log, began = out / "metrics.jsonl", time.monotonic()
    while not (log.exists() and len(read_jsonl(log)) >= lines):
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"no step of {out} in {seconds:.0f} s")
        time.sleep(0.2)


def ended(both: list[subprocess.Popen]) -> str:
    codes = [process.wait(timeout=900) for process in both]
    return f"exit codes {codes}" + (
        "" if codes == [0, 0] else "\n" + both[0].told.read_text()[-3000:]
    )


def killed(both: list[subprocess.Popen]) -> str:
    """SIGKILL to all processes of the second node."""
    began = time.monotonic()
    there = subprocess.run(
        ["ip", "netns", "pids", NAMES[1]], capture_output=True, text=True, check=True
    )
    for pid in there.stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    return _left(both, began)


def unplugged(both: list[subprocess.Popen]) -> str:
    began = time.monotonic()
    subprocess.run(
        ["ip", "netns", "exec", NAMES[1], "ip", "link", "set", CABLE[1], "down"], check=True
    )
    return _left(both, began)


def _left(both: list[subprocess.Popen], began: float) -> str:
    code = both[0].wait(timeout=600)
    spent = time.monotonic() - began
    for name in NAMES:  # what torchrun started is in sessions of its own
        left = subprocess.run(
            ["ip", "netns", "pids", name], capture_output=True, text=True, check=True
        )
        for pid in left.stdout.split():
            os.kill(int(pid), signal.SIGKILL)
    lines = [line for line in both[0].told.read_text().splitlines() if "RANKS" in line]
    return f"the first node ends after {spent:.0f} s with exit code {code}: {lines[-1:]}"


def same(a: Path, b: Path) -> bool:
    from safetensors.torch import load_file

    a, b = (load_file(run / "model/weights.safetensors") for run in (a, b))
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


if __name__ == "__main__":
    if not shutil.which("ip"):
        raise SystemExit("the program ip is not installed")
    main()
