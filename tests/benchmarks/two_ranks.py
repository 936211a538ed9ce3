"""Every method in one process and in two, with the same batches: are losses and weights the same?

python -m tests.benchmarks.two_ranks [METHOD ...] [--shard]

In double precision, so that what differs is no rounding; with --shard the two share their weights out.
Prints, for each method and kind of network, the greatest difference of a loss and of a weight after three
steps.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from medssl import ranks
from medssl.errors import UserError
from medssl.methods.base import METHODS
from medssl.stages.methods import small
from medssl.training.launch import join
from medssl.training.log import read_jsonl
from medssl.training.loop import Fit, fit
from medssl.training.optim import Optim
from tests.methods.test_base import batch

NETWORKS = (("res_unet", 3), ("timm resnet", 2), ("vit", 3))  # instance, batch and layer norms
STEPS, BATCH = 3, 4
OPTIONS = [word for word in sys.argv if word == "--shard"]
LIMIT = 1e-5
DIFFERS = {  # and why
    ("voco_omni", "timm resnet"): "a rank without a labelled scan passes a crop that does not count, which "
    "batch norm sees",
}  # fmt: skip


def main(names: list[str]) -> int:
    failed = 0
    print("method            network      loss     weights")
    for method in names or METHODS:
        for (name, network), (loss, weight) in compared([method]).items():
            good = max(loss, weight) <= LIMIT
            told = "" if good else DIFFERS.get((name, network), "FAILED")
            failed += told == "FAILED"
            print(f"{name:17} {network:12} {loss:.1e}  {weight:.1e}  {told}", flush=True)
    return failed


def compared(names: list[str]) -> dict[tuple[str, str], tuple[float, float]]:
    """The greatest differences of losses and of weights, by method and network that it takes."""
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "one", Path(folder) / "two"
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
        ]
        command += ["-m", "tests.benchmarks.two_ranks", "--rank", str(two), *names, *OPTIONS]
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode:
            raise RuntimeError(ran.stderr[-4000:])
        train(one, names)
        found = {}
        for path in sorted(one.glob("*/*")):
            other = two / path.relative_to(one)
            a, b = (read_jsonl(folder / "metrics.jsonl") for folder in (path, other))
            loss = max(abs(x["loss"] - y["loss"]) for x, y in zip(a, b, strict=True))
            a, b = (
                torch.load(folder / "weights.pt", weights_only=True) for folder in (path, other)
            )
            weight = max(float((a[k] - b[k]).abs().max()) for k in a if a[k].numel())
            found[path.parent.name, path.name] = (loss, weight)
        return found


def train(out: Path, names: list[str]) -> None:
    """Three steps of each method, in all ranks there are."""
    torch.set_num_threads(1)
    for name in names:
        for network, axes in NETWORKS:
            try:
                method = small(name, network, axes)
            except UserError:
                continue  # it does not take this network
            steps(method, out / name / network)


def steps(method: torch.nn.Module, folder: Path) -> None:
    precision, shard = "64-true", bool(OPTIONS)
    settings = Fit(
        steps=STEPS, batch_size=BATCH, every=STEPS, device="cpu", precision=precision, shard=shard
    )

    def batches(first: int, last: int):
        own = ranks.share(BATCH)
        for number in range(first, last):
            whole = batch(method, n=BATCH)
            whole["seed"] += 100 * number
            whole["image"] = whole["image"].double()
            yield {key: value[own.start : own.stop] for key, value in whole.items()}

    for _ in fit(method, batches, settings, Optim(warmup=0.0), folder):
        pass
    if ranks.rank() == 0:
        torch.save({k: v.double() for k, v in method.state_dict().items()}, folder / "weights.pt")


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if word not in OPTIONS]
    if "--rank" in given:
        join(Fit(device="cpu"))
        train(Path(given[1]), given[2:])
    else:
        sys.exit(min(main(given), 1))
