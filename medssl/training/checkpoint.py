"""Weights that carry what is needed to use them, and states that a run resumes from.

A model folder holds `weights.safetensors` and `card.json`, for people also as `card.md`. A checkpoint
folder holds the whole trainable's `weights.safetensors`, `trainer.pt` (tensors and plain values only)
and, written last, `complete.json` with the SHA-256 of both; the folder gets its name only when all is
on disk.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from medssl import __version__
from medssl.errors import UserError, one_line
from medssl.training.card import CARD_VERSION, as_markdown

KEPT = 2
SHOWN = 10
_ALL = ("kind", "backbone", "recipe", "patients", "scans", "config", "steps", "weights_sha256")
# What a card must hold: of any model, and of one that was fine-tuned.
KEYS = (_ALL, (*_ALL, "task", "classes", "target", "start", "trained_on"))


def sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def save_model(folder: Path, modules: dict[str, nn.Module], card: dict) -> None:
    """Write the weights of named modules and their card, replacing what was there."""
    tensors = {
        f"{name}.{key}": value
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    with _replacing(folder) as temporary:
        save_file(_plain(tensors), temporary / "weights.safetensors")
        card = {**card, "weights_sha256": sha256(temporary / "weights.safetensors")}
        (temporary / "card.json").write_text(json.dumps(card, indent=1))
        (temporary / "card.md").write_text(as_markdown(card))
        # safetensors lets only the owner read; a model is meant to be shared.
        os.chmod(temporary / "weights.safetensors", (temporary / "card.json").stat().st_mode)


def read_card(folder: Path) -> dict:
    """The card of a model folder, or of a run folder that holds one. Raises UserError."""
    folder = model_folder(folder)
    try:
        card = json.loads((folder / "card.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            "CHECKPOINT", folder, f"holds no readable card.json ({one_line(error)})",
            "give the folder of a run that has finished, or of a model",
        ) from error  # fmt: skip

    lacking = ["mapping"] if not isinstance(card, dict) else []
    lacking = lacking or [key for key in KEYS[card.get("kind") == "finetuned"] if key not in card]
    if lacking:
        raise UserError(
            "CHECKPOINT", folder, f"its card.json has no {', '.join(lacking)}",
            "restore the file from a copy, or train again",
        )  # fmt: skip
    if card.get("card", 1) > CARD_VERSION:
        raise UserError(
            "CHECKPOINT", folder, f"its card is of version {card['card']}, this medssl ({__version__}) "
            f"reads up to {CARD_VERSION}", "install the medssl that it was made with, or a newer one",
        )  # fmt: skip
    return card


def model_folder(folder: Path) -> Path:
    folder = Path(folder)
    return folder / "model" if (folder / "model").is_dir() else folder


def load_weights(folder: Path, module: nn.Module, name: str) -> None:
    """Load the weights called `name` strictly. Raises UserError for bit rot or other keys."""
    folder = model_folder(folder)
    path, card = folder / "weights.safetensors", read_card(folder)
    if not path.exists() or sha256(path) != card.get("weights_sha256"):
        raise UserError(
            "CHECKPOINT", path, "its bytes are not those that were saved (checksum differs)",
            "restore the file from a copy, or train again",
        )  # fmt: skip
    prefix = f"{name}."
    state = {k.removeprefix(prefix): v for k, v in load_file(path).items() if k.startswith(prefix)}
    wanted = module.state_dict()
    missing, extra = sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted))
    shapes = [k for k in wanted if k in state and wanted[k].shape != state[k].shape]
    if missing or extra or shapes:
        raise UserError(
            "CHECKPOINT", path,
            f"{len(missing)} weights of {name} missing, {len(extra)} not expected, {len(shapes)} of "
            f"another shape (first: {', '.join((missing + extra + shapes)[:SHOWN])}); saved by medssl "
            f"{card.get('versions', {}).get('medssl', 'of no known version')}, this is {__version__}",
            "use the architecture and options that the card names",
        )  # fmt: skip
    module.load_state_dict(state)


def save_state(folder: Path, step: int, module: nn.Module, trainer: dict) -> Path:
    """Write a state to resume from as `folder/step-<n>`; the last two are kept."""
    final = folder / f"step-{step:08d}"
    with _replacing(final, private=True) as temporary:
        save_file(_plain(module.state_dict()), temporary / "weights.safetensors")
        torch.save({"step": step, **trainer}, temporary / "trainer.pt")
        sums = {f: sha256(temporary / f) for f in ("weights.safetensors", "trainer.pt")}
        (temporary / "complete.json").write_text(json.dumps(sums))
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old)
    return final


def load_state(folder: Path) -> tuple[dict, dict] | None:
    """Weights and trainer state of the newest complete checkpoint; None when there is none.

    Raises UserError when there are checkpoints but every one is torn.
    """
    for torn in folder.glob(".step-*"):  # of a process that was killed; the caller holds the lock
        shutil.rmtree(torn)
    found = sorted(folder.glob("step-*"), reverse=True)
    for candidate in found:
        try:
            sums = json.loads((candidate / "complete.json").read_text())
            if all(sha256(candidate / f) == s for f, s in sums.items()):
                trainer = torch.load(candidate / "trainer.pt", weights_only=True)
                return load_file(candidate / "weights.safetensors"), trainer
        except (OSError, ValueError, AttributeError):
            continue  # torn by a kill: the one before it is complete
    if found:
        raise UserError(
            "CHECKPOINT", folder, f"none of {len(found)} checkpoints is complete",
            "delete the folder and start the run again",
        )  # fmt: skip
    return None


class _replacing:
    """A temporary folder that takes the final name when the block ends well."""

    def __init__(self, final: Path, private: bool = False):
        self.final, self.private = final, private
        self.temporary = final.with_name(f".{final.name}.{os.getpid()}")

    def __enter__(self) -> Path:
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.parent.mkdir(parents=True, exist_ok=True)
        self.temporary.mkdir(mode=0o700 if self.private else 0o777)
        return self.temporary

    def __exit__(self, kind, *_) -> None:
        if kind is not None:
            shutil.rmtree(self.temporary, ignore_errors=True)
            return
        for path in [*self.temporary.iterdir(), self.temporary]:
            _fsync(path)
        old = self.final.with_name(f".{self.final.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if self.final.exists():
            os.rename(self.final, old)
        os.rename(self.temporary, self.final)
        _fsync(self.final.parent)
        shutil.rmtree(old, ignore_errors=True)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _plain(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Own, contiguous copies on the CPU: safetensors takes no shared or strided memory."""
    return {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
