"""Foreign weight files, read without running anything that is in them.

safetensors, or PyTorch's own format by its reader of tensors and plain values. What that refuses stays
refused: there is no second way of reading.
"""

import re
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from medssl.errors import UserError, one_line
from medssl.interop.contents import check_contents

PICKLED = (".pt", ".pth", ".ckpt", ".bin", ".tar", ".model")
NAMES = ("model.safetensors", "pytorch_model.bin")
DEEPEST = 8  # mappings in one another
# Of torch's long message, the part that says what is in the file.
FOUND = (
    (r"GLOBAL (\S+)", "it would call or build {}"),
    (r"Unsupported operand (\d+)", "it holds the instruction {}"),
    (r"WeightsUnpickler error: ([^.]+)", "{}"),
)
ADVICE, MOST = "weights_only", 160


def read_weights(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file, by the names on the way to it, joined by dots.

    Of a folder, the weights that Hugging Face keeps there. Raises UserError WEIGHTS.
    """
    path = weights_file(Path(path))
    if path.suffix not in (".safetensors", *PICKLED):
        raise UserError(
            "WEIGHTS", path, f"ends in {path.suffix or 'nothing'}, which is no kind of weight file",
            f"give a .safetensors file, or a PyTorch one ({', '.join(PICKLED)})",
        )  # fmt: skip
    check_contents(path)
    if path.suffix == ".safetensors":
        try:
            found = load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(
                "WEIGHTS", path, f"is no readable safetensors file ({one_line(error, 200)})",
                "copy or download it again",
            ) from error  # fmt: skip
    else:
        found = _flat(_unpickled(path))
    if not found:
        raise UserError(
            "WEIGHTS", path, "holds no tensor with a name", "give the file of a state dict"
        )
    broken = [k for k, v in found.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        raise UserError(
            "WEIGHTS", path, f"{len(broken)} tensors hold NaN or infinite values ({broken[0]})",
            "download it again, or take an earlier checkpoint of that training",
        )  # fmt: skip
    return found


def weights_file(path: Path) -> Path:
    """The file itself, of a file or a folder. Raises UserError WEIGHTS."""
    if path.is_dir():
        if any((path / part / "weights.safetensors").exists() for part in ("", "model")):
            raise UserError(
                "WEIGHTS", path, "is a model of medssl already",
                "give it to pretrain as start=, or to finetune as backbone=; export and import "
                "are for other libraries",
            )  # fmt: skip
        found = [path / name for name in NAMES if (path / name).is_file()]
        if not found:
            raise UserError(
                "WEIGHTS", path, f"is a folder without {' or '.join(NAMES)}", "give the file itself"
            )
        return found[0]
    if not path.is_file():
        raise UserError("WEIGHTS", path, "there is no such file", "check the path")
    return path


def _unpickled(path: Path):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of protocols that it may not know: then it raises
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # every malformed pickle fails in a way of its own
        raise UserError(
            "WEIGHTS", path,
            "is not of tensors and plain values only, so nothing of it was read or run "
            f"({_named(error)})",
            "ask for a .safetensors file; or, if you made it yourself, save its state dict alone: "
            "safetensors.torch.save_file(state_dict, 'weights.safetensors')",
        ) from error  # fmt: skip


def _named(error: Exception) -> str:
    """What torch found, without its advice to read the file unsafely."""
    words = " ".join(f"{error}".split())
    for pattern, said in FOUND:
        if match := re.search(pattern, words):
            return said.format(match.group(1)[:MOST])
    return type(error).__name__ if ADVICE in words else f"{type(error).__name__}: {words[:MOST]}"


def _flat(value, name: str = "", depth: int = 0) -> dict[str, Tensor]:
    if isinstance(value, Tensor):
        return {name: value.detach()} if name else {}
    found = {}
    if isinstance(value, dict) and depth < DEEPEST:
        for key, inner in value.items():
            if isinstance(key, str):
                found |= _flat(inner, f"{name}.{key}" if name else key, depth + 1)
    return found
