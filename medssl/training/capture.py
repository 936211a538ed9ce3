"""What a step that went wrong was made of, kept so that it can be done again: `replay`.

A capture folder holds `batch.safetensors`, `weights.safetensors` (all that the trainable's state is),
`random.safetensors` (the state of torch's generators) and `about.json`. It holds voxels of scans.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from medssl import ranks
from medssl.errors import UserError, one_line
from medssl.trainable import StepOutput, Trainable
from medssl.training.durable import plain, replacing, write_tensors
from medssl.training.shards import whole

SHOWN = 8
KINDS = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Copies:
    """A module's buffers, such as queues, copied before every pass, as the pass changes them; into memory
    that is taken once, which for large ones is most of what a copy costs on a CPU."""

    def __init__(self):
        self.copied: dict[str, Tensor] = {}

    def of(self, module: nn.Module) -> dict[str, Tensor]:
        """By name. Good until it is called again."""
        now = dict(module.named_buffers())
        old = {name: self.copied[name] for name in now if _alike(self.copied.get(name), now[name])}
        if old:  # of all at once: a GPU is asked once, not for every batch norm
            torch._foreach_copy_(list(old.values()), [now[name] for name in old])
        self.copied = {n: old[n] if n in old else value.clone() for n, value in now.items()}
        return self.copied


class Start:
    """All that a forward pass begins with; `copies` are those of the last one."""

    def __init__(
        self, module: nn.Module, step: int, batch: dict, fit, names: Sequence[str], copies: Copies
    ):  # fmt: skip
        self.module, self.step, self.batch, self.fit = module, step, batch, fit
        self.names = names
        self.buffers = copies.of(module)
        self.random = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_initialized():
            self.random["cuda"] = torch.cuda.get_rng_state()

    @property
    def items(self) -> list[str]:
        """The ids of the scans in the batch. Not asked for on the way: it waits for the device."""
        items = torch.as_tensor(self.batch.get("item", ())).flatten().tolist()
        return [self.names[i] if i < len(self.names) else str(i) for i in items]

    def nonfinite(self, folder: Path, loss: Tensor, cause: str) -> UserError:
        """The error to raise, once all is kept in `folder`/capture."""
        name = f"step-{self.step:08d}" + (f"-rank-{ranks.rank()}" if ranks.world() > 1 else "")
        where = folder / "capture" / name
        try:
            self.save(where, float(loss.detach()))
            kept = f"{where} keeps the batch and the weights"
        except (OSError, UserError) as error:
            kept = f"neither batch nor weights could be kept ({one_line(error)})"
        items = self.items
        shown = ", ".join(items[:SHOWN]) + (", ..." if len(items) > SHOWN else "")
        scans = f" on scans {shown}" if shown else ""
        return UserError(
            "NONFINITE", f"step {self.step}", f"{cause}{scans}; {kept}",
            "lower optim.lr, set optim.clip=1 or use fit.precision=32-true, and look at these scans; what "
            "was saved before is good",
        )  # fmt: skip

    def save(self, folder: Path, loss: float) -> None:
        weights = whole(self.module.state_dict(), everywhere=True)
        weights = {k: self.buffers.get(k, v) for k, v in weights.items()}
        about = {
            "step": self.step, "seed": self.fit.seed, "items": self.items, "loss": str(loss),
            "device": next(self.module.parameters()).device.type, "precision": self.fit.precision,
            "accumulate": self.fit.accumulate,
        }  # fmt: skip
        batch = {k: v for k, v in self.batch.items() if isinstance(v, Tensor)}
        with replacing(folder, private=True) as temporary:
            for name, tensors in (("batch", batch), ("weights", weights), ("random", self.random)):
                write_tensors(temporary / f"{name}.safetensors", plain(tensors))
            (temporary / "about.json").write_text(json.dumps(about, indent=1))


def _alike(a: Tensor | None, b: Tensor) -> bool:
    return a is not None and (a.shape, a.dtype, a.device) == (b.shape, b.dtype, b.device)


def replay(folder: Path, trainable: Trainable) -> StepOutput:
    """Do a captured step again, with its graph, so that one can look for where it goes wrong.

    `trainable` is built as the run built it (the same config); its weights are replaced by those of the
    capture, and it stays on its device. Raises UserError CAPTURE if the folder is none, or of another
    architecture.
    """
    folder = Path(folder)
    try:
        about = json.loads((folder / "about.json").read_text())
        batch, weights, random = (
            load_file(folder / f"{name}.safetensors") for name in ("batch", "weights", "random")
        )
        trainable.load_state_dict(weights)
        step, precision = about["step"], about["precision"]
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            "CAPTURE", folder, f"holds no step that this network can do again ({one_line(error)})",
            "give a folder capture/step-<n> of a run, and build what that run trained",
        ) from error  # fmt: skip
    device = next(trainable.parameters()).device
    torch.set_rng_state(random["cpu"])
    if device.type == "cuda" and "cuda" in random:
        torch.cuda.set_rng_state(random["cuda"])
    if precision == "auto":
        precision = "bf16-mixed" if about["device"] == "cuda" else "32-true"
    half = KINDS.get(precision)
    with torch.autocast(device.type, half, enabled=half is not None):
        batch = {name: value.to(device) for name, value in batch.items()}
        return trainable.train().training_step(batch, step)
